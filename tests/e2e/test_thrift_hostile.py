"""Damaged bytes against live servers and clients of every transport.

Invariant: the connection that they come on ends, or is answered; nothing else happens to anyone.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.thrift import TException

from pyrpc_xds.errors import PyrpcXdsError
from pyrpc_xds.transports.thrift import PoolLimits, ServerLimits
from pyrpc_xds.transports.thrift.codec import CALL, REPLY, codec_for
from pyrpc_xds.transports.thrift.frames import frame_of
from pyrpc_xds.transports.thrift.header import OUT_OF_ORDER, Header
from pyrpc_xds.transports.thrift.limits import Limits
from pyrpc_xds.transports.thrift.wire import FRAMINGS, Wire, wire_from
from tests.interop.peers.ours import KINDS, our_client, our_server
from tests.unit.transports.thrift.peers import Handler, idl, listening

FORMS = [(framing, protocol) for framing in FRAMINGS for protocol in ("binary", "compact")]
CLIENTS = [
    (kind, *form)
    for form in FORMS
    for kind in (*KINDS, "sync-mux", "asyncio-mux")
    if form[0].startswith("ttheader") or not kind.endswith("mux")
]
ITEM = idl.Item(
    name="n", parts=[idl.Item(name="m")], labels={1: "x"}, marks=[1, 2], shades={"k": [1]}, blob=b"\xff"
)


def whole(wire: Wire, name: str, kind: int, seqid: int, struct: Any) -> bytes:
    """One message in its frame."""
    message = codec_for(wire, Limits()).encode(name, kind, seqid, struct)
    if not wire.header:
        return message
    header = Header(
        seqid,
        OUT_OF_ORDER,
        2 if wire.compact else 0,
        wire.framed,
        (1,) if wire.zlib else (),
        {9: name, 12: "1000"} if wire.header == "ttheader" else None,
        {"RPC_TRANSIT_user": "admin", "RPC_PERSIST_lane": "dev", "biz-status": "0"},
    )
    return frame_of(wire, header, message)


def damaged(data: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(result))
        action = rng.randrange(5)
        if action == 0:
            result[where] = rng.choice([0, 1, 2, 0x10, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif action == 1:
            del result[where : where + rng.randrange(1, 9)]
        elif action == 2:
            result[where:where] = rng.randbytes(rng.randrange(1, 9))
        elif action == 3:
            result[where : where + 4] = struct.pack(">i", rng.choice([-1, 0, 5000, 2**31 - 1]))
        else:
            # The frame is as long as it says.
            result[:4] = struct.pack(">I", max(len(result) - 4, 0))
        if not result:
            return b"\xff"
    return bytes(result)


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    limits = ServerLimits(message=Limits(frame=1 << 20))
    with our_server(request.param, idl.Everything, Handler(), limits=limits) as address:
        yield address


@pytest.mark.parametrize(("framing", "protocol"), FORMS)
def test_server_answers_or_closes_whatever_comes(
    framing: str, protocol: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(f"{framing} {protocol}")
    wire = wire_from(framing, protocol)
    good = whole(wire, "echo", CALL, 1, idl.Everything.echo_args(item=ITEM))
    host, _, port = address.rpartition(":")
    with caplog.at_level(logging.WARNING):
        for number in range(60):
            data = damaged(good, rng)
            step = 1 if number % 4 == 0 else len(data)
            with (
                socket.create_connection((host, int(port)), timeout=10) as sock,
                contextlib.suppress(ConnectionError),
            ):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(data), step):
                    sock.sendall(data[start : start + step])
                with contextlib.suppress(OSError):  # it may be closed by now
                    sock.shutdown(socket.SHUT_WR)
                # A timeout would be a server that neither answers nor closes.
                while sock.recv(65536):
                    pass
    assert [record.message for record in caplog.records if record.levelno > logging.WARNING] == []
    with our_client("sync", idl.Everything, address, framing=framing, protocol=protocol) as client:
        assert client.echo(ITEM) == ITEM


@pytest.mark.parametrize(("kind", "framing", "protocol"), CLIENTS)
def test_client_gets_an_error_of_its_own_or_an_answer(kind: str, framing: str, protocol: str) -> None:
    rng = random.Random(f"{kind} {framing} {protocol}")
    wire = wire_from(framing, protocol)

    def serve(sock: socket.socket) -> None:
        request = sock.recv(65536)
        # The sequence id of the request, so that damage is met behind it as well.
        seqid = int.from_bytes(request[8:12], "big") if wire.header else 1
        data = whole(wire, "echo", REPLY, seqid, idl.Everything.echo_result(success=ITEM))
        sock.sendall(damaged(data, rng))

    pool = PoolLimits(multiplexed=1) if kind.endswith("mux") else PoolLimits()
    outcomes: set[str] = set()
    with listening(serve) as address:
        for _ in range(25):
            with our_client(
                kind.partition("-")[0],
                idl.Everything,
                address,
                framing=framing,
                protocol=protocol,
                pool=pool,
                limits=Limits(frame=1 << 20),
            ) as client:
                try:
                    client.echo(ITEM)
                    outcomes.add("answer")
                except (PyrpcXdsError, TException) as error:
                    outcomes.add(type(error).__name__)
    assert "ThriftProtocolError" in outcomes
