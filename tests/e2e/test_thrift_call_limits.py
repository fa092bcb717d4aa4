"""What our Thrift clients do not send, and calls without a limit of time."""

from __future__ import annotations

import math
import socket
import time
from typing import Any

import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import Limits, PoolLimits, ThriftDeadlineExceeded
from pyrpc_xds.transports.thrift.codec import BinaryCodec
from tests.e2e.ttheader_peer import failing, frames, reply
from tests.interop.peers.ours import KINDS, our_client, our_server
from tests.unit.transports.thrift.peers import Handler, idl

POOLS = {"shared": PoolLimits(multiplexed=1), "own": PoolLimits()}
FORMS = ("framed", "buffered", "ttheader", "theader")

every_client = pytest.mark.parametrize("kind", KINDS)
every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


@every_client
@every_pool
def test_call_whose_deadline_has_passed_is_not_sent_and_leaves_the_connection(
    kind: str, pool: PoolLimits
) -> None:
    connections, came = [], []

    def serve(sock: socket.socket) -> None:
        connections.append(sock)
        for each in frames(sock):
            came.append(each)
            sock.sendall(reply(each.seqid, "well"))

    with (
        failing(serve) as address,
        our_client(kind, idl.Everything, address, framing="ttheader", pool=pool) as client,
    ):
        assert client.ping("x") == "well"
        late = client.with_options(timeout=1e-9)
        for _ in range(5):
            with pytest.raises(ThriftDeadlineExceeded, match="not sent: the deadline had passed"):
                late.ping("x")
            with pytest.raises(ThriftDeadlineExceeded, match="not sent"):
                late.fire("x")
        assert client.ping("x") == "well"
        assert (len(connections), len(came)) == (1, 2)


@every_client
def test_call_whose_deadline_passes_while_it_is_encoded_is_not_sent(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler()
    with (
        our_server("sync", idl.Everything, handler) as address,
        our_client(kind, idl.Everything, address) as client,
    ):
        client.ping("x")
        encode = BinaryCodec.encode

        def slow(self: BinaryCodec, name: str, kind: int, seqid: int, value: Any) -> bytes:
            time.sleep(0.05)
            return encode(self, name, kind, seqid, value)

        monkeypatch.setattr(BinaryCodec, "encode", slow)
        with pytest.raises(ThriftDeadlineExceeded, match="not sent"):
            client.with_options(timeout=0.04).ping("x")
        monkeypatch.undo()
        assert client.ping("x") == "x"
        assert handler.calls == 2


@every_client
@pytest.mark.parametrize(
    "pool", [PoolLimits(multiplexed=1), PoolLimits(connections=1)], ids=["shared", "own"]
)
@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e12])
def test_calls_may_have_no_limit_of_time(kind: str, pool: PoolLimits, seconds: float) -> None:
    limits = PoolLimits(
        multiplexed=pool.multiplexed,
        connections=pool.connections,
        idle_time=seconds,
        connect_timeout=seconds,
        call_timeout=seconds,
    )
    large = "x" * 6_000_000
    with our_server("sync", idl.Everything, Handler()) as address:
        for timeout in (seconds, None):
            with our_client(
                kind, idl.Everything, address, framing="ttheader", pool=limits, timeout=timeout
            ) as client:
                calls = [("ping", (large,)), *[("slow", (0.01,))] * 4]
                assert client.at_once(calls, 5) == [large, *["done"] * 4]


@every_client
@pytest.mark.parametrize("framing", FORMS)
def test_request_beyond_the_limit_is_refused_before_anything_is_sent(kind: str, framing: str) -> None:
    handler = Handler()
    with (
        our_server("sync", idl.Everything, handler) as address,
        our_client(kind, idl.Everything, address, framing=framing, limits=Limits(frame=1000)) as client,
    ):
        assert client.ping("x" * 900) == "x" * 900
        with pytest.raises(
            UsageError, match=r"ping of x:1: a request of 20000\d\d bytes; the limit is 1000,"
        ):
            client.ping("x" * 2_000_000)
        assert client.ping("x") == "x"
        assert handler.calls == 2


@pytest.mark.parametrize("name", ["idle_time", "connect_timeout", "call_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "3", None])
def test_times_of_a_pool_are_seconds_above_0(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"call_timeout: seconds above 0"):
        PoolLimits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["connections", "idle", "multiplexed"])
@pytest.mark.parametrize("value", [-1, 2.5, "4", None, 10**20])
def test_counts_of_a_pool_are_whole_numbers(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="connections: an int of 1 or more"):
        PoolLimits(**{name: value})  # type: ignore[arg-type]
