"""Bookinfo's traffic lanes, unchanged, on the real istiod."""

from __future__ import annotations

import pytest

from examples.bookinfo import scenario
from tests.interop.peers import istiod

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]


def test_bookinfo_on_istiod_keeps_the_same_lanes_as_on_the_embedded_control_plane() -> None:
    if reason := istiod.skip_reason():
        pytest.skip(reason)
    with istiod.IstiodProcess() as peer:
        results = scenario.play(peer.xds_address, peer.apply, calls=300)
    off = [str(result.as_dict()) for result in results if not result.passed]
    assert len(results) == 8
    assert not off, "\n".join(off)
