"""Many calls at a time on one connection of TTHeader: our clients and servers, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pyrpc_xds.errors import RemoteProtocolError, UsageError
from pyrpc_xds.transports.thrift import (
    PoolLimits,
    ServerLimits,
    ThriftDeadlineExceeded,
    ThriftTransport,
    ThriftUnavailable,
)
from pyrpc_xds.transports.thrift.mux import MuxConnection
from tests.e2e.ttheader_peer import failing, frames, reply
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server
from tests.interop.peers.ttheader_bytes import Frame
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, wait_until

PAIRS = [(client, server) for client in KINDS for server in KINDS]


class Gate(Handler):
    """Holds calls back by their text."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def ping(self, text: str) -> str:
        if text.startswith("wait"):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.entered.release()
            try:
                assert self.opened.wait(20)
            finally:
                with self.lock:
                    self.now -= 1
        return text


class Background:
    """Calls of a client in the background, whatever its kind."""

    def __init__(self, client: OurClient) -> None:
        self.client = client
        self._threads = ThreadPoolExecutor(64)

    def ping(self, *texts: str) -> Future[list[Any]]:
        return self._threads.submit(self.client.at_once, [("ping", (text,)) for text in texts], 64)


def pool_of(client: OurClient) -> Any:
    return client.raw._caller._router.snapshot.destination.cluster.endpoints[0].connection


def mux(kind: str, address: str, connections: int = 1, **options: Any) -> Any:
    return our_client(
        kind,
        idl.Everything,
        address,
        framing="ttheader",
        pool=PoolLimits(multiplexed=connections),
        **options,
    )


@pytest.fixture(params=PAIRS, ids="-".join)
def scene(request: pytest.FixtureRequest) -> Iterator[tuple[OurClient, Gate]]:
    """A client that has one connection, and the handler of its server."""
    handler = Gate()
    client_kind, server_kind = request.param
    with (
        our_server(server_kind, idl.Everything, handler, workers=16) as address,
        mux(client_kind, address) as client,
    ):
        try:
            yield client, handler
        finally:
            handler.opened.set()


def test_each_of_thousands_gets_its_own_answer(scene: tuple[OurClient, Gate]) -> None:
    client, _ = scene
    texts = [f"text {number} " * (number % 40) for number in range(3000)]
    assert client.at_once([("ping", (text,)) for text in texts], 64) == texts
    large = [str(number) * 200_000 for number in range(40)]
    assert client.at_once([("ping", (text,)) for text in large], 20) == large
    assert "1 open" in repr(pool_of(client))


def test_call_that_waits_is_overtaken(scene: tuple[OurClient, Gate]) -> None:
    client, handler = scene

    async def overtake() -> None:
        slow = [asyncio.ensure_future(client.raw.ping(f"wait {n}")) for n in range(8)]
        while handler.now < 8:
            await asyncio.sleep(0.005)
        assert await client.raw.ping("quick") == "quick"
        handler.opened.set()
        assert await asyncio.gather(*slow) == [f"wait {n}" for n in range(8)]

    if client._runner is not None:
        client._runner.run(overtake())
        return
    slow = Background(client).ping(*(f"wait {n}" for n in range(8)))
    for _ in range(8):
        assert handler.entered.acquire(timeout=10)
    assert client.ping("quick") == "quick"
    handler.opened.set()
    assert slow.result(10) == [f"wait {n}" for n in range(8)]


def test_late_answer_goes_to_nobody_and_is_counted(scene: tuple[OurClient, Gate]) -> None:
    client, handler = scene
    client.ping("x")
    with pytest.raises(ThriftDeadlineExceeded):
        client.with_options(timeout=0.1).ping("wait")
    assert client.ping("between") == "between"
    handler.opened.set()
    pool = pool_of(client)

    def counted() -> bool:
        assert client.ping("after") == "after"
        return bool(pool.late == 1)

    wait_until(counted)
    assert "1 open" in repr(pool)


