"""Graceful stop: what has reached the server is answered, and clients are told to go before connections close."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import PoolLimits, ServerLimits, ThriftTransport
from pyrpc_xds.transports.thrift.goodbye import GOODBYE
from tests.e2e.test_thrift_mux import frames, mux
from tests.e2e.test_thrift_mux_server import request as ttheader_request
from tests.e2e.test_thrift_server import call, framed
from tests.interop.peers.ours import KINDS, loop_thread
from tests.interop.peers.ttheader_bytes import Frame, pack
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, wait_until

ROOT = Path(__file__).parents[2]
PONG = framed(call(kind=2, body=b"\x0b\0\0\0\0\0\x01x\0"))
SLOW = framed(call(b"slow", 1, b"\x04\0\x01" + struct.pack(">d", 20.0) + b"\0"))


class Stopped:
    """A server that the test stops.

    :ivar stop: returns when it is over; takes the grace.
    """

    def __init__(self, address: str, stop: Callable[[float], None]) -> None:
        self.address = address
        self.stop = stop
        self._thread: threading.Thread | None = None

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), 10)

    def begin_to_stop(self, grace: float = 20.0) -> None:
        """Returns when it listens no more."""
        self._thread = threading.Thread(target=self.stop, args=(grace,))
        self._thread.start()
        wait_until(self._is_closed)

    def _is_closed(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return True
        return False

    @property
    def over(self) -> bool:
        """The stop has returned, or does so soon."""
        assert self._thread is not None
        self._thread.join(10)
        return not self._thread.is_alive()


@contextlib.contextmanager
def serving(kind: str, handler: Any, **options: Any) -> Iterator[Stopped]:
    transport = ThriftTransport(FakeMesh())
    if kind == "sync":
        with transport.server(idl.Everything, handler, "127.0.0.1:0", **options) as server:
            yield Stopped(server.address, server.stop)
        return
    with loop_thread() as loop:
        aio = transport.aio_server(idl.Everything, handler, "127.0.0.1:0", **options)

        def wait_for(work: Any) -> None:
            asyncio.run_coroutine_threadsafe(work, loop).result(30)

        wait_for(aio.start())
        try:
            yield Stopped(aio.address, lambda grace: wait_for(aio.stop(grace)))
        finally:
            wait_for(aio.stop(0.0))


@pytest.fixture
def long_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test takes, clients have time for a call when the server stops."""
    monkeypatch.setattr("pyrpc_xds.transports.thrift.reactor.LEAVING", 20.0)
    monkeypatch.setattr("pyrpc_xds.transports.thrift.aio_server.LEAVING", 20.0)


def everything(sock: socket.socket) -> bytes:
    """What comes until the end of the connection."""
    sock.settimeout(10)
    received = bytearray()
    while data := sock.recv(65536):
        received += data
    return bytes(received)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_behind_one_that_runs_are_answered_before_the_connection_is_closed(
    kind: str, together: bool
) -> None:
    handler = Handler()
    behind = b"".join(framed(call(seqid=number)) for number in range(2, 50))
    with serving(kind, handler) as server, server.connect() as sock:
        # Together the server has read them; otherwise they lie in its socket when it is stopped.
        sock.sendall(SLOW + (behind if together else b""))
        wait_until(lambda: handler.running == 1)
        if not together:
            sock.sendall(behind)
        server.begin_to_stop()
        handler.release.set()
        answers = everything(sock)
        assert [answers.count(struct.pack(">i4si", 4, b"ping", number)) for number in range(2, 50)] == [
            1
        ] * 48
        assert b"done" in answers and handler.calls == 48
        assert server.over


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_wait_for_a_worker_are_answered(kind: str) -> None:
    handler = Handler()
    with serving(kind, handler, workers=1) as server, contextlib.ExitStack() as stack:
        busy, *waiting = [stack.enter_context(server.connect()) for _ in range(9)]
        busy.sendall(SLOW)
        wait_until(lambda: handler.running == 1)
        for sock in waiting:
            sock.sendall(framed(call()))
        server.begin_to_stop()
        handler.release.set()
        assert b"done" in everything(busy)
        assert [everything(sock) for sock in waiting] == [PONG] * 8
        assert server.over


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_a_shared_connection_beyond_those_that_run_are_answered(kind: str) -> None:
    handler = Handler()
    limits = ServerLimits(in_flight=2)
    with serving(kind, handler, workers=4, limits=limits) as server, mux("sync", server.address) as client:
        with ThreadPoolExecutor(24) as pool:
            calls = [pool.submit(client.slow, 20.0) for _ in range(24)]
            wait_until(lambda: handler.running >= 2)
            server.begin_to_stop()
            handler.release.set()
            assert [each.result(10) for each in calls] == ["done"] * 24
        assert server.over


