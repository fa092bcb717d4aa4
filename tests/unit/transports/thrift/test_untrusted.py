"""Untrusted bytes through the whole of the decoding: scan, then thriftpy2.

Invariant: whatever the bytes, a codec gives a message or a ThriftProtocolError, and nothing that was not in the
message reaches a value.
"""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.transport import TCyMemoryBuffer

from pyrpc_xds.transports.thrift import Limits, ThriftProtocolError
from pyrpc_xds.transports.thrift.codec import CALL, codec_for
from pyrpc_xds.transports.thrift.inbox import Inbox
from pyrpc_xds.transports.thrift.processor import Processor
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import Wire
from tests.unit.transports.thrift.peers import Handler, idl

SERVICE = describe(idl.Everything)
LIMITS = Limits(frame=1 << 20, elements=1000)
WIRES = [Wire(framed, compact) for framed in (True, False) for compact in (False, True)]


def decoded(wire: Wire, data: bytes, pieces: int | None = None) -> list[Any]:
    """The requests in the bytes, decoded; then ``refused`` or, where one is unfinished, ``more``."""
    codec = codec_for(wire, LIMITS)
    inbox = Inbox(codec, LIMITS)
    result: list[Any] = []
    step = pieces or max(len(data), 1)
    try:
        for start in range(0, len(data), step):
            message = inbox.take(data[start : start + step], SERVICE.requests[wire.compact])
            while message is not None:
                method = SERVICE.methods.get(codec.scanner.name.decode(errors="replace"))
                if method is not None:
                    args = method.args()
                    begin = message[1]
                    codec.decode(args, message[0], begin + codec.scanner.body, begin + codec.scanner.size)
                    result.append(args)
                message = inbox.next(SERVICE.requests[wire.compact])
    except ThriftProtocolError:
        result.append("refused")
    else:
        if inbox.pending:
            result.append("more")
    return result


def item(rng: random.Random, depth: int = 2) -> Any:
    return idl.Item(
        name=rng.choice(["", "a", "ü" * 20]),
        color=rng.choice([1, 2]),
        parts=[item(rng, depth - 1) for _ in range(rng.randrange(3))] if depth else None,
        labels={rng.randrange(-5, 5): "x" for _ in range(rng.randrange(3))},
        marks=[rng.randrange(-(2**62), 2**62) for _ in range(rng.randrange(3))],
        blob=rng.randbytes(rng.randrange(5)),
        shades={"k": [1, 2]},
        weight=rng.random(),
        sound=rng.choice([True, False, None]),
        tiny=rng.randrange(-128, 128),
        small=rng.randrange(-(2**15), 2**15),
    )


def encoded(wire: Wire, value: Any) -> bytes:
    return codec_for(wire, LIMITS).encode("echo", CALL, 7, idl.Everything.echo_args(item=value))


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_messages_survive_whole_and_in_pieces(wire: Wire) -> None:
    rng = random.Random(1)
    items = [item(rng) for _ in range(20)]
    data = b"".join(encoded(wire, each) for each in items)
    for pieces in (None, 1, 2, 5, 17, 64):
        assert [args.item for args in decoded(wire, data, pieces)] == items


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WIRES), st.integers(0, 2**32), st.data())
def test_damaged_messages_are_decoded_or_refused_alike_in_any_pieces(
    wire: Wire, seed: int, data: Any
) -> None:
    rng = random.Random(seed)
    damaged = bytearray(encoded(wire, item(rng)))
    for _ in range(data.draw(st.integers(1, 4))):
        where = rng.randrange(len(damaged))
        action = rng.randrange(4)
        if action == 0:
            damaged[where] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, 11, 12, 13, 15, rng.randrange(256)])
        elif action == 1:
            del damaged[where : where + rng.randrange(1, 9)]
        elif action == 2:
            damaged[where:where] = rng.randbytes(rng.randrange(1, 9))
        else:
            damaged[where : where + 4] = struct.pack(">i", rng.choice([-1, 0, 5000, 2**31 - 1]))
        if not damaged:
            return
    whole = decoded(wire, bytes(damaged))
    assert repr(decoded(wire, bytes(damaged), 1)) == repr(whole)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WIRES), st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused_alike_in_any_pieces(wire: Wire, data: bytes) -> None:
    assert repr(decoded(wire, data, 1)) == repr(decoded(wire, data))


def message(name: bytes, body: bytes) -> bytes:
    return struct.pack(">HBBi", 0x8001, 0, 1, len(name)) + name + struct.pack(">i", 7) + body