def test_declared_exceptions_and_oneway(scene: tuple[OurClient, Gate]) -> None:
    client, handler = scene
    with pytest.raises(idl.Refused):
        client.check(False)
    assert client.fire("shot") is None
    assert handler.got_fired.wait(5)
    assert client.ping("x") == "x"


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_one_connection_that_run_are_limited(kind: str) -> None:
    handler = Gate()
    with (
        our_server(kind, idl.Everything, handler, workers=16, limits=ServerLimits(in_flight=3)) as address,
        mux("sync", address) as client,
    ):
        try:
            calls = Background(client).ping(*(f"wait {n}" for n in range(12)))
            for _ in range(4):
                assert handler.entered.acquire(timeout=10)
            assert not handler.entered.acquire(timeout=0.2)
        finally:
            handler.opened.set()
        assert calls.result(10) == [f"wait {n}" for n in range(12)]
        # The three, and the one that the connection itself waits for.
        assert handler.most == 4


@pytest.mark.parametrize("client_kind", KINDS)
def test_calls_are_spread_over_the_connections_allowed(client_kind: str) -> None:
    with our_server("sync", idl.Everything, Handler()) as address, mux(client_kind, address, 3) as client:
        texts = [str(number) for number in range(2000)]
        assert client.at_once([("ping", (text,)) for text in texts], 32) == texts
        assert int(repr(pool_of(client)).split(" open")[0].split()[-1]) <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_server_answers_what_runs_on_a_shared_connection(kind: str) -> None:
    handler = Gate()
    with contextlib.ExitStack() as stack:
        servers = contextlib.ExitStack()
        address = servers.enter_context(our_server(kind, idl.Everything, handler, workers=16))
        client = stack.enter_context(mux("sync", address))
        calls = Background(client).ping(*(f"wait {n}" for n in range(8)))
        for _ in range(8):
            assert handler.entered.acquire(timeout=10)
        stopping = threading.Thread(target=servers.close)
        stopping.start()
        # A new connection would tell, and be cut off in its beginning.
        time.sleep(0.2)
        handler.opened.set()
        assert calls.result(10) == [f"wait {n}" for n in range(8)]
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_endpoint_that_leaves_lets_running_calls_finish_and_takes_no_more(kind: str) -> None:
    handler = Gate()
    with our_server("sync", idl.Everything, handler) as address, mux(kind, address) as client:
        if client._runner is None:
            calls = Background(client).ping("wait 1", "wait 2")
            for _ in range(2):
                assert handler.entered.acquire(timeout=10)
            pool_of(client).drain()
            with pytest.raises(ThriftUnavailable, match="left the mesh"):
                client.ping("x")
            handler.opened.set()
            assert calls.result(10) == ["wait 1", "wait 2"]
            return

        async def leave() -> None:
            calls = [asyncio.ensure_future(client.raw.ping(f"wait {n}")) for n in range(2)]
            while handler.now < 2:
                await asyncio.sleep(0.005)
            pool_of(client).drain()
            with pytest.raises(ThriftUnavailable, match="left the mesh"):
                await client.raw.ping("x")
            handler.opened.set()
            assert await asyncio.gather(*calls) == ["wait 0", "wait 1"]

        client._runner.run(leave())