@pytest.mark.usefixtures("long_leave")
@pytest.mark.parametrize("kind", KINDS)
def test_client_between_two_calls_makes_one_more_and_the_connection_ends_with_its_answer(kind: str) -> None:
    with serving(kind, Handler()) as server, server.connect() as sock:
        sock.sendall(framed(call()))
        assert sock.recv(100) == PONG
        server.begin_to_stop()
        sock.sendall(framed(call()))
        assert everything(sock) == PONG
        sock.close()
        assert server.over


@pytest.mark.usefixtures("long_leave")
@pytest.mark.parametrize("kind", KINDS)
def test_connection_does_not_end_with_a_oneway_call_which_tells_its_client_nothing(kind: str) -> None:
    handler = Handler()
    with serving(kind, handler) as server, server.connect() as sock:
        sock.sendall(framed(call()))
        assert sock.recv(100) == PONG
        server.begin_to_stop()
        for number in range(3):
            sock.sendall(framed(call(b"fire", number, kind=4)))
            wait_until(lambda sent=number: len(handler.fired) > sent)
            # So that the server, if it were to end the connection, would have done so.
            time.sleep(0.05)
        sock.sendall(framed(call()))
        assert everything(sock) == PONG
        sock.close()
        assert server.over


@pytest.mark.usefixtures("long_leave")
@pytest.mark.parametrize("kind", KINDS)
def test_answer_over_ttheader_says_that_it_is_the_last(kind: str) -> None:
    with serving(kind, Handler()) as server, server.connect() as sock:
        sock.sendall(pack(Frame(call())))
        assert next(frames(sock)).strings == {}
        server.begin_to_stop()
        sock.sendall(pack(Frame(call(seqid=2), 2)))
        answers = list(frames(sock))
        assert [(each.seqid, each.strings) for each in answers] == [(2, {"crrst": "1"})]
        sock.close()
        assert server.over


@pytest.mark.usefixtures("long_leave")
@pytest.mark.parametrize("kind", KINDS)
def test_shared_connection_gets_a_goodbye_and_is_served_until_its_client_closes_it(kind: str) -> None:
    with serving(kind, Handler()) as server, server.connect() as sock:
        sock.sendall(ttheader_request(1, "x"))
        assert next(frames(sock)).seqid == 1
        server.begin_to_stop()
        assert sock.recv(len(GOODBYE)) == GOODBYE
        for number in range(2, 6):
            sock.sendall(ttheader_request(number, "x"))
            assert next(frames(sock)).seqid == number
        sock.close()
        assert server.over


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_clients_that_call_without_a_pause_lose_no_call(kind: str, shared: int) -> None:
    with serving(kind, Handler()) as leaving, serving("sync", Handler()) as staying:
        mesh = FakeMesh(leaving.address, staying.address)
        with ThriftTransport(mesh).client(
            idl.Everything, "x:1", framing="ttheader", pool=PoolLimits(multiplexed=shared), timeout=10.0
        ) as client:
            over = threading.Event()

            def call_on() -> int:
                calls = 0
                while not over.is_set():
                    assert client.ping("x") == "x"
                    calls += 1
                return calls

            with ThreadPoolExecutor(4) as pool:
                callers = [pool.submit(call_on) for _ in range(4)]
                time.sleep(0.2)
                leaving.stop(10.0)
                over.set()
                assert min(each.result(10) for each in callers) > 0
        mesh.close()


@pytest.mark.parametrize("kind", KINDS)
def test_answer_that_is_being_read_is_not_cut_by_calls_that_come_too_late(kind: str) -> None:
    large = framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 8_000_000) + b"x" * 8_000_000 + b"\0"))
    handler = Handler()
    with serving(kind, handler) as server, server.connect() as sock:
        sock.sendall(large)
        wait_until(lambda: handler.calls == 1)
        server.begin_to_stop()
        received = 0
        while data := sock.recv(1 << 16):
            received += len(data)
            with contextlib.suppress(OSError):
                sock.send(framed(call()), socket.MSG_DONTWAIT)
        # And of the calls behind it those that the server has read.
        assert received >= len(large) and (received - len(large)) % len(PONG) == 0
        sock.close()
        assert server.over


