"""Business errors: a status beyond gRPC's, sent by handlers of ours and raised from every form of call."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from pyrpc_xds.errors import BusinessError, CallError, UsageError
from pyrpc_xds.transports.triple import (
    TripleBusinessError,
    TripleDeadlineExceeded,
    TripleTransport,
    response_attachments,
    set_response_attachments,
    status,
)
from pyrpc_xds.transports.triple.errors import TripleError
from tests.unit.transports.triple.fakes import FakeMesh

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
MESSAGE = "no such user: 100 % d\u00e9j\u00e0 vu"


def refuse(request: bytes) -> None:
    """Fail as the request says."""
    set_response_attachments({"beside": "it"})
    if request == b"go deadline":
        raise BusinessError(17, "context deadline exceeded")
    if request == b"plain":
        raise ValueError("plain")
    raise BusinessError(4711, MESSAGE)


def first(requests: Iterator[bytes]) -> bytes:
    return requests if isinstance(requests, bytes) else next(requests)


def sync_kinds() -> list[Any]:
    def unary(request: Any, context: Any) -> bytes:
        refuse(first(request))
        return b""

    def stream(request: Any, context: Any) -> Iterator[bytes]:
        yield b"before"
        refuse(first(request))

    return [unary, stream, unary, stream]


def aio_kinds() -> list[Any]:
    async def asked(request: Any) -> bytes:
        return request if isinstance(request, bytes) else await anext(request)  # type: ignore[no-any-return]

    async def unary(request: Any, context: Any) -> bytes:
        refuse(await asked(aiter(request) if hasattr(request, "__aiter__") else request))
        return b""

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"before"
        refuse(await asked(aiter(request) if hasattr(request, "__aiter__") else request))

    async def writer(request: Any, context: Any) -> None:
        await context.write(b"before")
        refuse(await asked(aiter(request)))

    return [unary, stream, unary, writer]


@pytest.fixture(params=["sync", "asyncio", "threads"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[FakeMesh]:
    behaviors = aio_kinds() if request.param == "asyncio" else sync_kinds()
    methods = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(behavior)
        for kind, behavior in zip(KINDS, behaviors, strict=True)
    }
    options: Any = {"handlers": [grpc.method_handlers_generic_handler("any.Service", methods)]}
    triple = TripleTransport(FakeMesh())
    server: Any
    if request.param == "sync":
        server = triple.server(address="127.0.0.1:0", **options)
        server.start()
    else:
        server = triple.aio_server(address="127.0.0.1:0", max_workers=2, **options)
        await server.start()
    mesh = FakeMesh(f"127.0.0.1:{server.port}")
    yield mesh
    mesh.close()
    if request.param == "sync":
        server.stop(0).wait(5)
    else:
        await server.stop(0)
    del server._server


def held(error: Any) -> None:
    """What every caught business error is."""
    assert isinstance(error, TripleBusinessError)
    assert isinstance(error, BusinessError) and isinstance(error, CallError)
    assert isinstance(error, grpc.RpcError) and isinstance(error, grpc.aio.AioRpcError)
    assert (error.business_code, error.message) == (4711, MESSAGE)
    assert error.code() is grpc.StatusCode.UNKNOWN
    assert error.details() == MESSAGE
    assert response_attachments(error.trailing_metadata()) == {"beside": "it"}
    told = dict(error.trailing_metadata())[status.TRAILER]
    assert status_pb2.Status.FromString(told) == status_pb2.Status(code=4711, message=MESSAGE)


@contextlib.contextmanager
def fails() -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    held(caught.value)


@pytest.mark.parametrize("begun", ["at once", "later"])
async def test_is_raised_by_every_form_of_call(mesh: FakeMesh, begun: str) -> None:
    def calls() -> None:
        with TripleTransport(mesh).channel("xds:///greeter:80") as channel:

            def method(kind: str) -> Any:
                made: Any = getattr(channel, kind)(f"/any.Service/{kind}")
                return made

            if begun == "at once":
                with pytest.raises(grpc.RpcError):
                    method("unary_unary")(b"x", timeout=10)
            for kind in KINDS:
                streams = kind.startswith("stream")
                argument: Any = (lambda: iter([b"x"])) if streams else lambda: b"x"
                if kind.endswith("unary"):
                    for form in ("__call__", "with_call"):
                        with fails():
                            getattr(method(kind), form)(argument(), timeout=10)
                    future = method(kind).future(argument(), timeout=10)
                    assert isinstance(future, grpc.Future) and isinstance(future, grpc.Call)
                    with fails():
                        future.result(10)
                    held(future.exception(10))
                    assert future.code() is grpc.StatusCode.UNKNOWN
                else:
                    stream = method(kind)(argument(), timeout=10)
                    assert next(stream) == b"before"
                    with fails():
                        next(stream)
                    assert stream.details() == MESSAGE

    await asyncio.to_thread(calls)


@pytest.mark.parametrize("begun", ["at once", "later"])
async def test_is_raised_by_every_form_of_call_of_asyncio(mesh: FakeMesh, begun: str) -> None:
    async with TripleTransport(mesh).aio_channel("xds:///greeter:80") as channel:

        def method(kind: str) -> Any:
            made: Any = getattr(channel, kind)(f"/any.Service/{kind}")
            return made

        if begun == "at once":
            with pytest.raises(grpc.RpcError):
                await method("unary_unary")(b"x", timeout=10)
        for kind, interface in (
            ("unary_unary", grpc.aio.UnaryUnaryCall),
            ("stream_unary", grpc.aio.StreamUnaryCall),
        ):
            call = method(kind)(iter([b"x"]) if kind.startswith("stream") else b"x", timeout=10)
            assert isinstance(call, interface)
            with fails():
                await call
            assert await call.code() is grpc.StatusCode.UNKNOWN
        stream = method("unary_stream")(b"x", timeout=10)
        assert isinstance(stream, grpc.aio.UnaryStreamCall)
        assert await stream.read() == b"before"
        with fails():
            await stream.read()
        stream = method("stream_stream")(timeout=10)
        assert isinstance(stream, grpc.aio.StreamStreamCall)
        await stream.write(b"x")
        with fails():
            async for response in stream:
                assert response == b"before"
        with fails():
            async for _ in method("unary_stream")(b"x", timeout=10):
                pass


@pytest.mark.may_leak("pytest keeps the traceback that grpcio logs, and it the server's call")
async def test_other_errors_stay_grpcios(mesh: FakeMesh) -> None:
    async with TripleTransport(mesh).aio_channel("xds:///greeter:80") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="plain") as caught:
            await channel.unary_unary("/any.Service/unary_unary")(b"plain", timeout=10)
        assert not isinstance(caught.value, TripleError)


async def test_deadline_of_a_dubbo_go_handler_is_a_deadline(mesh: FakeMesh) -> None:
    async with TripleTransport(mesh).aio_channel("xds:///greeter:80") as channel:
        with pytest.raises(TripleDeadlineExceeded) as caught:
            await channel.unary_unary("/any.Service/unary_unary")(b"go deadline", timeout=10)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_says_code_and_message_and_can_be_pickled() -> None:
    error = TripleBusinessError(17, "no")
    assert str(error) == "business error 17: no"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.business_code, copy.message) == (TripleBusinessError, 17, "no")


@pytest.mark.parametrize("code", [-1, 0, 16, 1 << 31])
def test_code_that_could_be_grpcs_is_refused(code: int) -> None:
    with pytest.raises(UsageError, match=str(code)):
        BusinessError(code, "no")


@given(st.integers(0, (1 << 31) - 1), st.text(st.characters(exclude_categories=["Cs"])))
def test_details_are_google_rpc_status(code: int, message: str) -> None:
    expected = status_pb2.Status(code=code, message=message)
    assert status_pb2.Status.FromString(status.encode(code, message)) == expected
    expected.details.add(type_url="a", value=b"b")
    assert status.decode(expected.SerializeToString()) == (code, message)


@given(st.binary(max_size=64))
def test_details_that_are_none_are_no_error(data: bytes) -> None:
    told = status.decode(data)
    assert told is None or (isinstance(told[0], int) and isinstance(told[1], str))


@pytest.mark.parametrize("data", [b"\x08", b"\x12\x05ab", b"\x0f", b"\x08" + b"\xff" * 11, b"\x12\x01\xff"])
def test_broken_details_are_ignored(data: bytes) -> None:
    assert status.of(((status.TRAILER, data),)) is None
