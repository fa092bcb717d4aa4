"""Our clients and a server of TTHeader that says goodbye, as Kitex's do (:mod:`...thrift.goodbye`)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import PoolLimits
from tests.e2e.ttheader_peer import failing, frames, reply
from tests.interop.peers.ours import KINDS, our_client, our_server, starting_client
from tests.interop.peers.ttheader_bytes import Frame, pack
from tests.unit.transports.thrift.peers import Handler, idl, wait_until

# Recorded from Kitex 0.13 with WithMuxTransport, at SIGTERM.
GOODBYE = bytes.fromhex(
    "0000002b 1000 0000 00000000 0004 0000 0100010005 6372727374 000131 00"
    "80010002 00000004 6e6f6e65 00000000 00"
)
EMPTY = pack(Frame(b"", seqid=0, strings={"crrst": "1"}))
POOLS = {"shared": PoolLimits(multiplexed=1), "own": PoolLimits()}

every_client = pytest.mark.parametrize("kind", KINDS)
every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def shared_of(pool: Any) -> Any:
    """The first connection of a pool of either kind."""
    part = next(iter(pool._loops.values())) if hasattr(pool, "_loops") else pool
    return part.connections[0] if hasattr(part, "connections") else part._connections[0]


class Numbered:
    """Runs ``first`` for the first connection; all others get answers.

    :ivar count: connections so far.
    """

    def __init__(self, first: Callable[[socket.socket], None]) -> None:
        self.count = 0
        self._first = first

    def __call__(self, sock: socket.socket) -> None:
        self.count += 1
        if self.count == 1:
            self._first(sock)
            return
        for each in frames(sock):
            sock.sendall(reply(each.seqid, "elsewhere"))


@every_client
@pytest.mark.parametrize("goodbye", [GOODBYE, EMPTY], ids=["kitex", "without a message"])
def test_calls_that_share_a_connection_finish_after_goodbye_and_others_go_elsewhere(
    kind: str, goodbye: bytes
) -> None:
    told, finish = threading.Event(), threading.Event()

    def first(sock: socket.socket) -> None:
        asked = frames(sock)
        running = [next(asked).seqid for _ in range(4)]
        sock.sendall(goodbye)
        told.set()
        assert finish.wait(10)
        for seqid in running:
            sock.sendall(reply(seqid, "finished"))
        assert next(asked, None) is None, "a call came after goodbye"

    server = Numbered(first)
    with (
        failing(server) as address,
        starting_client(kind, idl.Everything, address, framing="ttheader", pool=POOLS["shared"]) as client,
    ):
        running = client.ping(*"abcd")
        assert told.wait(10)
        pool = client.mesh.endpoints[0].connection
        wait_until(lambda: not shared_of(pool).usable)
        assert [each.result(10) for each in client.ping(*"xyz")] == ["elsewhere"] * 3
        assert not any(each.done() for each in running)
        finish.set()
        assert [each.result(10) for each in running] == ["finished"] * 4
        assert server.count == 2
        assert "1 open" in repr(pool), pool


@every_client
@pytest.mark.parametrize("goodbye", [GOODBYE, EMPTY], ids=["kitex", "without a message"])
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
def test_call_that_has_a_connection_finishes_after_goodbye_and_the_connection_is_not_used_again(
    kind: str, goodbye: bytes, apart: bool
) -> None:
    def first(sock: socket.socket) -> None:
        asked = frames(sock)
        answer = reply(next(asked).seqid, "finished")
        if apart:
            sock.sendall(goodbye)
            sock.sendall(answer)
        else:
            sock.sendall(goodbye + answer)
        assert next(asked, None) is None, "a call came after goodbye"

    server = Numbered(first)
    with (
        failing(server) as address,
        our_client(kind, idl.Everything, address, framing="ttheader") as client,
    ):
        assert [client.ping("x") for _ in range(3)] == ["finished", "elsewhere", "elsewhere"]
        assert server.count == 2


@every_client
@every_pool
def test_connection_that_is_told_goodbye_between_calls_is_not_used_again(kind: str, pool: PoolLimits) -> None:
    told = threading.Event()

    def first(sock: socket.socket) -> None:
        asked = frames(sock)
        sock.sendall(reply(next(asked).seqid, "first"))
        answered.wait(10)
        sock.sendall(GOODBYE)
        told.set()
        assert next(asked, None) is None, "a call came after goodbye"

    answered = threading.Event()
    server = Numbered(first)
    with (
        failing(server) as address,
        our_client(kind, idl.Everything, address, framing="ttheader", pool=pool) as client,
    ):
        assert client.ping("x") == "first"
        answered.set()
        assert told.wait(10)
        assert [client.ping("x") for _ in range(3)] == ["elsewhere"] * 3
        assert server.count == 2


@every_client
@every_pool
def test_connection_that_ends_between_calls_is_not_used_again(kind: str, pool: PoolLimits) -> None:
    """Also by a loop that has not run since."""
    answered, ended = threading.Event(), threading.Event()

    def first(sock: socket.socket) -> None:
        sock.sendall(reply(next(frames(sock)).seqid, "first"))
        assert answered.wait(10)
        sock.shutdown(socket.SHUT_RDWR)
        ended.set()

    server = Numbered(first)
    with (
        failing(server) as address,
        our_client(kind, idl.Everything, address, framing="ttheader", pool=pool) as client,
    ):
        assert client.ping("x") == "first"
        answered.set()
        assert ended.wait(10)
        assert [client.ping("x") for _ in range(3)] == ["elsewhere"] * 3
        assert server.count == 2


@every_client
@every_pool
def test_answer_that_says_goodbye_is_the_last_of_its_connection(kind: str, pool: PoolLimits) -> None:
    def first(sock: socket.socket) -> None:
        asked = frames(sock)
        sock.sendall(reply(next(asked).seqid, "last", strings={"crrst": "1"}))
        assert next(asked, None) is None, "a call came after goodbye"

    server = Numbered(first)
    with (
        failing(server) as address,
        our_client(kind, idl.Everything, address, framing="ttheader", pool=pool) as client,
    ):
        assert [client.ping("x") for _ in range(3)] == ["last", "elsewhere", "elsewhere"]
        assert server.count == 2


@every_client
def test_call_that_waits_to_be_sent_goes_elsewhere_at_goodbye(kind: str) -> None:
    """The server takes a part of a large request only, so that what is behind it has not been sent."""
    large = "x" * 8_000_000
    begins, waits, finish = threading.Event(), threading.Event(), threading.Event()

    def first(sock: socket.socket) -> None:
        head = sock.recv(10)
        begins.set()
        assert waits.wait(10)
        sock.sendall(GOODBYE)
        assert finish.wait(10)
        rest = int.from_bytes(head[:4], "big") - 6
        taken = b""
        while len(taken) < rest:
            taken += sock.recv(1_000_000)
        assert len(taken) == rest, "a call came after goodbye"
        sock.sendall(reply(int.from_bytes((head + taken)[8:12], "big"), "finished"))

    server = Numbered(first)
    with (
        failing(server) as address,
        starting_client(kind, idl.Everything, address, framing="ttheader", pool=POOLS["shared"]) as client,
    ):
        (begun,) = client.ping(large)
        assert begins.wait(10)
        behind = client.ping("behind", "behind as well")
        with contextlib.suppress(TimeoutError):
            behind[0].result(0.2)
        waits.set()
        assert [each.result(5) for each in behind] == ["elsewhere"] * 2
        assert not begun.done()
        finish.set()
        assert begun.result(10) == "finished"


@every_client
@pytest.mark.parametrize("server_kind", KINDS)
@pytest.mark.parametrize(
    ("framing", "pool"), [("framed", POOLS["own"]), ("ttheader", POOLS["own"]), ("ttheader", POOLS["shared"])]
)
def test_of_two_servers_under_load_one_stops_and_no_call_fails(
    kind: str, server_kind: str, framing: str, pool: PoolLimits
) -> None:
    stopping, staying = Handler(), Handler()
    with contextlib.ExitStack() as rollout:
        first = rollout.enter_context(our_server(server_kind, idl.Everything, stopping))
        with (
            our_server(server_kind, idl.Everything, staying) as second,
            starting_client(kind, idl.Everything, first, second, framing=framing, pool=pool) as client,
            ThreadPoolExecutor(1) as elsewhere,
        ):
            over = None
            while over is None or not over.done():
                calls = [*client.ping(*"abcd"), client.start("slow", 0.005)]
                assert [each.result(10) for each in calls] == [*"abcd", "done"]
                if over is None and min(stopping.calls, staying.calls) > 20:
                    over = elsewhere.submit(rollout.close)
            over.result()
