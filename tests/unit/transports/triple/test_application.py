"""The application's name: sent with every call, and shown to handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple import TripleTransport, calling_application, handling
from tests.unit.transports.triple.fakes import FakeMesh


@pytest.mark.parametrize(
    ("options", "name"), [({}, "shop"), ({"application": "other"}, "other"), ({"application": ""}, None)]
)
async def test_is_sent_as_dubbo_java_does(
    start: Callable[..., Any], pb: Any, pb_grpc: Any, options: Any, name: Any
) -> None:
    server = start()
    mesh = FakeMesh(server.address)
    mesh.workload = "shop"
    transport = TripleTransport(mesh)
    with transport.channel("xds:///greeter:80", **options) as channel:
        pb_grpc.GreeterStub(channel).SayHello(pb.HelloRequest(), timeout=10)
    async with transport.aio_channel("xds:///greeter:80", **options) as aio:
        await pb_grpc.GreeterStub(aio).SayHello(pb.HelloRequest(), timeout=10)
    assert [seen.get("tri-consumer-appname") for seen in server.servicer.seen] == [name, name]
    mesh.close()


def test_that_cannot_travel_is_refused() -> None:
    with pytest.raises(UsageError, match="tri-consumer-appname"):
        TripleTransport(FakeMesh("127.0.0.1:1")).channel("xds:///greeter:80", application="a\nb")


@pytest.mark.parametrize("header", [("tri-consumer-appname", "shop"), ("a", "b")])
def test_of_the_caller_is_shown_to_handlers_and_interceptors(header: Any) -> None:
    shown: list[str] = []

    class Interceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
        def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            shown.append(calling_application(handler_call_details))
            return continuation(handler_call_details)

    def handler(request: bytes, context: Any) -> bytes:
        shown.append(calling_application(context))
        return b""

    methods = {"M": grpc.unary_unary_rpc_method_handler(handler)}
    server = TripleTransport(FakeMesh()).server(
        address="127.0.0.1:0",
        interceptors=[Interceptor()],
        handlers=[grpc.method_handlers_generic_handler("any.Service", methods)],
    )
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        channel.unary_unary("/any.Service/M")(b"", metadata=[header], timeout=10)
    server.stop(0).wait(5)
    del server._server
    assert shown == (["shop", "shop"] if header[1] == "shop" else ["", ""])


@pytest.mark.parametrize(
    ("names", "java"),
    [
        (["tri-consumer-appname", "timeout"], True),
        (["tri-consumer-appname", "user-agent"], False),  # ours
        (["tri-consumer-appname", "content-type"], False),  # over HTTP
        (["timeout"], False),
    ],
)
def test_without_anything_of_the_client_itself_is_dubbo_javas(names: list[str], java: bool) -> None:
    assert handling._of_dubbo_java([(name, "x") for name in names]) is java
