"""The tutorial's scenario with a mixed fleet: Dubbo's own server is v1, ours v2, the client ours.

Runs in a :class:`.netns.Namespace`.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any, Literal

from examples.greeter import scenario
from pyrpc_xds.controlplane import ControlPlane

from . import dubbo_go, dubbo_java, istiod

PORTS = (20001, 20002)  # of v1 and v2 in examples/greeter/mesh/base.yaml


def play(
    peer: Literal["dubbo-go", "dubbo-java"], control_plane: Literal["embedded", "istiod"], calls: int
) -> list[dict[str, Any]]:
    """Play every step; for each of its blocks what was seen, and whether the scenario passes it."""
    with ExitStack() as stack:
        if control_plane == "istiod":
            real = stack.enter_context(istiod.IstiodProcess())
            address, apply = real.xds_address, real.apply
        else:
            plane = ControlPlane(address="127.0.0.1:0")
            plane.start()
            stack.callback(plane.stop)
            address, apply = plane.address, plane.apply
        v1 = (dubbo_go if peer == "dubbo-go" else dubbo_java).server(scenario.V1)
        stack.callback(v1.close)
        v2 = stack.enter_context(
            scenario.process("server", "--version", "v2", environment=scenario.workload("v2", address))
        )
        addresses = [v1.read()["address"], scenario_address(v2)]
        ports = {shown: int(each.rpartition(":")[2]) for shown, each in zip(PORTS, addresses, strict=True)}
        apply(scenario.mesh_yaml(scenario.TUTORIAL[0].rules, ports))
        environment = scenario.workload("client", address)
        client = scenario.Client(
            stack.enter_context(scenario.process("client", "--protocol", "triple", environment=environment))
        )
        shown = []
        for step in scenario.TUTORIAL:
            apply(scenario.mesh_yaml(step.rules, ports))
            for block in step.blocks:
                client.settle(block)
                seen, failures = client.call(calls, block.attachments)
                probability = scenario.probability(block.expected, seen)
                result = scenario.Result("triple", step, block, seen, probability, failures)
                shown.append(
                    {"step": step.title, "attachments": block.label, "seen": seen, "passed": result.passed}
                    | {"failures": failures, "probability": probability}
                )
        return shown


def scenario_address(server: Any) -> str:
    """Where a server of the example listens for Triple."""
    line = server.stdout.readline()
    if not line:
        raise RuntimeError("our server did not start; its error is above")
    return str(json.loads(line)["triple"])
