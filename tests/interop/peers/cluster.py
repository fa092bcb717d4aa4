"""The greeter's manifests in action: pods on a :mod:`.node`, and a control plane that is told of them.

What Kubernetes' controllers do is done here: a Service has a cluster address, and a pod is an endpoint as long as it is
ready and not deleted. Functions run in a :class:`.netns.Namespace`.
"""

from __future__ import annotations

import collections
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from examples.greeter import scenario
from pyrpc_xds.controlplane import ControlPlane

from . import istiod
from .kubernetes import MANIFESTS
from .node import ADDRESS, Node, Pod, node

ISTIOD = ("istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local")
PORT = 15010
THRIFT = "xds:///dubbo-go-server.default.svc.cluster.local:9090"
EVERY = "--every=0.005"
ADMIN = "--attachment=user=admin"
SETTLE_SECONDS = 30.0
ANSWER = re.compile(r'call server response = id:"(.+)"')

V1, V2 = scenario.V1, scenario.V2
STEPS: dict[str, dict[str, dict[str, float]]] = {
    "": {"anybody": {V1: 0.5, V2: 0.5}, "admin": {V1: 0.5, V2: 0.5}},
    "1-all-v1.yaml": {"anybody": {V1: 1.0}, "admin": {V1: 1.0}},
    "2-user-admin.yaml": {"anybody": {V1: 1.0}, "admin": {V2: 1.0}},
    "3-weights-90-10.yaml": {"anybody": {V1: 0.9, V2: 0.1}, "admin": {V1: 0.9, V2: 0.1}},
}


class Cluster:
    """A node, a control plane on it, and the objects that both know."""

    def __init__(self, stack: ExitStack, app: str, control_plane: Literal["embedded", "istiod"]) -> None:
        if control_plane == "istiod":
            real = stack.enter_context(istiod.IstiodProcess())
            self._apply: Any = real.apply
            self.node: Node = stack.enter_context(node(Path(app), *ISTIOD))
            stack.enter_context(relay((ADDRESS, PORT), real.xds_address))
        else:
            self.node = stack.enter_context(node(Path(app), *ISTIOD))
            plane = ControlPlane(address=f"{ADDRESS}:{PORT}")
            plane.start()
            stack.callback(plane.stop)
            self._apply = plane.apply
        texts = [path.read_text() for path in sorted(MANIFESTS.glob("*.yaml"))]
        self._objects = [each for text in texts for each in yaml.safe_load_all(text)]
        for each in self._objects:
            if each["kind"] == "Service":
                each["spec"]["clusterIP"] = "10.96.0.10"  # which the API server gives
        self.rules = ""

    def start(self, deployment: str, *arguments: str) -> Pod:
        """A pod of a Deployment; with other arguments than its own, if there are any."""
        named = {(each["kind"], each["metadata"]["name"]): each for each in self._objects}
        configs = {name: each["data"] for (kind, name), each in named.items() if kind == "ConfigMap"}
        return self.node.start(named["Deployment", deployment], configs, *arguments)

    def server(self, deployment: str) -> Pod:
        """A pod that is ready, and an endpoint."""
        pod = self.start(deployment)
        pod.until("readinessProbe", True)
        self.apply()
        return pod

    def apply(self) -> None:
        """Tell the control plane how it is now."""
        rules = (MANIFESTS / "virtualservices" / self.rules).read_text() if self.rules else ""
        pods = [pod.object() for pod in self.node.pods if not pod.deleted]
        self._apply(yaml.safe_dump_all([*self._objects, *yaml.safe_load_all(rules), *pods]))


@contextmanager
def cluster(app: str, control_plane: Literal["embedded", "istiod"]) -> Iterator[Cluster]:
    """A cluster without rules and without pods."""
    with ExitStack() as stack:
        made = Cluster(stack, app, control_plane)
        made.apply()
        yield made


def seen(client: Pod, count: int) -> tuple[dict[str, int], list[str]]:
    """Who answered the next calls of a client, and what else it says."""
    lines = [client.line() for _ in range(count)]
    found = [ANSWER.fullmatch(line) for line in lines]
    answered = collections.Counter(match[1] for match in found if match)
    return dict(answered), [line for line, match in zip(lines, found, strict=True) if not match]


