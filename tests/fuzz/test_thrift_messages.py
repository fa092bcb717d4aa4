"""Whatever bytes come to a Thrift server or client, in whatever pieces: an answer, a result, or a ThriftProtocolError.

Invariant: nothing else is raised, bytes one by one say the same as the whole, and what is made of them can be shown.
"""

from __future__ import annotations

import contextvars
import json
import random
import struct
import zlib
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thriftpy2.thrift import TApplicationException, TException

from pyrpc_xds.transports.thrift import Limits, ThriftProtocolError
from pyrpc_xds.transports.thrift.answer import answer_of, reply_of
from pyrpc_xds.transports.thrift.codec import CALL, EXCEPTION, ONEWAY, REPLY, codec_for
from pyrpc_xds.transports.thrift.frames import frame_of, inbox_for
from pyrpc_xds.transports.thrift.header import Header
from pyrpc_xds.transports.thrift.intake import Intake
from pyrpc_xds.transports.thrift.processor import Processor
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import FRAMINGS, Accepted, Wire, wire_from
from tests.unit.transports.thrift.peers import Handler, idl

SERVICE = describe(idl.Everything)
LIMITS = Limits(frame=200_000)
WIRES = [wire_from(framing, protocol) for framing in FRAMINGS for protocol in ("binary", "compact")]
ITEM = idl.Item(
    name="ü", parts=[idl.Item(name="m")], labels={1: "x", -(2**31): ""}, marks=[1, 2**62], shades={"k": [1]},
    blob=b"\xff", weight=1.5, sound=True, tiny=-128, small=-1,
)  # fmt: skip
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LONG = 45_000


def framed(wire: Wire, message: bytes, strings: dict[str, str]) -> bytes:
    """A message as a peer of the form sends it."""
    if not wire.header:
        return message
    kitex = wire.header == "ttheader"
    ints = {1: "framed", 12: "1000000"} if kitex else None
    transforms = (1,) if wire.zlib else ()
    token = "token" if kitex else None
    header = Header(7, 1, 2 if wire.compact else 0, wire.framed, transforms, ints, strings, token, not kitex)
    return frame_of(wire, header, message)


def requests() -> Iterator[bytes]:
    strings = {"RPC_TRANSIT_a": "b", "RPC_PERSIST_LANE": "x", "RPC_TRANSIT_traceparent": TRACE}
    strings["RPC_TRANSIT_baggage"] = "a=b,c=d;e"
    for wire in WIRES:
        codec = codec_for(wire, LIMITS)
        for name, kind, values in [
            ("echo", CALL, {"item": ITEM}),
            ("ping", CALL, {"text": "x"}),
            ("Everything:add", CALL, {"left": 1}),
            ("fire", ONEWAY, {"text": "x"}),
        ]:
            args = SERVICE.methods[name.rpartition(":")[2]].args(**values)
            yield framed(wire, codec.encode(name, kind, 7, args), strings)


def answers() -> Iterator[tuple[Wire, bytes]]:
    method = SERVICE.methods["echo"]
    for wire in WIRES:
        codec = codec_for(wire, LIMITS)
        for kind, value, strings in [
            (REPLY, method.result(success=ITEM), {"backward": "y"}),
            (REPLY, method.result(), {"biz-status": "5", "biz-message": "m", "biz-extra": '{"a": "b"}'}),
            (EXCEPTION, TApplicationException(6, "x"), {}),
        ]:
            yield wire, framed(wire, codec.encode("echo", kind, 7, value), strings)


REQUESTS = list(requests())
ANSWERS = list(answers())


def damaged(data: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if not result:
            break
        where, action = rng.randrange(len(result)), rng.randrange(6)
        if action == 0:
            result[where] = rng.choice([0, 1, 2, 8, 11, 12, 13, 14, 15, 127, 128, 255, rng.randrange(256)])
        elif action == 1:
            result[where] ^= 1 << rng.randrange(8)
        elif action == 2:
            del result[where : where + rng.randrange(1, 9)]
        elif action == 3:
            result[where:where] = rng.randbytes(rng.randrange(1, 9))
        elif action == 4:
            start = rng.randrange(len(result))
            result[where:where] = result[start : start + rng.randrange(1, 40)]
        else:
            result[where : where + 4] = rng.choice([2**31 - 1, 2**31, 2**32 - 1, 0, 1, 1000]).to_bytes(
                4, "big"
            )
    if len(result) > 4 and result[0] == 0 and rng.random() < 0.6:
        # The frame is as long as it says, so that damage is met behind it.
        result[:4] = (len(result) - 4).to_bytes(4, "big")
    return bytes(result)


def served(data: bytes, step: int) -> list[bytes | str]:
    """What a server answers to the bytes, which come ``step`` at a time; then why it refuses the rest."""
    processor = Processor(SERVICE, Handler())
    intake = Intake(processor.requests, Accepted(), LIMITS)
    result: list[bytes | str] = []
    try:
        for start in range(0, len(data), step):
            message = intake.take(data[start : start + step])
            while message is not None:
                request = processor.request(intake.codec, *message, intake.header, "peer", monotonic())
                value = error = None
                if request.served is not None:
                    try:
                        value = contextvars.Context().run(processor.run, request)
                    except Exception as raised:  # of the handler: an argument may be missing
                        error = raised
                answer = processor.answer(intake.codec, request, value, error)
                result.append(b"late" if b"deadline had passed" in answer else answer)
                message = intake.next()
    except ThriftProtocolError as error:
        result.append(str(error))
    return result


class Connection:
    """As much of a client's connection as an answer needs."""

    def __init__(self, header: Header | None) -> None:
        self.header = header

    def retire(self) -> None:
        """Nothing is sent on it again."""


def received(wire: Wire, data: bytes, step: int) -> Any:
    """What a client gives its caller."""
    method = SERVICE.methods["echo"]
    inbox = inbox_for(wire, LIMITS)
    try:
        for start in range(0, len(data), step):
            message = inbox.take(data[start : start + step], method.replies[wire.compact])
            if message is not None:
                value, raised = answer_of(method, inbox.codec, 7, *message)
                raised = reply_of(Connection(inbox.header), raised)
                assert raised is None or isinstance(raised, TException)
                # A lone surrogate in it would be refused here.
                return f"{value!r} {raised!r} {raised!s}".encode()
    except ThriftProtocolError as error:
        assert str(error)
        return "refused"
    return "more"


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REQUESTS), st.integers(0, 2**32))
def test_server_answers_or_refuses_damaged_requests(data: bytes, seed: int) -> None:
    data = damaged(data, random.Random(seed))
    whole, piecemeal = served(data, max(len(data), 1)), served(data, 1)
    # A frame that is there tells earlier what is wrong.
    assert [each if isinstance(each, bytes) else "refused" for each in whole] == [
        each if isinstance(each, bytes) else "refused" for each in piecemeal
    ]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ANSWERS), st.integers(0, 2**32))
