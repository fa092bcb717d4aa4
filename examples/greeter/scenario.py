"""The tutorial as a scenario: which rules, which calls, and what must come of them.

Plays on any control plane: give :func:`play` its xDS address and a way to apply YAML.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import parts
from ..parts import P_VALUE, probability, workload
from .report import Report

__all__ = ["TUTORIAL", "Client", "Report", "Result", "play", "probability", "process", "workload"]

MESH = Path(__file__).parent / "mesh"
CONF = Path(__file__).parent / "conf"
PROTOCOLS = ("triple", "thrift")
V1, V2 = "v1.0.0", "v2.0.0"
CALLS = 1000
SETTLE_SECONDS = 20.0


@dataclass(frozen=True)
class Block:
    """Consecutive calls and the share of each version that they must show."""

    attachments: Mapping[str, str]
    expected: Mapping[str, float]

    @property
    def label(self) -> str:
        """The attachments, for a table."""
        return ", ".join(f"{name}: {value}" for name, value in self.attachments.items()) or "none"


@dataclass(frozen=True)
class Step:
    """One state of the rules."""

    title: str
    rules: str
    blocks: tuple[Block, ...]


TUTORIAL = (
    Step("no rule", "rules-0-none.yaml", (Block({}, {V1: 0.5, V2: 0.5}),)),
    Step("everything to v1", "rules-1-all-v1.yaml", (Block({}, {V1: 1.0}),)),
    Step(
        "user: admin to v2, the rest to v1",
        "rules-2-user-admin.yaml",
        (Block({"user": "admin"}, {V2: 1.0}), Block({}, {V1: 1.0})),
    ),
    Step("90 % to v1, 10 % to v2", "rules-3-weights-90-10.yaml", (Block({}, {V1: 0.9, V2: 0.1}),)),
)


@dataclass(frozen=True)
class Result:
    """What a block showed.

    :ivar probability: of a deviation at least as large if the shares are right (chi-square test).
    """

    protocol: str
    step: Step
    block: Block
    seen: Mapping[str, int]
    probability: float
    failures: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the shares are as expected and no call was lost."""
        return self.probability > P_VALUE and not self.failures

    @property
    def calls(self) -> int:
        """How many calls were measured."""
        return sum(self.seen.values())

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "protocol": self.protocol,
            "step": self.step.title,
            "attachments": dict(self.block.attachments),
            "expected": dict(self.block.expected),
            "seen": dict(self.seen),
            "probability": self.probability,
            "failures": list(self.failures),
            "passed": self.passed,
        }


class Client:
    """A running ``examples.greeter.client``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, count: int, attachments: Mapping[str, str]) -> tuple[dict[str, int], tuple[str, ...]]:
        """How many answers came from which version, and the background calls that were lost so far."""
        assert self._process.stdin and self._process.stdout
        print(
            json.dumps({"calls": count, "attachments": dict(attachments)}),
            file=self._process.stdin,
            flush=True,
        )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the client ended with exit code {self._process.wait(10)}; its error is above"
            )
        answer = json.loads(line)
        return answer["seen"], tuple(answer["failures"])

    def settle(self, block: Block) -> None:
        """Call until a run of calls looks as expected, or the time is up: the rules have arrived, and servers that
        were slow to start are connected."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            seen, _ = self.call(50, block.attachments)
            if set(seen) == set(block.expected) and probability(block.expected, seen) > P_VALUE:
                return


def process(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A Python process of this example; ended with the block."""
    # The client ends with its standard input, so that its last calls are counted.
    return parts.process(
        f"{__package__}.{module}", *arguments, environment=environment, terminate=module == "server"
    )


# Where conf/server.yaml has a server listen, on a laptop.
LISTEN = {"LISTEN_IP": "127.0.0.1", "LISTEN_PORT": "0"}


def by_dubbo(program: str, dubbo: bool) -> tuple[str, ...]:
    """The arguments that have Dubbo's YAML configure a program, if it is to."""
    return ("--dubbo", str(CONF / f"{program}.yaml")) if dubbo else ()


@contextmanager
def servers(xds_address: str, dubbo: bool = False) -> Iterator[dict[int, int]]:
    """Both versions on free ports; gives the port of base.yaml -> the port in use.

    :param dubbo: they are configured by Dubbo's YAML, and speak Triple only.
    """
    with ExitStack() as stack:
        ports = {}
        for version, triple, thrift in (("v1", 20001, 9091), ("v2", 20002, 9092)):
            environment = workload(f"dubbo-go-server-{version}", xds_address) | LISTEN
            server = stack.enter_context(
                process("server", "--version", version, *by_dubbo("server", dubbo), environment=environment)
            )
            assert server.stdout
            line = server.stdout.readline()
            if not line:
                raise RuntimeError(f"the {version} server did not start; its error is above")
            bound = json.loads(line)
            for protocol, port in (("triple", triple), ("thrift", thrift)):
                if protocol in bound:
                    ports[port] = int(bound[protocol].rpartition(":")[2])
        yield ports


def mesh_yaml(rules: str, ports: Mapping[int, int]) -> str:
    """base.yaml with the ports in use, and a file of rules."""
    base = parts.with_ports((MESH / "base.yaml").read_text(), ports)
    return f"{base}\n---\n{(MESH / rules).read_text()}"


def play(
    xds_address: str,
    apply: Callable[[str], object],
    *,
    steps: tuple[Step, ...] = TUTORIAL,
    protocols: tuple[str, ...] = PROTOCOLS,
    calls: int = CALLS,
    dubbo: bool = False,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Play the steps: servers and clients are processes of their own and live through all of them.

    :param apply: gives the control plane a whole new set of YAML documents.
    :param dubbo: servers and clients are configured by Dubbo's YAML alone, which speaks Triple.
    :param on_result: is told each result as it comes.
    """
    results = []
    protocols = ("triple",) if dubbo else protocols
    with servers(xds_address, dubbo) as ports, ExitStack() as stack:
        apply(mesh_yaml(steps[0].rules, ports))
        clients = {
            protocol: Client(
                stack.enter_context(
                    process(
                        "client",
                        *(by_dubbo("client", dubbo) or ("--protocol", protocol)),
                        environment=workload(f"dubbo-go-client-{protocol}", xds_address),
                    )
                )
            )
            for protocol in protocols
        }
        for step in steps:
            apply(mesh_yaml(step.rules, ports))
            for protocol, client in clients.items():
                for block in step.blocks:
                    client.settle(block)
                    seen, failures = client.call(calls, block.attachments)
                    result = Result(protocol, step, block, seen, probability(block.expected, seen), failures)
                    results.append(result)
                    on_result(result)
    return results