def test_no_stale_heap_in_a_value() -> None:
    """The first measured hole: a string of 5000 bytes in nine."""
    body = b"\x0b\0\x01" + struct.pack(">i", 5000) + b"ab"
    args = idl.Everything.ping_args()
    # What makes the test worth having: thriftpy2 alone takes it.
    TCyBinaryProtocol(TCyMemoryBuffer(body + b"\0")).read_struct(args)
    assert len(args.text) > 4000
    assert decoded(
        Wire(framed=True), struct.pack(">i", len(message(b"ping", body))) + message(b"ping", body)
    ) == ["refused"]
    assert decoded(Wire(framed=False), message(b"ping", body + b"\0")) == ["more"]


def test_no_stale_heap_through_a_map_that_is_read_out_of_step() -> None:
    """A map<string, string> where the IDL has map<i32, string>: sound to look at, read wrongly by thriftpy2."""
    # Key "" is read as i32 0, and the value's length and bytes as the length of a string of 4000 bytes.
    entry = struct.pack(">i", 0) + struct.pack(">i", 4) + struct.pack(">i", 4000)
    inner = b"\x0d\0\x04\x0b\x0b" + struct.pack(">i", 1) + entry
    body = b"\x0c\0\x01" + inner + b"\0" + b"\0"
    assert decoded(Wire(framed=False), message(b"echo", body)) == ["refused"]


def test_decoder_out_of_step_is_noticed_without_the_scan() -> None:
    codec = codec_for(Wire(), LIMITS)
    body = b"\x0b\0\x01" + struct.pack(">i", 5000) + b"ab\0"
    with pytest.raises(ThriftProtocolError, match="out of step"):
        codec.decode(idl.Everything.ping_args(), body, 0, len(body))
    codec = codec_for(Wire(compact=True), LIMITS)
    with pytest.raises(ThriftProtocolError, match="read beyond the message"):
        codec.decode(idl.Everything.ping_args(), b"\x18\x7fab\0", 0, 5)
    with pytest.raises(ThriftProtocolError, match="out of step"):
        codec.decode(idl.Everything.ping_args(), b"\x18\x02ab\0ab", 0, 7)


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_large_message_does_not_stay_in_the_buffers(wire: Wire) -> None:
    codec = codec_for(wire, LIMITS)
    large = codec.encode("ping", CALL, 1, idl.Everything.ping_args(text="x" * 200_000))
    small = codec.encode("ping", CALL, 2, idl.Everything.ping_args(text="y"))
    assert len(small) < 60 and len(large) > 200_000
    inbox = Inbox(codec, LIMITS)
    for data, text in ((large, "x" * 200_000), (small, "y")):
        got = inbox.take(data, None)
        assert got is not None
        args = idl.Everything.ping_args()
        codec.decode(args, got[0], got[1] + codec.scanner.body, got[1] + codec.scanner.size)
        assert args.text == text


def test_nothing_is_kept_of_names_that_clients_make_up() -> None:
    codec = codec_for(Wire(), LIMITS)
    processor = Processor(SERVICE, Handler())
    tracemalloc.start()
    try:
        for number in range(300):
            name = b"\xff" * 1000 + str(number).encode()
            data = message(name, b"\0")
            codec.scanner.whole(data, 0, None)
            request = processor.request(codec, data, 0, None, "peer", 0.0)
            assert b"has no method" in processor.answer(codec, request, None, None)
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_unframed_pieces_cost_linear_time_and_memory() -> None:
    codec = codec_for(Wire(framed=False), Limits())
    inbox = Inbox(codec, Limits())
    data = message(b"ping", b"\x0b\0\x01" + struct.pack(">i", 2_000_000) + b"x" * 2_000_000 + b"\0")
    got = None
    # In steps of 100 a quadratic way would copy 20 GB.
    for start in range(0, len(data), 100):
        assert got is None
        got = inbox.take(data[start : start + 100], None)
    assert got is not None and len(got[0]) == len(data)


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_byte_that_comes_alone_takes_little_more_than_a_byte(wire: Wire) -> None:
    data = codec_for(wire, Limits()).encode("ping", CALL, 1, idl.Everything.ping_args(text="x" * 50_000))
    inbox = Inbox(codec_for(wire, Limits()), Limits())
    tracemalloc.start()
    try:
        for start in range(len(data) - 1):
            assert inbox.take(data[start : start + 1], None) is None
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()
    assert inbox.take(data[-1:], None) is not None