def test_client_takes_or_refuses_damaged_answers(answer: tuple[Wire, bytes], seed: int) -> None:
    wire, data = answer
    data = damaged(data, random.Random(seed))
    assert received(wire, data, 1) == received(wire, data, max(len(data), 1))


def message(body: bytes, name: bytes = b"echo", kind: int = CALL) -> bytes:
    data = struct.pack(">HBBi", 0x8001, 0, kind, len(name)) + name + struct.pack(">i", 7) + body
    return struct.pack(">i", len(data)) + data


def compact(body: bytes) -> bytes:
    data = b"\x82\x21\x07\x04echo" + body
    return struct.pack(">i", len(data)) + data


def zlibbed(message: bytes) -> bytes:
    head = struct.pack(">HHIH", 0x0FFF, 0, 7, 1) + bytes((0, 1, 1, 0)) + zlib.compress(message, 9)
    return struct.pack(">i", len(head)) + head


ITEMS = b"\x0c\0\x01\x0f\0\x03\x0c" + LONG.to_bytes(4, "big") + bytes(LONG) + b"\0\0"
# Inputs that once cost more than they weigh, or got past the checks; and why they are refused.
CORPUS = {
    "list of empty structs": (message(ITEMS), "Limits.expansion"),
    "the same in an unknown field": (message(ITEMS.replace(b"\x0f\0\x03", b"\x0f\0\x63")), ""),
    "the same, compressed": (zlibbed(message(ITEMS)[4:]), "Limits.expansion"),
    "list of empty structs, compact": (
        compact(b"\x1c\x39\xfc" + b"\xc8\xdf\x02" + bytes(LONG) + b"\0\0"),
        "Limits.expansion",
    ),
    "zlib of zeros": (zlibbed(message(b"\x0b\0\x63\0\x02\0\0" + bytes(131_072) + b"\0")[4:]), ""),
    "zlib bomb above the frame": (zlibbed(bytes(10_000_000)), "Limits.inflation"),
    "compact i16 of 17 bits": (compact(b"\x1c\xb4\x80\x80\x04\0\0"), "number out of range"),
    "compact i64 of 70 bits": (compact(b"\x1c\x5a\x16" + b"\xff" * 9 + b"\x7f\0\0"), "number out of range"),
    "method of bytes that are no text": (message(b"\0", b"\xff" * 1000), ""),
    "method name at the limit": (message(b"\0", b"n" * 1024), ""),
    "exception sent to a server": (message(b"\0", kind=EXCEPTION), "message of type 3"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_of_requests(name: str) -> None:
    data, refused = CORPUS[name]
    for step in (len(data), 777):
        got = served(data, step)
        assert len(got) == 1
        assert refused in str(got[0]) if refused else isinstance(got[0], bytes)


STATUSES = [
    {"biz-status": "99999999999"},
    {"biz-status": "2147483648"},
    {"biz-status": "1", "biz-message": b"\xff".decode(errors="surrogateescape")},
    {"biz-status": "1", "biz-extra": json.dumps({"k": "\ud800"})},
    {"biz-status": "0", "biz-message": "\udcff"},
]


@pytest.mark.parametrize("strings", STATUSES, ids=str)
def test_corpus_of_business_statuses(strings: dict[str, str]) -> None:
    for wire in WIRES:
        if wire.header == "ttheader":
            answer = codec_for(wire, LIMITS).encode("echo", REPLY, 7, SERVICE.methods["echo"].result())
            assert received(wire, framed(wire, answer, strings), 10_000) != "more"


def test_corpus_of_exceptions() -> None:
    for text in (b"\xff\xfe", b"", b"\xed\xa0\x80"):
        for body in (
            b"\x0b\0\x01" + struct.pack(">i", len(text)) + text + b"\0",
            b"\x08\0\x01\0\0\0\1\0",
            b"\0",
        ):
            assert isinstance(received(Wire(), message(body, kind=EXCEPTION), 10_000), bytes)
