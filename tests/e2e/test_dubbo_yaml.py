"""Dubbo-go's Istio tutorial with clients and servers that nothing but Dubbo's YAML configures."""

from __future__ import annotations

import pytest

from examples.greeter import scenario
from pyrpc_xds.controlplane import ControlPlane


@pytest.mark.timeout(180)
def test_tutorial_shows_its_distributions_configured_by_dubbos_yaml_alone() -> None:
    plane = ControlPlane(address="127.0.0.1:0")
    plane.start()
    try:
        results = scenario.play(plane.address, plane.apply, calls=500, dubbo=True)
    finally:
        plane.stop()
    # No rule, all to v1, user: admin to v2 and the others to v1, 90 to 10.
    assert [(result.step.title, result.block.label) for result in results] == [
        (step.title, block.label) for step in scenario.TUTORIAL for block in step.blocks
    ]
    assert not [result.as_dict() for result in results if not result.passed]
    assert {result.calls for result in results} == {500}
