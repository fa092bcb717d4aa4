"""Endpoints on nghttp2, and servers; without mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from pyrpc_xds.errors import ConfigError
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.h2 import library
from pyrpc_xds.transports.triple.h2.call import UnaryUnary
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from tests.unit.transports.triple.conftest import Greeter
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.h2.scripted import PATH


@pytest.fixture(scope="module", autouse=True)
def nghttp2() -> None:
    """Without the library, or uncompiled, there is nothing to test, and the reason is shown."""
    try:
        library.load()
    except ConfigError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Connects: ``endpoint(address, ("option", value), ...)``."""
    made: list[Endpoint] = []

    def connect(address: str, *options: tuple[str, Any]) -> Endpoint:
        made.append(Endpoint(address, options))
        assert made[-1].connect(10)
        return made[-1]

    yield connect
    for each in made:
        each.close()


def method(endpoint: Endpoint) -> UnaryUnary:
    """SayHello with bytes; whatever is not for nghttp2 fails."""
    return endpoint.unary_unary(("unary_unary", PATH, None, None), lambda: pytest.fail("it went to grpcio"))


@pytest.fixture
def servicer(pb: Any) -> Iterator[Greeter]:
    greeter = Greeter(pb, "v1")
    yield greeter
    greeter.release.set()


@pytest.fixture
def server(servicer: Greeter, pb_grpc: Any) -> Iterator[Any]:
    mesh = FakeMesh()
    made = TripleTransport(mesh).server(
        address="127.0.0.1:0", codec="nghttp2", max_workers=4, maximum_concurrent_rpcs=50
    )
    pb_grpc.add_GreeterServicer_to_server(servicer, made)
    made.start()
    yield made
    servicer.release.set()
    assert made.stop(0).wait(10)
    mesh.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Starts a server of the service ``T``, whose handlers take and give bytes::

    serve({"Name": ("unary_unary", behavior)}, max_workers=1)
    """
    made: list[Any] = []
    mesh = FakeMesh()

    def start(
        behaviors: dict[str, tuple[str, Callable[..., Any]]], codec: str = "nghttp2", **options: Any
    ) -> Any:
        handlers = {
            name: getattr(grpc, f"{kind}_rpc_method_handler")(behavior)
            for name, (kind, behavior) in behaviors.items()
        }
        server = TripleTransport(mesh).server(
            address="127.0.0.1:0",
            codec=codec,
            handlers=[grpc.method_handlers_generic_handler("T", handlers)],
            **options,
        )
        server.start()
        made.append(server)
        return server

    yield start
    for server in made:
        assert server.stop(0).wait(10)
        del server._server  # grpcio's pollers live as long as the object, and pytest keeps this one
    mesh.close()


@pytest.fixture
def dial() -> Iterator[Callable[..., grpc.Channel]]:
    """grpcio's client: ``dial(server, ("option", value), ...)``."""
    made: list[grpc.Channel] = []

    def connect(server: Any, *options: tuple[str, Any]) -> grpc.Channel:
        made.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options))
        return made[-1]

    yield connect
    for channel in made:
        channel.close()
