"""The tutorial's scenario with a mixed fleet: Dubbo's own server is v1, ours v2, the client ours.

Runs in a :class:`.netns.Namespace`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from examples.greeter import scenario
from pyrpc_xds.controlplane import ControlPlane

from . import dubbo_go, dubbo_java, istiod

PORTS = (20001, 20002)  # of v1 and v2 in examples/greeter/mesh/base.yaml
TUTORIAL_PORT = 20000  # of conf/server.yaml, where the environment says no other


def play(
    peer: Literal["dubbo-go", "dubbo-java", "dubbo-go by YAML"],
    control_plane: Literal["embedded", "istiod"],
    calls: int,
) -> list[dict[str, Any]]:
    """Play every step; for each of its blocks what was seen, and whether the scenario passes it.

    :param peer: with ``by YAML``, Dubbo's YAML configures all three: dubbo-go reads it with its own config.Load().
    """
    with ExitStack() as stack:
        if control_plane == "istiod":
            real = stack.enter_context(istiod.IstiodProcess())
            address, apply = real.xds_address, real.apply
        else:
            plane = ControlPlane(address="127.0.0.1:0")
            plane.start()
            stack.callback(plane.stop)
            address, apply = plane.address, plane.apply
        by_yaml = peer.endswith("by YAML")
        if by_yaml:
            file = stack.enter_context(for_dubbo_go(scenario.CONF / "server.yaml"))
            v1 = dubbo_go.configured_server(scenario.V1, file, TUTORIAL_PORT)
        else:
            v1 = (dubbo_go if peer == "dubbo-go" else dubbo_java).server(scenario.V1)
        stack.callback(v1.close)
        arguments = ("--version", "v2", *scenario.by_dubbo("server", by_yaml))
        environment = scenario.workload("v2", address) | scenario.LISTEN
        v2 = stack.enter_context(scenario.process("server", *arguments, environment=environment))
        addresses = [v1.read()["address"], scenario_address(v2)]
        ports = {shown: int(each.rpartition(":")[2]) for shown, each in zip(PORTS, addresses, strict=True)}
        apply(scenario.mesh_yaml(scenario.TUTORIAL[0].rules, ports))
        environment = scenario.workload("client", address)
        how = scenario.by_dubbo("client", by_yaml) or ("--protocol", "triple")
        client = scenario.Client(
            stack.enter_context(scenario.process("client", *how, environment=environment))
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


@contextmanager
def for_dubbo_go(file: Path) -> Iterator[Path]:
    """The same file without its registries: dubbo-go has none of protocol xds any more, and needs none here."""
    document = yaml.safe_load(file.read_text())
    del document["dubbo"]["registries"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as copy:
        yaml.safe_dump(document, copy)
        copy.flush()
        yield Path(copy.name)


def scenario_address(server: Any) -> str:
    """Where a server of the example listens for Triple."""
    line = server.stdout.readline()
    if not line:
        raise RuntimeError("our server did not start; its error is above")
    return str(json.loads(line)["triple"])
