"""The demo's scenario, unchanged, on the real istiod."""

from __future__ import annotations

import pytest

from examples.greeter import scenario
from tests.interop.peers import istiod

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]


def test_greeter_on_istiod_shows_the_same_distributions_as_on_the_embedded_control_plane() -> None:
    if reason := istiod.skip_reason():
        pytest.skip(reason)
    with istiod.IstiodProcess() as peer:
        results = scenario.play(peer.xds_address, peer.apply, calls=500)
    off = [
        f"{r.protocol}, {r.step.title}, {r.block.label}: {dict(r.seen)} {r.failures}"
        for r in results
        if not r.passed
    ]
    assert len(results) == 10
    assert not off, "\n".join(off)
