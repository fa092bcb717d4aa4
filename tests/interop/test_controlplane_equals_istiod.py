"""The embedded control plane sends what the real istiod sends for the same YAML, resource by resource.

The cases are the files of ``cases/`` and the greeter mesh of the examples. Both answers are decoded with
xds-protos, which the control plane does not use. What is not compared is listed in ``_NOT_COMPARED``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pyrpc_xds.controlplane import ControlPlane
from tests.interop.cases import CASES, Case, normalised
from tests.interop.peers.istiod import IstiodProcess, skip_reason

# The first use of istiod on a machine builds it.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

_NOT_COMPARED = """
- version_info, nonce, control_plane: each server's own, and not part of a resource.
- order of the endpoints within a locality, of the virtual hosts within a route configuration, and of
  headers with the same sort key: istiod takes them from Go maps, so its own order differs from run to run.
"""
SETTLE_SECONDS = 6.0


@pytest.fixture(scope="module")
def istiod() -> Iterator[IstiodProcess]:
    if reason := skip_reason():
        pytest.skip(reason)
    with IstiodProcess() as process:
        yield process


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_control_plane_equals_istiod(case: Case, istiod: IstiodProcess, plane: ControlPlane) -> None:
    istiod.apply("")
    istiod.apply(case.text)
    plane.apply(case.text)
    ours = normalised(case.ask(plane.address))
    # istiod takes changes in asynchronously, each kind of object by a path of its own: ask until it agrees.
    deadline = time.monotonic() + SETTLE_SECONDS
    theirs = normalised(case.ask(istiod.xds_address))
    while theirs != ours and time.monotonic() < deadline:
        time.sleep(0.3)
        theirs = normalised(case.ask(istiod.xds_address))
    assert ours == theirs


def test_every_case_is_answered_with_something(plane: ControlPlane) -> None:
    """Guards the table itself: a case in which nothing exists would make equality mean nothing."""
    for case in CASES:
        plane.apply(case.text)
        found = case.ask(plane.address)
        assert found.listeners, case.name
        assert found.routes or case.name.startswith("k8s_inbound"), case.name
