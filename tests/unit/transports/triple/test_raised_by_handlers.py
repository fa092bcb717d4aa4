"""Whatever a handler raises is the answer of its call; the server, and the event loop under it, go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from pyrpc_xds.transports.triple import TripleTransport
from tests.unit.transports.triple.fakes import FakeMesh

ERRORS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit("x"),
    "CancelledError": lambda: asyncio.CancelledError("x"),
    "StopIteration": lambda: StopIteration("x"),
    "GeneratorExit": lambda: GeneratorExit("x"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("x", [SystemExit()]),
}
# Ctrl-C is Python's, in the main thread: there it goes on to end the program.
ON_THREADS = {**ERRORS, "KeyboardInterrupt": lambda: KeyboardInterrupt("x")}
STREAM = grpc.unary_stream_rpc_method_handler
UNARY = grpc.unary_unary_rpc_method_handler


def unary(request: bytes, context: Any) -> bytes:
    if request == b"callback":
        context.add_callback(lambda: sys.exit("x"))
    elif request:
        raise ON_THREADS[request.decode()]()
    return b"answer"


def stream(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"answer"
    unary(request, context)
    yield b"answer"


async def aio_unary(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(0)
    return unary(request, context)


async def aio_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"answer"
    await aio_unary(request, context)
    yield b"answer"


METHODS = {"unary": UNARY(unary), "stream": STREAM(stream)}
AIO_METHODS = {"unary": UNARY(aio_unary), "stream": STREAM(aio_stream)}


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """What is logged would keep the server: the traceback of each exception names it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def asked(channel: grpc.Channel, method: str, request: bytes, **rest: Any) -> list[bytes]:
    if method == "unary":
        return [channel.unary_unary("/T/unary")(request, timeout=10, **rest)]
    return list(channel.unary_stream("/T/stream")(request, timeout=10, **rest))


def answers(channel: grpc.Channel, method: str, request: str, **rest: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        asked(channel, method, request.encode(), **rest)
    with contextlib.closing(channel):
        assert asked(channel, method, b"") == [b"answer"] * (1 if method == "unary" else 2)
    error: Any = caught.value
    return error.code(), error.details()


class Interceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if ("exit", "now") in handler_call_details.invocation_metadata:
            sys.exit("x")
        return continuation(handler_call_details)


class AioInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if ("exit", "now") in handler_call_details.invocation_metadata:
            sys.exit("x")
        return await continuation(handler_call_details)


@contextlib.contextmanager
def serving(codec: str) -> Iterator[grpc.Channel]:
    server = TripleTransport(FakeMesh()).server(
        address="127.0.0.1:0", codec=codec, interceptors=[Interceptor()], health=False, reflection=False
    )
    server.add_registered_method_handlers("T", METHODS)
    server.start()
    try:
        yield grpc.insecure_channel(f"127.0.0.1:{server.port}")
    finally:
        server.stop(0).wait(5)
        del server._server  # grpc's pollers live as long as the object, and pytest keeps this one


@contextlib.asynccontextmanager
async def serving_aio(methods: dict[str, Any]) -> AsyncIterator[grpc.Channel]:
    server = TripleTransport(FakeMesh()).aio_server(
        address="127.0.0.1:0", interceptors=[AioInterceptor()], health=False, reflection=False
    )
    server.add_registered_method_handlers("T", methods)
    await server.start()
    try:
        yield grpc.insecure_channel(f"127.0.0.1:{server.port}")
    finally:
        await server.stop(0)


@pytest.mark.parametrize("error", ON_THREADS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", ["grpcio", "nghttp2"])
def test_exception_on_a_thread_is_the_answer_of_its_call(codec: str, method: str, error: str) -> None:
    with serving(codec) as channel:
        code, details = answers(channel, method, error)
    assert code is grpc.StatusCode.UNKNOWN
    assert error in details


@pytest.mark.parametrize("error", ON_THREADS)
@pytest.mark.parametrize("method", METHODS)
async def test_exception_on_a_thread_beside_a_loop_is_the_answer_of_its_call(method: str, error: str) -> None:
    async with serving_aio(METHODS) as channel:
        code, details = await asyncio.to_thread(answers, channel, method, error)
    assert code is grpc.StatusCode.UNKNOWN
    assert error in details


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", METHODS)
async def test_exception_of_a_coroutine_is_the_answer_of_its_call(method: str, error: str) -> None:
    async with serving_aio(AIO_METHODS) as channel:
        code, details = await asyncio.to_thread(answers, channel, method, error)
    assert code is grpc.StatusCode.UNKNOWN
    assert error in details


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", ["grpcio", "nghttp2"])
def test_exit_in_a_callback_ends_no_more_than_the_callbacks(codec: str, method: str) -> None:
    with serving(codec) as channel, contextlib.closing(channel):
        for _ in range(3):
            assert asked(channel, method, b"callback") == asked(channel, method, b"")


async def test_exit_in_a_callback_beside_a_loop_ends_no_more_than_its_call() -> None:
    async with serving_aio(METHODS) as channel:
        code, _ = await asyncio.to_thread(answers, channel, "unary", "callback")
    assert code is grpc.StatusCode.UNKNOWN  # where grpc.aio calls the callbacks, the call still runs


@pytest.mark.parametrize("codec", ["grpcio", "nghttp2"])
def test_exit_in_an_interceptor_is_the_answer_of_its_call(codec: str) -> None:
    with serving(codec) as channel:
        code, _ = answers(channel, "unary", "", metadata=[("exit", "now")])
    assert code is grpc.StatusCode.UNKNOWN


async def test_exit_in_an_interceptor_of_a_loop_is_the_answer_of_its_call() -> None:
    async with serving_aio(AIO_METHODS) as channel:
        code, _ = await asyncio.to_thread(answers, channel, "unary", "", metadata=[("exit", "now")])
    assert code is grpc.StatusCode.UNKNOWN
