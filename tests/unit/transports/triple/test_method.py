"""What a call is refused for before it begins."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.incoming_deadline import inherit
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.method import Method
from tests.unit.transports.triple.conftest import Client, Running
from tests.unit.transports.triple.fakes import FakeMesh

SAID = r"^/{}: timeout='3' is not a number of seconds; such as timeout=1\.5$".format

FORMS: dict[str, Callable[..., Any]] = {
    "call": lambda stub, request, timeout: stub.SayHello(request, timeout=timeout),
    "with_call": lambda stub, request, timeout: stub.SayHello.with_call(request, timeout),
    "future": lambda stub, request, timeout: stub.SayHello.future(request, timeout),
    "unary_stream": lambda stub, request, timeout: stub.SayHelloServerStream(request, timeout),
    "stream_unary": lambda stub, request, timeout: stub.SayHelloClientStream(iter([request]), timeout),
    "stream_stream": lambda stub, request, timeout: stub.SayHelloStream(iter([request]), timeout),
}
AIO_FORMS = {name: call for name, call in FORMS.items() if name not in ("with_call", "future")}

warm_or_not = pytest.mark.parametrize("warm", [True, False], ids=["connected", "not connected"])


@warm_or_not
@pytest.mark.parametrize("codec", [None, "nghttp2"])
@pytest.mark.parametrize("form", FORMS)
def test_timeout_that_is_no_number_is_named(
    connect: Callable[..., Client],
    start: Callable[..., Running],
    pb: Any,
    pb_grpc: Any,
    warm: bool,
    codec: str | None,
    form: str,
) -> None:
    client = connect(start("v1").address, codec=codec)
    stub = pb_grpc.GreeterStub(client.channel)
    if warm:
        stub.SayHello(pb.HelloRequest(name="a"))
        list(stub.SayHelloServerStream(pb.HelloRequest(name="a")))
    with pytest.raises(UsageError, match=SAID(r"org\.apache\.dubbo\.sample\.Greeter/\w+")):
        FORMS[form](stub, pb.HelloRequest(name="a"), "3")
    assert stub.SayHello(pb.HelloRequest(name="a"), timeout=3).name == "Hello a"


@warm_or_not
@pytest.mark.parametrize("intercepted", [False, True])
@pytest.mark.parametrize("form", AIO_FORMS)
async def test_timeout_of_asyncio_that_is_no_number_is_named(
    start: Callable[..., Running], pb: Any, pb_grpc: Any, warm: bool, intercepted: bool, form: str
) -> None:
    mesh = FakeMesh(start("v1").address)
    interceptors = [_Nothing()] if intercepted else []
    async with TripleTransport(mesh).aio_channel("xds:///greeter:80", interceptors=interceptors) as channel:
        stub = pb_grpc.GreeterStub(channel)
        if warm:
            await stub.SayHello(pb.HelloRequest(name="a"))
        with pytest.raises(UsageError, match=SAID(r"org\.apache\.dubbo\.sample\.Greeter/\w+")):
            AIO_FORMS[form](stub, pb.HelloRequest(name="a"), "3")
        assert (await stub.SayHello(pb.HelloRequest(name="a"), timeout=3)).name == "Hello a"
    mesh.close()


class _Nothing(
    grpc.aio.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    async def _pass(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details, request)

    intercept_unary_unary = intercept_unary_stream = _pass
    intercept_stream_unary = intercept_stream_stream = _pass


def test_timeout_that_is_no_number_is_named_within_a_deadline_too(
    connect: Callable[..., Client], start: Callable[..., Running], pb: Any, pb_grpc: Any
) -> None:
    stub = pb_grpc.GreeterStub(connect(start("v1").address).channel)

    def serve() -> None:
        inherit(time.monotonic() + 5)
        stub.SayHello(pb.HelloRequest(name="a"), timeout="3")

    with pytest.raises(UsageError, match="timeout='3'"):
        contextvars.copy_context().run(serve)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), [1], 1e300, b"1"])
def test_what_cannot_be_waited_for_is_no_timeout(timeout: Any) -> None:
    method = Method("unary_unary", "/a.B/C", None, None, False, "a:1")
    with pytest.raises(UsageError, match=r"/a\.B/C: timeout="):
        method.check(timeout)


@pytest.mark.parametrize("timeout", [None, 0, -1, 1, 0.5, True, float("-inf"), 1e9])
def test_numbers_of_any_sign_are_timeouts(timeout: Any) -> None:
    Method("unary_unary", "/a.B/C", None, None, False, "a:1").check(timeout)


def test_other_errors_are_left_alone(
    connect: Callable[..., Client], start: Callable[..., Running], pb: Any, pb_grpc: Any
) -> None:
    stub = pb_grpc.GreeterStub(connect(start("v1").address).channel)
    with pytest.raises(TypeError):
        stub.SayHello(pb.HelloRequest(name="a"), timeout=1.0, metadata=5)
