"""Health by use of our Thrift clients: what says that an endpoint is not well, and what says nothing of it."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import PoolLimits, ThriftDeadlineExceeded, ThriftUnavailable, dial
from tests.e2e.ttheader_peer import failing, frames, reply
from tests.interop.peers.ours import KINDS, Starter, starting_client
from tests.unit.transports.thrift.peers import black_hole, idl

POOLS = {"shared": PoolLimits(multiplexed=1), "own": PoolLimits()}

every_client = pytest.mark.parametrize("kind", KINDS)
every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


@contextlib.contextmanager
def client_of(kind: str, pool: PoolLimits, *addresses: str, **options: Any) -> Iterator[Starter]:
    options.update(framing="ttheader", pool=pool)
    with starting_client(kind, idl.Everything, *addresses, **options) as client:
        yield client


def answers(sock: socket.socket) -> None:
    for each in frames(sock):
        sock.sendall(reply(each.seqid, "well"))


@every_client
@every_pool
@pytest.mark.parametrize("reads", [True, False], ids=["after the request", "at once"])
def test_endpoint_that_accepts_and_hangs_up_is_picked_last(kind: str, pool: PoolLimits, reads: bool) -> None:
    def hangs_up(sock: socket.socket) -> None:
        if reads:
            next(frames(sock))

    with failing(hangs_up) as full, failing(answers) as well, client_of(kind, pool, full, well) as client:
        outcomes = []
        for _ in range(6):
            (call,) = client.ping("x")
            error = call.exception(10)
            outcomes.append(call.result() if error is None else type(error))
        assert outcomes.count(ThriftUnavailable) == 1
        assert outcomes[-3:] == ["well"] * 3
        assert [each.failures for each in client.mesh.endpoints] == [1, 0]


def hangs_up(sock: socket.socket) -> None:
    next(frames(sock))


@every_client
@every_pool
def test_oneway_call_that_is_sent_says_nothing_of_an_endpoint_that_hangs_up(
    kind: str, pool: PoolLimits
) -> None:
    with failing(hangs_up) as full, client_of(kind, pool, full) as client:
        with pytest.raises(ThriftUnavailable):
            client.ping("x")[0].result(10)
        assert client.start("fire", "x").result(10) is None
        assert client.mesh.endpoints[0].failures == 1


@every_client
@every_pool
def test_connection_that_ends_for_one_call_says_nothing_of_the_endpoint(kind: str, pool: PoolLimits) -> None:
    """As thriftpy2's servers end it where a handler raises what is not declared."""

    def raises(sock: socket.socket) -> None:
        asked = frames(sock)
        sock.sendall(reply(next(asked).seqid, "well"))
        next(asked)

    with failing(raises) as address, client_of(kind, pool, address) as client:
        assert client.ping("x")[0].result(10) == "well"
        with pytest.raises(ThriftUnavailable, match="may have run"):
            client.ping("x")[0].result(10)
        assert client.mesh.endpoints[0].failures == 0


@every_client
@every_pool
def test_calls_do_not_queue_for_an_endpoint_that_cannot_be_reached(kind: str, pool: PoolLimits) -> None:
    """One after another they would need longer than they have."""
    with black_hole() as hole, failing(answers) as well:
        hurried = replace(pool, connect_timeout=0.4)
        with client_of(kind, hurried, hole, well, timeout=4.0) as client:
            calls = client.ping(*"x" * 32)
            assert [each.result(10) for each in calls] == ["well"] * 32


@every_client
@every_pool
def test_deadline_without_the_time_to_connect_says_nothing_of_the_endpoint(
    kind: str, pool: PoolLimits
) -> None:
    with failing(answers) as address, client_of(kind, pool, address, timeout=1e-6) as client:
        for _ in range(3):
            with pytest.raises(ThriftDeadlineExceeded, match=r"no connection in time|not sent"):
                client.ping("x")[0].result(10)
        assert client.mesh.endpoints[0].failures == 0


@every_client
@every_pool
def test_endpoint_that_takes_no_connection_until_the_deadline_is_picked_last(
    kind: str, pool: PoolLimits
) -> None:
    with black_hole() as hole, client_of(kind, pool, hole, timeout=0.5) as client:
        with pytest.raises(ThriftDeadlineExceeded, match="no connection in time"):
            client.ping("x")[0].result(10)
        assert client.mesh.endpoints[0].failures == 1


@every_client
@every_pool
def test_peer_that_the_kernel_gives_up_is_unavailable_and_not_late(
    kind: str, pool: PoolLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    made = dial._socket

    class Vanishing(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            data = super().recv(size, flags)
            if gone.is_set():
                raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")
            return data

    def vanishing(family: int) -> socket.socket:
        sock = Vanishing(fileno=made(family).detach())
        sock.setblocking(False)
        return sock

    def serve(sock: socket.socket) -> None:
        asked = frames(sock)
        sock.sendall(reply(next(asked).seqid, "well"))
        next(asked)
        gone.set()
        sock.sendall(b"\0")
        next(asked, None)

    monkeypatch.setattr(dial, "_socket", vanishing)
    with failing(serve) as address, client_of(kind, pool, address) as client:
        assert client.ping("x")[0].result(10) == "well"
        with pytest.raises(ThriftUnavailable, match="Connection timed out; the call may have run"):
            client.ping("x")[0].result(10)
        assert client.mesh.endpoints[0].failures == 1
