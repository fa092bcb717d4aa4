"""Unary calls on nghttp2 in place of grpcio, by turns and in one run: our client alone, our server alone, and both.

``python -m benchmarks.moonshot triple VERSION`` is our greeter: it serves on a free loopback port, prints it, and ends
when its standard input does. grpcio's is :mod:`.greeters`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from . import greeters
from .rounds import Rival, compare
from .triple import client

BARE, CLIENT, SERVER, BOTH = (
    "grpcio to grpcio",
    "pyrpc-xds to grpcio",
    "grpcio to pyrpc-xds",
    "pyrpc-xds to pyrpc-xds",
)
#: What each may take of bare grpcio's p50.
LIMITS = {CLIENT: 0.65, BOTH: 0.4}
CODEC = "nghttp2"


def say(channel: Any, close: Callable[[], object], name: str) -> Rival:
    protos, services = greeters.proto_modules()
    method, request = services.GreeterStub(channel).SayHello, protos.HelloRequest(name="Joe")
    return Rival(name, lambda: method(request), close)


def bare(port: int, name: str) -> Rival:
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    return say(channel, channel.close, name)


def ours(port: int, name: str) -> Rival:
    xds = client()
    return say(xds.triple.channel(f"direct:///127.0.0.1:{port}", codec=CODEC), xds.close, name)


def measure(rounds: int = 60, calls: int = 100) -> dict[str, Any]:
    """The figures of all four.

    :param rounds: how often each has its turn.
    :param calls: calls of one turn.
    """
    with (
        greeters.running("triple", "v1") as grpcio,
        greeters.running("triple", "v1", module=__name__) as nghttp2,
    ):
        return compare(
            [bare(grpcio, BARE), ours(grpcio, CLIENT), bare(nghttp2, SERVER), ours(nghttp2, BOTH)],
            rounds,
            calls,
        )


def serve(version: str) -> None:
    protos, services = greeters.proto_modules()

    class Greeter(services.GreeterServicer):  # type: ignore[misc, name-defined]
        def SayHello(self, request: Any, context: Any) -> Any:
            return protos.User(name="Hello " + request.name, id=version, age=21)

    server = client().triple.server(address="127.0.0.1:0", codec=CODEC, max_workers=greeters.THREADS)
    services.add_GreeterServicer_to_server(Greeter(), server)
    server.start()
    print(server.port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    threading.Thread(target=greeters.end_with_standard_input, daemon=True).start()
    serve(sys.argv[2])
