"""A deadline that passes is ``pyrpc_xds.DeadlineExceeded`` over either transport, however the call is made, and what
programs of that transport catch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from thriftpy2.transport import TTransportException

import pyrpc_xds
from tests.e2e.mesh import environment
from tests.unit.transports.thrift.peers import Handler, idl

SHORT = 0.1


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What the servers' handlers wait for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def xds() -> Iterator[pyrpc_xds.XdsClient]:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:9")) as client:
        yield client


@pytest.fixture
def triple(xds: pyrpc_xds.XdsClient, held: threading.Event) -> Iterator[str]:
    def unary(request: Any, context: Any) -> bytes:
        held.wait(20)
        return b""

    def stream(request: Any, context: Any) -> Iterator[bytes]:
        yield b"first"
        held.wait(20)

    methods = {
        "unary_unary": grpc.unary_unary_rpc_method_handler(unary),
        "unary_stream": grpc.unary_stream_rpc_method_handler(stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = xds.triple.server(handlers=[grpc.method_handlers_generic_handler("any.Service", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"direct:///127.0.0.1:{port}"
    held.set()
    server.stop(0).wait(5)


@pytest.fixture
def thrift(xds: pyrpc_xds.XdsClient, held: threading.Event) -> Iterator[str]:
    class Served(Handler):
        def ping(self, text: str) -> str:
            held.wait(20)
            return text

    with xds.thrift.server(idl.Everything, Served(), "127.0.0.1:0") as server:
        yield f"direct:///{server.address}"
        held.set()


Call = Callable[[Any], Any]
SYNC: dict[str, tuple[str, Call]] = {
    "blocking": ("unary_unary", lambda method: method(b"", timeout=SHORT)),
    "with_call": ("unary_unary", lambda method: method.with_call(b"", timeout=SHORT)),
    "future": ("unary_unary", lambda method: method.future(b"", timeout=SHORT).result()),
    "blocking requests": ("stream_unary", lambda method: method(iter([b""]), timeout=SHORT)),
    "future of requests": ("stream_unary", lambda method: method.future(iter([b""]), timeout=SHORT).result()),
    "responses": ("unary_stream", lambda method: list(method(b"", timeout=SHORT))),
    "both streams": ("stream_stream", lambda method: list(method(iter([b""]), timeout=SHORT))),
}


@pytest.mark.parametrize("connected", [False, True], ids=["first-call", "connected"])
@pytest.mark.parametrize("how", SYNC)
def test_triple(xds: pyrpc_xds.XdsClient, triple: str, how: str, connected: bool) -> None:
    kind, call = SYNC[how]
    with xds.triple.channel(triple) as channel:
        method = getattr(channel, kind)(f"/any.Service/{kind}")
        if connected:
            assert next(channel.unary_stream("/any.Service/unary_stream")(b"", timeout=20)) == b"first"
        with pytest.raises(pyrpc_xds.DeadlineExceeded) as caught:
            call(method)
    error: Any = caught.value
    assert isinstance(error, grpc.RpcError)
    assert (
        error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and error.code == pyrpc_xds.Code.DEADLINE_EXCEEDED
    )
    assert error.details()
    assert error.trailing_metadata() is not None


def test_triple_future_that_is_asked_for_its_exception(xds: pyrpc_xds.XdsClient, triple: str) -> None:
    with xds.triple.channel(triple) as channel:
        future = channel.unary_unary("/any.Service/unary_unary").future(b"", timeout=SHORT)
        assert isinstance(future.exception(), pyrpc_xds.DeadlineExceeded)
        assert future.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _all(responses: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in responses]


AIO: dict[str, tuple[str, Call]] = {
    "unary": ("unary_unary", lambda method: method(b"", timeout=SHORT)),
    "requests": ("stream_unary", lambda method: method(iter([b""]), timeout=SHORT)),
    "responses": ("unary_stream", lambda method: _all(method(b"", timeout=SHORT))),
    "both streams": ("stream_stream", lambda method: _all(method(iter([b""]), timeout=SHORT))),
}


@pytest.mark.parametrize("how", AIO)
async def test_triple_aio(xds: pyrpc_xds.XdsClient, triple: str, how: str) -> None:
    kind, call = AIO[how]
    async with xds.triple.aio_channel(triple) as channel:
        with pytest.raises(pyrpc_xds.DeadlineExceeded) as caught:
            await call(getattr(channel, kind)(f"/any.Service/{kind}"))
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("framing", ["framed", "ttheader"])
def test_thrift(xds: pyrpc_xds.XdsClient, thrift: str, framing: Any) -> None:
    with (
        xds.thrift.client(idl.Everything, thrift, framing=framing, timeout=SHORT) as client,
        pytest.raises(pyrpc_xds.DeadlineExceeded) as caught,
    ):
        client.ping("x")
    assert isinstance(caught.value, TTransportException) and isinstance(caught.value, TimeoutError)
    assert caught.value.type == TTransportException.TIMED_OUT  # type: ignore[unreachable]


@pytest.mark.parametrize("framing", ["framed", "ttheader"])
async def test_thrift_aio(xds: pyrpc_xds.XdsClient, thrift: str, held: threading.Event, framing: Any) -> None:
    async with xds.thrift.aio_client(idl.Everything, thrift, framing=framing, timeout=SHORT) as client:
        with pytest.raises(pyrpc_xds.DeadlineExceeded) as caught:
            await client.ping("x")
    assert isinstance(caught.value, TTransportException) and isinstance(caught.value, asyncio.TimeoutError)