@pytest.mark.parametrize("kind", KINDS)
def test_oneway_calls_run_although_their_client_has_gone(kind: str) -> None:
    class Slow(Handler):
        def fire(self, text: str) -> None:
            self.release.wait(20)
            super().fire(text)

    handler = Slow()
    with serving(kind, handler) as server:
        with server.connect() as sock:
            sock.sendall(b"".join(framed(call(b"fire", number, kind=4)) for number in range(5)))
        server.begin_to_stop()
        handler.release.set()
        assert server.over
        assert handler.fired == ["x"] * 5


async def test_connections_that_no_turn_of_the_loop_has_accepted_are_served() -> None:
    server = await ThriftTransport(FakeMesh()).aio_server(idl.Everything, Handler(), "127.0.0.1:0").start()
    stopped = Stopped(server.address, lambda grace: None)
    with contextlib.ExitStack() as stack:
        # More than it accepts in a turn.
        socks = [stack.enter_context(stopped.connect()) for _ in range(200)]
        for sock in socks:
            sock.sendall(framed(call()))
        await server.stop()
        assert [everything(sock) for sock in socks] == [PONG] * 200


async def test_second_stop_cuts_the_first_short_while_connections_arrive() -> None:
    handler = Handler()
    server = await ThriftTransport(FakeMesh()).aio_server(idl.Everything, handler, "127.0.0.1:0").start()
    try:
        with Stopped(server.address, lambda grace: None).connect() as sock:
            sock.sendall(SLOW)
            async with asyncio.timeout(10):
                await asyncio.gather(server.stop(60.0), server.stop(0.2))
    finally:
        handler.release.set()
        await server.stop(0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_second_stop_cuts_the_first_short(kind: str) -> None:
    handler = Handler()
    with serving(kind, handler) as server, server.connect() as sock:
        sock.sendall(SLOW + framed(call(seqid=2)))
        wait_until(lambda: handler.running == 1)
        server.begin_to_stop(60.0)
        server.stop(0.0)
        assert server.over
        handler.release.set()
        with contextlib.suppress(ConnectionError):
            assert everything(sock) == b""
        assert handler.calls == 0


@pytest.mark.parametrize("grace", [math.inf, 1e12, -1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_grace_may_be_any_number(kind: str, grace: float) -> None:
    with serving(kind, Handler()) as server, server.connect() as sock:
        server.stop(grace)
        with contextlib.suppress(ConnectionError):
            assert everything(sock) == b""


@pytest.mark.parametrize("wrong", [math.nan, "5", None])
@pytest.mark.parametrize("kind", KINDS)
def test_grace_that_is_no_time_is_refused_and_the_server_goes_on(kind: str, wrong: Any) -> None:
    with serving(kind, Handler()) as server, server.connect() as sock:
        with pytest.raises(UsageError, match="seconds"):
            server.stop(wrong)
        sock.sendall(framed(call()))
        assert sock.recv(100) == PONG
        server.stop(1.0)


PROGRAM = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pyrpc_xds.transports.thrift import ThriftTransport
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl

async def main():
    server = ThriftTransport(FakeMesh()).aio_server(idl.Everything, Handler(), "127.0.0.1:0")
    await server.start()
    print(server.address, flush=True)
    await server.serve(grace=0.2)
    print("over", flush=True)

asyncio.run(main())
"""


def test_process_of_an_asyncio_server_ends_although_a_handler_does_not() -> None:
    text = PROGRAM.format(root=str(ROOT))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            host, _, port = process.stdout.readline().strip().rpartition(":")
            with socket.create_connection((host, int(port)), 10) as sock:
                # What follows is answered in its time by another thread: the handler runs by then.
                sock.sendall(framed(call(b"slow", 1, b"\x04\0\x01" + struct.pack(">d", 3600.0) + b"\0")))
                with socket.create_connection((host, int(port)), 10) as other:
                    other.sendall(framed(call()))
                    assert other.recv(100) == PONG
                process.send_signal(signal.SIGTERM)
                assert process.stdout.readline() == "over\n"
                assert process.wait(20) == 0
        finally:
            process.kill()
