"""Greeter servers for the benchmarks: processes of their own, with the plain libraries and nothing of ours.

``python -m benchmarks.greeters thrift|triple VERSION`` serves on a free loopback port, prints it, and ends
when its standard input does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THREADS = 4


@functools.cache
def thrift_module() -> Any:
    """The types and service of idl/greeter.thrift."""
    import thriftpy2

    return thriftpy2.load(str(ROOT / "idl" / "greeter.thrift"), module_name="benchmark_greeter_thrift")


@functools.cache
def proto_modules() -> tuple[Any, Any]:
    """The messages and the stubs of idl/greeter.proto, generated in memory."""
    import grpc

    sys.path.insert(0, str(ROOT / "idl"))
    try:
        protos, services = grpc.protos_and_services("greeter.proto")
    finally:
        sys.path.remove(str(ROOT / "idl"))
    return protos, services


def serve_thrift(version: str) -> None:
    from thriftpy2.protocol import TCyBinaryProtocolFactory
    from thriftpy2.server import TThreadedServer
    from thriftpy2.thrift import TProcessor
    from thriftpy2.transport import TCyFramedTransportFactory, TServerSocket

    greeter = thrift_module()

    class Greeter:
        def SayHello(self, request: Any) -> Any:
            return greeter.User(name="Hello " + request.name, id=version, age=21)

    class Announced(TServerSocket):  # type: ignore[misc]
        def listen(self) -> None:
            super().listen()
            print(self.sock.getsockname()[1], flush=True)

    # No client timeout: a rival's connection is idle while the others have their turn.
    TThreadedServer(
        TProcessor(greeter.Greeter, Greeter()),
        Announced("127.0.0.1", 0, client_timeout=None),
        iprot_factory=TCyBinaryProtocolFactory(),
        itrans_factory=TCyFramedTransportFactory(),
        daemon=True,
    ).serve()


def serve_triple(version: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    protos, services = proto_modules()

    class Greeter(services.GreeterServicer):  # type: ignore[misc, name-defined]
        def SayHello(self, request: Any, context: Any) -> Any:
            return protos.User(name="Hello " + request.name, id=version, age=21)

        def SayHelloServerStream(self, request: Any, context: Any) -> Iterator[Any]:
            user = protos.User(name="Hello", id=version, age=21)
            for _ in range(int(request.name)):  # the name says how many
                yield user

        def SayHelloClientStream(self, requests: Iterator[Any], context: Any) -> Any:
            return protos.User(name="Hello", id=version, age=sum(1 for _ in requests))

        def SayHelloStream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for request in requests:
                yield protos.User(name="Hello " + request.name, id=version, age=21)

    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    services.add_GreeterServicer_to_server(Greeter(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


@contextlib.contextmanager
def running(protocol: str, version: str, module: str = "benchmarks.greeters") -> Iterator[int]:
    """A server process; the port it serves on.

    :param module: is run with the two as its arguments.
    """
    command = [sys.executable, "-m", module, protocol, version]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {protocol} greeter did not start")
        yield int(line)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    {"thrift": serve_thrift, "triple": serve_triple}[sys.argv[1]](sys.argv[2])
