"""A whole mesh in one process: the embedded control plane, greeters of both protocols, and a client of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyrpc_xds
from examples.greeter import idl, scenario
from examples.greeter.server import ThriftGreeter, triple_servicer
from pyrpc_xds.controlplane import ControlPlane

Protocol = Literal["triple", "thrift"]
PROTOCOLS: tuple[Protocol, ...] = ("triple", "thrift")
HOST = "greeter.default.svc.cluster.local"
PORT = 9090
TARGET = f"xds:///{HOST}:{PORT}"
PATH = "/org.apache.dubbo.sample.Greeter/SayHello"


def environment(address: str, name: str = "client") -> dict[str, str]:
    """The environment of a pod of that name."""
    return scenario.workload(name, address)


@dataclass
class Greeter:
    """A running server of one version; ``hold`` lets a test keep its calls in progress."""

    version: str
    address: str
    stop: Callable[[], None]
    hold: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class Mesh:
    """Servers, control plane and client; everything is closed with the block of :func:`mesh`."""

    def __init__(self, protocol: Protocol, stack: ExitStack) -> None:
        self.protocol = protocol
        self._stack = stack
        self.plane = ControlPlane(address="127.0.0.1:0")
        self.plane.start()
        stack.callback(self._stop_control_plane)
        self.client = pyrpc_xds.XdsClient.from_env(environment(self.plane.address))
        stack.callback(self.client.close)
        self.greeters: list[Greeter] = []

    def _stop_control_plane(self) -> None:
        self.plane.stop()  # the one of then: tests start others

    def serve(self, version: str, *, address: str = "127.0.0.1:0") -> Greeter:
        """Start a greeter."""
        greeter = Greeter(version, "", lambda: None)
        greeter.hold.set()
        if self.protocol == "triple":
            server = self.client.triple.server()
            servicer = triple_servicer(version)
            answer = servicer.SayHello

            def say_hello(request: Any, context: Any) -> Any:
                greeter.entered.set()
                greeter.hold.wait(20)
                return answer(request, context)

            servicer.SayHello = say_hello
            idl.protobuf()[1].add_GreeterServicer_to_server(servicer, server)
            greeter.address = f"{address.rpartition(':')[0]}:{server.add_insecure_port(address)}"
            server.start()
            greeter.stop = lambda: server.stop(0).wait(10)
        else:

            class Handler(ThriftGreeter):
                def SayHello(self, request: Any) -> Any:
                    greeter.entered.set()
                    greeter.hold.wait(20)
                    return super().SayHello(request)

            thrift = self.client.thrift.server(idl.thrift().Greeter, Handler(version), address)
            thrift.start()
            greeter.address = thrift.address
            greeter.stop = lambda: thrift.stop(0)
        self._stack.callback(greeter.stop)
        self.greeters.append(greeter)
        return greeter

    def caller(
        self, target: str = TARGET, client: pyrpc_xds.XdsClient | None = None, **options: Any
    ) -> Callable[..., str]:
        """A function that calls SayHello once (``timeout`` in seconds) and gives the version that answered."""
        xds = client or self.client
        if self.protocol == "triple":
            messages, services = idl.protobuf()
            stub = services.GreeterStub(xds.triple.channel(target, **options))
            return lambda timeout=10.0: str(
                stub.SayHello(messages.HelloRequest(name="x"), timeout=timeout).id
            )
        module = idl.thrift()
        greeter = xds.thrift.client(module.Greeter, target, **options)

        def call(timeout: float | None = 10.0) -> str:
            return str(greeter.with_options(timeout=timeout).SayHello(module.HelloRequest(name="x")).id)

        return call

    def yaml(self, rules: str = "", endpoints: list[Greeter] | None = None, port_name: str = "") -> str:
        """The service with its greeters as endpoints, subsets v1 and v2, and ``rules`` (of the VirtualService)."""
        name = port_name or ("grpc-triple" if self.protocol == "triple" else "http-thrift")
        kind = name.partition("-")[0].upper()
        shown = self.greeters if endpoints is None else endpoints
        listed = "".join(
            f"\n  - {{address: 127.0.0.1, ports: {{{name}: {g.port}}}, labels: {{version: {g.version}}}}}"
            for g in shown
        )
        text = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: greeter, namespace: default}}
spec:
  hosts: [{HOST}]
  addresses: [10.96.0.11]
  ports: [{{number: {PORT}, name: {name}, protocol: {kind}}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: {listed or "[]"}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: greeter, namespace: default}}
spec:
  host: {HOST}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: empty, labels: {{version: none}}}}
"""
        return text + (virtual_service(rules) if rules else "")

    def apply(self, rules: str = "", endpoints: list[Greeter] | None = None, port_name: str = "") -> None:
        """Make the mesh what :meth:`yaml` says."""
        self.plane.apply(self.yaml(rules, endpoints, port_name))

    def restart_control_plane(self, config: str) -> None:
        """Stop the control plane and start another one on the same address."""
        address = self.plane.address
        self.plane.stop()
        self.start_control_plane(address, config)

    def start_control_plane(self, address: str, config: str) -> None:
        """Start a control plane on ``address``."""
        self.plane = ControlPlane(address=address)
        self.plane.apply(config)
        self.plane.start()


def virtual_service(http: str) -> str:
    """A VirtualService of the greeter whose ``http`` is this YAML."""
    indented = "\n".join(f"  {line}" for line in http.strip().splitlines())
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: greeter, namespace: default}}
spec:
  hosts: [{HOST}]
  http:
{indented}
"""


def to(subset: str) -> str:
    """Rules that send everything to one subset."""
    return f"- route: [{{destination: {{host: {HOST}, subset: {subset}}}}}]"


@contextmanager
def mesh(protocol: Protocol) -> Iterator[Mesh]:
    """A mesh without servers and configuration."""
    with ExitStack() as stack:
        made = Mesh(protocol, stack)
        yield made
    # pytest holds on to the fixture's value; grpcio gives its descriptors back when its objects are freed.
    made.__dict__.clear()


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds.

    :raises AssertionError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


class Load:
    """Calls from several threads until the block ends; counts answers by version, and every failure."""

    def __init__(self, call: Callable[[], str], threads: int = 4, pause: float = 0.002) -> None:
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self._call = call
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                version = self._call()
            except Exception as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
            else:
                with self._lock:
                    self.seen[version] += 1

    @property
    def total(self) -> int:
        with self._lock:
            return sum(self.seen.values()) + len(self.failures)

    def more(self, count: int) -> None:
        """Wait for ``count`` further calls."""
        goal = self.total + count
        eventually(lambda: self.total >= goal, 20.0)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
