"""The greeter's manifests at work: pods as their specs say, on a node without Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.greeter.scenario import P_VALUE
from tests.interop.peers import cluster, istiod, kubernetes, netns, node

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

CALLS = 400
LIMIT = 256 * 1024 * 1024  # of memory, in the manifests

on_both = pytest.mark.parametrize("control_plane", ["embedded", "istiod"])


@pytest.fixture
def inside(control_plane: str) -> Iterator[netns.Namespace]:
    """Where there can be a node."""
    reason = node.skip_reason() or kubernetes.skip_reason()
    if control_plane == "istiod":
        reason = reason or istiod.skip_reason()
    if reason:
        pytest.skip(reason)
    namespace = netns.Namespace(node.ENTERING)
    try:
        yield namespace
    finally:
        namespace.close()


@on_both
def test_manifests_show_the_tutorials_distributions(
    inside: netns.Namespace, image_app: Path, control_plane: str
) -> None:
    blocks = inside.run(cluster.tutorial, str(image_app), control_plane, CALLS, seconds=300)
    assert len(blocks) == 16
    assert not [block for block in blocks if block["probability"] < P_VALUE or block["other"]]


@on_both
def test_client_says_who_answers_as_its_manifest_has_it(
    inside: netns.Namespace, image_app: Path, control_plane: str
) -> None:
    lines = inside.run(cluster.as_is, str(image_app), control_plane, seconds=120)
    assert lines == ['call server response = id:"v1.0.0"'] * 3 + ["exit code 0"]


@on_both
def test_rolling_update_and_scale_down_lose_no_call(
    inside: netns.Namespace, image_app: Path, control_plane: str
) -> None:
    shown = inside.run(cluster.rollout, str(image_app), control_plane, seconds=300)
    assert not shown["other"]
    assert min(shown["answers"]) > 500
    assert [(pod["alive"], pod["exit code"]) for pod in shown["gone"]] == [(True, 0)] * 3
    assert max(pod["memory"] for pod in shown["gone"]) < LIMIT
