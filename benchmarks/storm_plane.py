"""A control plane that pushes endpoints without pause, and the server behind all of them; a process of its own.

``python -m benchmarks.storm_plane`` serves ADS and prints its address. The one target of its mesh has 1,000
endpoints, addresses of the loopback network at which one greeter listens. Lines of standard input: ``go`` begins to
push, ``stop`` ends it and prints how many pushes were made and how many of them acknowledged. Every push is the whole
assignment, as istiod sends it, with other weights of five endpoints and, in every tenth, with one more or less that
is healthy.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import grpc
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2

from . import greeters, mesh, push

ENDPOINTS = 1_000
PER_SECOND = 100
VERSIONS = 100
"""Different assignments, pushed in turn."""
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def address(number: int) -> str:
    return f"127.1.{number // 250}.{1 + number % 250}"


def assignments(port: int) -> list[bytes]:
    """Serialized responses, less version and nonce."""
    choose = random.Random(1)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=push.CLUSTER)
    group = message.endpoints.add()
    group.locality.region = "region"
    group.load_balancing_weight.value = ENDPOINTS
    for number in range(ENDPOINTS):
        entry = group.lb_endpoints.add()
        entry.endpoint.address.socket_address.address = address(number)
        entry.endpoint.address.socket_address.port_value = port
        entry.health_status = 1
        entry.load_balancing_weight.value = 1 + number % 2
    made = []
    for version in range(VERSIONS):
        for entry in choose.sample(group.lb_endpoints, 5):
            entry.load_balancing_weight.value = 3 - entry.load_balancing_weight.value
        if version % 10 == 0:
            entry = choose.choice(group.lb_endpoints)
            entry.health_status = 1 if entry.health_status == 2 else 2
        wrapped = push.packed(message)
        made.append(discovery_pb2.DiscoveryResponse(type_url=EDS, resources=[wrapped]).SerializeToString())
    return made


class Plane:
    """ADS for one client, on bytes."""

    def __init__(self, port: int) -> None:
        self._assignments = assignments(port)
        self._static = {}
        for each in push.surroundings():
            wrapped = push.packed(each)
            self._static[wrapped.type_url] = wrapped
        self._out: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._pushing = threading.Event()
        self._version = 0
        self.pushed = self.acknowledged = 0

    def stream(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        while True:
            yield self._out.get()

    def _read(self, requests: Iterator[bytes]) -> None:
        asked: set[str] = set()
        with contextlib.suppress(grpc.RpcError):
            for raw in requests:
                request = discovery_pb2.DiscoveryRequest.FromString(raw)
                if request.HasField("error_detail"):
                    print(f"refused: {request.error_detail.message}", file=sys.stderr, flush=True)
                if request.type_url in asked and request.response_nonce:
                    self.acknowledged += request.type_url == EDS
                    continue
                asked.add(request.type_url)
                if request.type_url == EDS:
                    self._push()
                elif request.type_url in self._static:
                    self._out.put(
                        discovery_pb2.DiscoveryResponse(
                            version_info="1",
                            nonce="1",
                            type_url=request.type_url,
                            resources=[self._static[request.type_url]],
                        ).SerializeToString()
                    )

    def _push(self) -> None:
        self._version += 1
        name = str(self._version)
        # Serialized messages that follow one another are one message.
        rest = discovery_pb2.DiscoveryResponse(version_info=name, nonce=name).SerializeToString()
        self._out.put(self._assignments[self._version % VERSIONS] + rest)

    def push(self) -> None:
        """Runs in a thread of its own."""
        while True:
            self._pushing.wait()
            due = time.monotonic()
            while self._pushing.is_set():
                self._push()
                self.pushed += 1
                due += 1 / PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))

    def go(self) -> None:
        self.pushed = self.acknowledged = 0
        self._pushing.set()

    def stop(self) -> dict[str, int]:
        self._pushing.clear()
        return {"pushed": self.pushed, "acknowledged": self.acknowledged}


def serve_greeter() -> int:
    """The greeter at all addresses, in threads; its port."""
    from thriftpy2.protocol import TCyBinaryProtocolFactory
    from thriftpy2.server import TThreadedServer
    from thriftpy2.thrift import TProcessor
    from thriftpy2.transport import TCyFramedTransportFactory, TServerSocket, TSocket

    from .thrift_servers import Greeter

    class Everywhere(TServerSocket):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("127.0.0.1", 0, client_timeout=None)
            self.sockets: dict[int, socket.socket] = {}
            self.poller = select.poll()
            self.port = 0
            for number in range(ENDPOINTS):
                sock = socket.socket()
                sock.bind((address(number), self.port))
                self.port = sock.getsockname()[1]
                sock.listen(8)
                self.sockets[sock.fileno()] = sock
                self.poller.register(sock, select.POLLIN)

        def listen(self) -> None: ...

        def accept(self) -> Any:
            number, _ = self.poller.poll()[0]
            sock = self.sockets[number].accept()[0]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return TSocket(sock=sock)

    threading.stack_size(256 * 1024)
    everywhere = Everywhere()
    server = TThreadedServer(
        TProcessor(greeters.thrift_module().Greeter, Greeter()),
        everywhere,
        iprot_factory=TCyBinaryProtocolFactory(),
        itrans_factory=TCyFramedTransportFactory(),
        daemon=True,
    )
    threading.Thread(target=server.serve, daemon=True).start()
    port: int = everywhere.port
    return port


def raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * ENDPOINTS
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


class Running:
    """The process, from outside."""

    def __init__(self, address: str, commands: IO[str], answers: IO[str]) -> None:
        self.address = address
        self._commands = commands
        self._answers = answers

    def go(self) -> None:
        print("go", file=self._commands, flush=True)

    def stop(self) -> dict[str, int]:
        print("stop", file=self._commands, flush=True)
        counted: dict[str, int] = json.loads(self._answers.readline())
        return counted


@contextlib.contextmanager
def running() -> Iterator[Running]:
    command = [sys.executable, "-m", "benchmarks.storm_plane"]
    process = subprocess.Popen(
        command, cwd=mesh.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the control plane of the storm did not start")
        yield Running(line, process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    raise_open_files()
    plane = Plane(serve_greeter())
    threading.Thread(target=plane.push, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(plane.stream)
    service, method = METHOD[1:].split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    for line in sys.stdin:
        if line.strip() == "go":
            plane.go()
        else:
            print(json.dumps(plane.stop()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
