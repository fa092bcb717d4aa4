"""Whatever handlers raise, return, leave behind or take in time: it is the answer of one call and no more."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

from pyrpc_xds.errors import PortNotBound
from pyrpc_xds.transports.thrift import ServerLimits, ThriftBizError, ThriftDeadlineExceeded, ThriftTransport
from tests.conftest import DESCRIPTORS
from tests.e2e.test_thrift_aio import AioHandler
from tests.e2e.test_thrift_mux import mux, pool_of
from tests.e2e.test_thrift_mux_server import request as ttheader_request
from tests.e2e.test_thrift_server import call, framed
from tests.interop.peers.ours import our_client, our_server
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, wait_until

# The server for threads; the asyncio server with handlers that are coroutines, and with others.
SERVERS = ("sync", "coroutine", "asyncio")


class Raising(Handler):
    """``ping`` raises or returns what the test says."""

    def __init__(self, outcome: Callable[[], Any]) -> None:
        super().__init__()
        self.outcome = outcome

    def ping(self, text: str) -> Any:
        return self.outcome() if text == "bad" else text

    def check(self, good: bool) -> None:
        self.outcome()


class RaisingCoroutine(Raising):
    async def ping(self, text: str) -> Any:
        return super().ping(text)

    async def check(self, good: bool) -> None:  # type: ignore[override]
        self.outcome()


@contextlib.contextmanager
def serving(kind: str, outcome: Callable[[], Any], **options: Any) -> Iterator[tuple[str, Raising]]:
    handler = (RaisingCoroutine if kind == "coroutine" else Raising)(outcome)
    with our_server("sync" if kind == "sync" else "asyncio", idl.Everything, handler, **options) as address:
        yield address, handler
        handler.release.set()


def client_of(form: str, address: str) -> Any:
    if form == "mux":
        return mux("sync", address)
    return our_client("sync", idl.Everything, address, framing=form)


def raising(error: Callable[[], BaseException]) -> Callable[[], Any]:
    def outcome() -> Any:
        raise error()

    return outcome


def spoilt(**attributes: Any) -> BaseException:
    error = ThriftBizError(1, "x")
    vars(error).update(attributes)
    return error


class Unshowable(Exception):
    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


NOT_TO_BE_ENCODED: dict[str, Callable[[], Any]] = {
    "a code that is none": raising(lambda: spoilt(code="SOLD_OUT")),
    "no code": raising(lambda: spoilt(code=None)),
    "a business message that is none": raising(lambda: spoilt(message=b"x")),
    "a declared error with a field of another type": raising(lambda: idl.Refused(why="no", code="x")),
    "a declared error with half a character": raising(lambda: idl.Refused(why="\ud800", code=1)),
    "a result of another type": lambda: 404,
    "a result with half a character": lambda: "\ud800",
    "an error that cannot be shown": raising(Unshowable),
    "an error with half a character": raising(lambda: ValueError("\ud800")),
}


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("what", NOT_TO_BE_ENCODED)
@pytest.mark.parametrize("kind", SERVERS)
def test_outcome_that_cannot_be_encoded_is_an_internal_error_of_its_call_alone(
    kind: str, what: str, exposed: bool
) -> None:
    outcome = NOT_TO_BE_ENCODED[what]
    with (
        serving(kind, outcome, expose_errors=exposed) as (address, handler),
        mux("sync", address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        other = pool.submit(client.slow, 20.0)
        wait_until(lambda: handler.running == 1)
        method = client.check if "declared" in what else client.ping
        with pytest.raises(TApplicationException, match=r"Everything\.(ping|check) failed") as error:
            method("bad" if method == client.ping else False)
        assert error.value.type == TApplicationException.INTERNAL_ERROR
        handler.release.set()
        # It has the same connection.
        assert other.result(10) == "done" and client.ping("after") == "after"


@pytest.mark.parametrize("form", ["framed", "buffered", "ttheader", "theader"])
@pytest.mark.parametrize("error", [lambda: TApplicationException(6, 404), lambda: spoilt(code="x")])
@pytest.mark.parametrize("kind", SERVERS)
def test_connection_outlives_errors_that_cannot_be_encoded(
    kind: str, error: Callable[[], BaseException], form: str
) -> None:
    with serving(kind, raising(error)) as (address, _), client_of(form, address) as client:
        assert client.ping("x") == "x"
        held = set(pool_of(client)._open)
        with pytest.raises(TApplicationException):
            client.ping("bad")
        assert client.ping("x") == "x"
        assert set(pool_of(client)._open) == held


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        GeneratorExit(),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        StopIteration(1),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("form", ["framed", "mux"])
@pytest.mark.parametrize("kind", SERVERS)
def test_exception_that_ends_threads_and_tasks_is_an_answer(
    kind: str, form: str, error: BaseException
) -> None:
    with serving(kind, raising(lambda: error), workers=1) as (address, _), client_of(form, address) as client:
        for _ in range(3):
            with pytest.raises(TApplicationException, match=r"Everything\.ping failed") as told:
                client.ping("bad")
            assert told.value.type == TApplicationException.INTERNAL_ERROR
        assert client.ping("x") == "x"


@pytest.mark.parametrize("form", ["framed", "ttheader", "mux"])
def test_handler_that_waits_for_a_task_that_is_cancelled_is_answered(form: str) -> None:
    class Waiting(AioHandler):
        async def wait(self, text: str) -> str:
            task = asyncio.create_task(asyncio.sleep(100))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task
            return text

    def made() -> AioHandler:
        handler = Waiting()
        handler.ping = handler.wait  # type: ignore[method-assign, assignment]
        return handler

    with our_server("asyncio", idl.Everything, made()) as address, client_of(form, address) as client:
        with pytest.raises(TApplicationException, match=r"Everything\.ping failed"):
            client.ping("x")
        assert client.add(1, 2) == 3


USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


class Remembering(Handler):
    def fire(self, text: str) -> None:
        USER.set(text)
        super().fire(text)

    def ping(self, text: str) -> str:
        user = USER.get()
        USER.set(text)
        return user


class RememberingCoroutine(Handler):
    async def fire(self, text: str) -> None:  # type: ignore[override]
        USER.set(text)
        self.release.set()

    async def ping(self, text: str) -> str:  # type: ignore[override]
        user = USER.get()
        USER.set(text)
        # What comes meanwhile is read by a callback that was registered in this context.
        await asyncio.sleep(0.01)
        return user


@pytest.mark.parametrize("kind", SERVERS)
def test_context_of_a_request_is_not_that_of_those_behind_it(kind: str) -> None:
    handler = RememberingCoroutine() if kind == "coroutine" else Remembering()
    answer = framed(call(kind=2, body=b"\x0b\0\0" + struct.pack(">i", 6) + b"nobody\0"))
    with our_server("sync" if kind == "sync" else "asyncio", idl.Everything, handler) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as sock:
            sock.sendall(framed(call(b"fire", kind=4)) + framed(call()) * 3)
            for count in (3, 1, 1, 1):
                received = b""
                while len(received) < count * len(answer):
                    received += sock.recv(65536)
                assert received == answer * count
                sock.sendall(framed(call()))


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_call_whose_time_is_over_when_a_thread_is_free_does_not_run(kind: str) -> None:
    handler = Handler()
    with (
        our_server(kind, idl.Everything, handler, workers=1) as address,
        our_client("sync", idl.Everything, address, framing="ttheader") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        busy = pool.submit(client.slow, 20.0)
        wait_until(lambda: handler.running == 1)
        for _ in range(3):
            with pytest.raises(ThriftDeadlineExceeded):
                client.with_options(timeout=0.05).ping("late")
        time.sleep(0.5)  # time counts from when the server reads a call, which a busy machine delays
        handler.release.set()
        assert busy.result(10) == "done"
        assert client.ping("in time") == "in time"
        assert handler.calls == 1


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_late_call_is_answered_as_one_that_did_not_run(kind: str) -> None:
    handler = Handler()
    with our_server(kind, idl.Everything, handler, workers=1) as address:
        host, _, port = address.rpartition(":")
        with (
            our_client("sync", idl.Everything, address) as client,
            ThreadPoolExecutor(1) as pool,
            socket.create_connection((host, int(port)), 10) as sock,
        ):
            busy = pool.submit(client.slow, 20.0)
            wait_until(lambda: handler.running == 1)
            # A frame of TTHeader with a time of 20 ms, key 12.
            message = call()
            ints = b"\x10\0\1" + struct.pack(">HH", 12, 2) + b"20"
            header = b"\0\0" + ints + bytes(-(len(ints) + 2) % 4)
            frame = struct.pack(">HHiH", 0x1000, 0, 1, len(header) // 4) + header + message
            sock.sendall(struct.pack(">i", len(frame)) + frame)
            with pytest.raises(TimeoutError):
                sock.settimeout(0.2)
                sock.recv(1)
            sock.settimeout(10)
            handler.release.set()
            assert b"Everything.ping did not run: its deadline had passed" in sock.recv(4096)
            assert busy.result(10) == "done" and handler.calls == 0


@pytest.mark.parametrize("factory", ["plain", "eager"])
async def test_requests_run_whatever_makes_the_tasks_of_the_loop(factory: str) -> None:
    def plain(loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=loop)

    loop = asyncio.get_running_loop()
    # Python 3.12 and later have the other.
    loop.set_task_factory(plain if factory == "plain" else getattr(asyncio, "eager_task_factory", None))
    async with ThriftTransport(FakeMesh()).aio_server(idl.Everything, AioHandler(), "127.0.0.1:0") as server:
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        count = 500
        writer.write(framed(call()) * count)
        expected = framed(call(kind=2, body=b"\x0b\0\0\0\0\0\x01x\0")) * count
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 10) == expected
        writer.close()
        await writer.wait_closed()


async def test_slow_reader_of_a_shared_connection_is_closed_whatever_runs_beside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Large(AioHandler):
        async def large(self, text: str) -> str:
            return "y" * 8_000_000

    handler = Large()
    handler.ping = handler.large  # type: ignore[method-assign, assignment]
    limits = ServerLimits(frame_timeout=0.2)
    async with ThriftTransport(FakeMesh()).aio_server(
        idl.Everything, handler, "127.0.0.1:0", limits=limits
    ) as server:
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as sock:
            sock.sendall(ttheader_request(1, "x") + ttheader_request(2, "x"))
            async with asyncio.timeout(10):
                while "too slow reading an answer" not in caplog.text:
                    await asyncio.sleep(0.02)
            # It is reset: the kernel keeps nothing for it either.
            with pytest.raises(ConnectionResetError):
                while await asyncio.to_thread(sock.recv, 1 << 20):
                    pass


def accepted(sock: socket.socket) -> socket.socket:
    """The other end of a connection, which this process has as well."""
    for number in os.listdir(DESCRIPTORS):
        with contextlib.suppress(OSError):
            descriptor = os.dup(int(number))
            try:
                other = socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)
                continue
            with contextlib.suppress(OSError):
                if other.getpeername() == sock.getsockname():
                    return other
            other.close()
    raise AssertionError("it is not there")


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_accepted_connections_are_kept_alive(kind: str) -> None:
    with our_server(kind, idl.Everything, Handler()) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as sock:
            sock.sendall(framed(call()))
            assert sock.recv(100)
            with accepted(sock) as other:
                assert other.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_asyncio_server_is_started_again_after_its_port_was_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = ThriftTransport(FakeMesh()).aio_server(
            idl.Everything, Handler(), f"127.0.0.1:{other.getsockname()[1]}"
        )
        with pytest.raises(PortNotBound):
            await server.start()
    async with server:
        assert repr(server).endswith("serving>")