def settle(client: Pod, expected: dict[str, float]) -> None:
    """Read on until calls are answered as expected, or the time is up."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        client.lines()
        shares, _ = seen(client, 50)
        if set(shares) == set(expected) and scenario.probability(expected, shares) > scenario.P_VALUE:
            return


def tutorial(app: str, control_plane: Literal["embedded", "istiod"], calls: int) -> list[dict[str, Any]]:
    """Every step with two versions and four clients; what was seen, and how likely that is if the rules hold."""
    with cluster(app, control_plane) as made:
        made.server("dubbo-go-server-v1")
        made.server("dubbo-go-server-v2")
        conf = "--dubbo=/app/conf/dubbogo.yaml"
        clients = {
            ("triple", "anybody"): made.start("dubbo-go-client-v1", conf, EVERY),
            ("triple", "admin"): made.start("dubbo-go-client-v1", conf, EVERY, ADMIN),
            ("thrift", "anybody"): made.start(
                "dubbo-go-client-v1", "--protocol=thrift", f"--target={THRIFT}", EVERY
            ),
            ("thrift", "admin"): made.start(
                "dubbo-go-client-v1", "--protocol=thrift", f"--target={THRIFT}", EVERY, ADMIN
            ),
        }
        shown = []
        for rules, expected in STEPS.items():
            made.rules = rules
            made.apply()
            for (protocol, who), client in clients.items():
                settle(client, expected[who])
                client.lines()
                shares, other = seen(client, calls)
                probability = scenario.probability(expected[who], shares)
                shown.append(
                    {"rules": rules, "protocol": protocol, "who": who, "seen": shares, "other": other}
                    | {"probability": probability}
                )
        return shown


def as_is(app: str, control_plane: Literal["embedded", "istiod"]) -> list[str]:
    """The first lines of the client that is exactly its manifest's, with everything to v1."""
    with cluster(app, control_plane) as made:
        made.rules = "1-all-v1.yaml"
        made.server("dubbo-go-server-v1")
        client = made.start("dubbo-go-client-v1")
        lines = [client.line() for _ in range(3)]
        client.delete()
        return [*lines, f"exit code {client.ended()}"]


def rollout(app: str, control_plane: Literal["embedded", "istiod"]) -> dict[str, Any]:
    """A rolling update of two pods of v1 and then a scale-down to one, under load; every pod that goes is told so a
    second before the control plane is."""
    with cluster(app, control_plane) as made:
        made.rules = "1-all-v1.yaml"
        old = [made.server("dubbo-go-server-v1") for _ in range(2)]
        thrift = ("--protocol=thrift", f"--target={THRIFT}")
        clients = [
            made.start("dubbo-go-client-v1", "--dubbo=/app/conf/dubbogo.yaml", EVERY),
            made.start("dubbo-go-client-v1", *thrift, EVERY),
        ]
        for client in clients:
            settle(client, {V1: 1.0})
            client.lines()
        gone = []
        for pod in old:
            new = made.server("dubbo-go-server-v1")
            gone.append(take_down(made, pod))
        gone.append(take_down(made, new))
        time.sleep(1.0)
        results = [client.lines() for client in clients]
        return {
            "gone": gone,
            "answers": [sum(bool(ANSWER.fullmatch(line)) for line in lines) for lines in results],
            "other": [line for lines in results for line in lines if not ANSWER.fullmatch(line)],
        }


def take_down(made: Cluster, pod: Pod) -> dict[str, Any]:
    """Delete a pod, and tell the control plane late; how its probes and its process took that."""
    memory = pod.peak_memory()
    pod.delete()
    pod.until("readinessProbe", False, seconds=2.0)
    alive = pod.probe("livenessProbe")
    time.sleep(1.0)
    made.apply()
    return {"alive": alive, "exit code": pod.ended(), "memory": memory}


@contextmanager
def relay(address: tuple[str, int], to: str) -> Iterator[None]:
    """Carry connections on: istiod listens on loopback only, which is each pod's own."""
    host, _, port = to.rpartition(":")
    threads: list[threading.Thread] = []
    ends: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                pair = [listener.accept()[0]]
            except OSError:
                return
            pair.append(socket.create_connection((host, int(port))))
            ends.extend(pair)
            for each in (pair, pair[::-1]):
                threads.append(threading.Thread(target=carry, args=each))
                threads[-1].start()

    listener = socket.create_server(address)
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join()
        for end in [listener, *ends]:
            end.close()