# -- servers that misbehave ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_answers_in_reverse_order_and_in_pieces(kind: str, pieces: int) -> None:
    def serve(sock: socket.socket) -> None:
        got: list[Frame] = []
        for each in frames(sock):
            got.append(each)
            if len(got) == 10:
                data = b"".join(
                    reply(each.seqid, f"answer {each.payload[-6:-1].decode()}") for each in reversed(got)
                )
                for start in range(0, len(data), pieces):
                    sock.sendall(data[start : start + pieces])
                got.clear()

    with failing(serve) as address, mux(kind, address) as client:
        texts = [f"{number:05}" for number in range(30)]
        answers = client.at_once([("ping", (text,)) for text in texts], 10)
        assert answers == [f"answer {text}" for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_broken_connection_fails_its_calls_and_no_others(kind: str) -> None:
    connections: list[int] = []

    def serve(sock: socket.socket) -> None:
        connections.append(1)
        if len(connections) > 1:
            for each in frames(sock):
                sock.sendall(reply(each.seqid, "well"))
            return
        for number, _ in enumerate(frames(sock)):
            if number == 4:
                return

    with failing(serve) as address, mux(kind, address, timeout=5.0) as client:

        def one(text: str) -> Any:
            try:
                return client.ping(text)
            except ThriftUnavailable as error:
                return error

        if client._runner is None:
            with ThreadPoolExecutor(5) as threads:
                failed = list(threads.map(one, "abcde"))
        else:

            async def five() -> list[Any]:
                calls = (client.raw.ping(text) for text in "abcde")
                return await asyncio.gather(*calls, return_exceptions=True)

            failed = client._runner.run(five())
        assert [type(each) for each in failed] == [ThriftUnavailable] * 5
        assert all("may have run" in str(each) for each in failed)
        assert [client.ping("x") for _ in range(3)] == ["well"] * 3
    assert len(connections) == 2


def test_call_that_another_thread_is_sending_as_the_connection_breaks_runs_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether its bytes have left is only known to that thread, a moment later: until then nobody repeats it."""
    write = MuxConnection._write
    seen: list[int] = []
    one_goes, two_wait, retried = threading.Event(), threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        for number, each in enumerate(frames(sock)):
            seen.append(each.seqid)
            if len(seen) > 3:
                retried.set()
                sock.sendall(reply(each.seqid, "ran twice"))
            elif number == 2:
                return

    def written(self: MuxConnection, data: bytes | memoryview) -> int:
        if not one_goes.is_set():
            one_goes.set()
            assert two_wait.wait(10)
            return write(self, data)
        sent = write(self, data)
        wait_until(lambda: not self.usable)
        retried.wait(0.3)
        return sent

    monkeypatch.setattr(MuxConnection, "_write", written)
    with failing(serve) as address, mux("sync", address, timeout=5.0) as client:
        with ThreadPoolExecutor(3) as threads:
            calls = [threads.submit(client.ping, "a")]
            assert one_goes.wait(10)
            calls += [threads.submit(client.ping, text) for text in "bc"]
            (connection,) = pool_of(client)._connections
            wait_until(lambda: len(connection._unsent) == 3)
            two_wait.set()
            ended = [call.exception(10) for call in calls]
        assert [type(each) for each in ended] == [ThriftUnavailable] * 3
        assert all("may have run" in str(each) for each in ended)
    assert len(seen) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        lambda seqid: reply(seqid + 1000, "stray"),
        lambda seqid: reply(seqid, "stray", seqid + 1),
        lambda seqid: b"\xff\xff\xff\xff garbage",
        lambda seqid: b"\0\0\0\x10" + bytes(16),
        lambda seqid: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=["unknown header id", "other message id", "size", "no header", "http"],
)
def test_answer_that_is_not_one_is_a_protocol_error_of_that_connection(
    kind: str, answer: Callable[[int], bytes]
) -> None:
    connections: list[int] = []

    def serve(sock: socket.socket) -> None:
        connections.append(1)
        for each in frames(sock):
            sock.sendall(answer(each.seqid) if len(connections) == 1 else reply(each.seqid, "well"))

    with failing(serve) as address, mux(kind, address, timeout=5.0) as client:
        with pytest.raises(RemoteProtocolError):
            client.ping("x")
        assert client.ping("x") == "well"
        assert len(connections) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_connection_that_the_server_closed_between_calls_is_not_used(kind: str) -> None:
    connections: list[int] = []

    def serve(sock: socket.socket) -> None:
        connections.append(1)
        for each in frames(sock):
            sock.sendall(reply(each.seqid, "well"))
            return

    with failing(serve) as address, mux(kind, address) as client:
        for number in range(1, 4):
            assert client.ping("x") == "well"
            assert len(connections) == number
            time.sleep(0.05)


def test_server_that_takes_nothing_is_waited_for_until_the_deadline() -> None:
    release = threading.Event()
    with failing(lambda sock: release.wait(10)) as address, mux("sync", address, timeout=0.5) as client:
        try:
            calls = [("ping", ("x" * 4_000_000,))] * 4

            def one(_: int) -> Any:
                try:
                    return client.at_once(calls[:1], 1)
                except (ThriftDeadlineExceeded, ThriftUnavailable) as error:
                    return type(error)

            with ThreadPoolExecutor(4) as threads:
                outcomes = list(threads.map(one, range(4)))
            assert ThriftDeadlineExceeded in outcomes
            assert set(outcomes) <= {ThriftDeadlineExceeded, ThriftUnavailable}
        finally:
            release.set()


def test_only_ttheader_can_be_shared() -> None:
    for framing in ("framed", "buffered", "theader"):
        with pytest.raises(UsageError, match="multiplexed"):
            ThriftTransport(FakeMesh("127.0.0.1:1")).client(
                idl.Everything, "x:1", framing=framing, pool=PoolLimits(multiplexed=1)
            )
