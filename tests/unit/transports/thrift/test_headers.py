"""TTHeader and THeader: bytes and back, against frames packed by hand; metainfo; damaged headers."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import (
    Limits,
    ThriftBizError,
    ThriftProtocolError,
    metainfo,
    theader,
    ttheader,
)
from pyrpc_xds.transports.thrift.biz import biz_error, biz_strings
from pyrpc_xds.transports.thrift.codec import CALL, codec_for
from pyrpc_xds.transports.thrift.frames import frame_of, inbox_for
from pyrpc_xds.transports.thrift.header import OUT_OF_ORDER, Header, HeaderTooLarge
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import FRAMINGS, Wire, detect, wire_from
from tests.interop.peers import ttheader_bytes
from tests.unit.transports.thrift.peers import idl

SERVICE = describe(idl.Everything)
LIMITS = Limits(frame=1 << 20, elements=1000)
NAMES = [name for name in FRAMINGS if name.startswith(("tt", "th"))]
WIRES = [wire_from(name, protocol) for name in NAMES for protocol in ("binary", "compact")]


def message(wire: Wire, text: str = "hello", seqid: int = 7) -> bytes:
    plain = Wire(framed=False, compact=wire.compact)
    return codec_for(plain, LIMITS).encode("ping", CALL, seqid, idl.Everything.ping_args(text=text))


def frame(wire: Wire, text: str = "hello", seqid: int = 7, **values: Any) -> bytes:
    values.setdefault("strings", {"RPC_TRANSIT_user": "admin", "RPC_PERSIST_lane": "dev"})
    if wire.header == "ttheader":
        values.setdefault("ints", {9: "ping", 12: "1000"})
    transforms = (1,) if wire.zlib else ()
    header = Header(seqid, 0, 2 if wire.compact else 0, wire.framed, transforms, **values)
    return frame_of(wire, header, message(wire, text, seqid))


def decoded(wire: Wire, data: bytes, pieces: int | None = None) -> list[Any]:
    """The requests in the bytes with their headers; then ``refused`` or, where one is unfinished, ``more``."""
    inbox = inbox_for(wire, LIMITS)
    codec = inbox.codec
    result: list[Any] = []
    schemas = SERVICE.requests[wire.compact]
    step = pieces or max(len(data), 1)
    try:
        for start in range(0, len(data), step):
            got = inbox.take(data[start : start + step], schemas)
            while got is not None:
                method = SERVICE.methods.get(codec.scanner.name.decode(errors="replace"))
                if method is not None:
                    args = method.args()
                    codec.decode(args, got[0], got[1] + codec.scanner.body, got[1] + codec.scanner.size)
                    result.append((args, inbox.header))
                got = inbox.next(schemas)
    except ThriftProtocolError:
        result.append("refused")
    else:
        if inbox.pending:
            result.append("more")
    return result


def test_golden_bytes_of_a_ttheader_frame() -> None:
    header = Header(1, strings={"RPC_PERSIST_A": "b"}, ints={12: "1234"})
    data = ttheader.encode(header, b"\x80\x01")
    assert data.hex() == (
        "00000030" "1000" "0000" "00000001" "0009" "00" "00"
        "10" "0001" "000c" "0004" "31323334"
        "01" "0001" "000d" "5250435f504552534953545f41" "0001" "62" "0000"
        "8001"
    )  # fmt: skip


@pytest.mark.parametrize("framed", [True, False])
def test_ttheader_is_what_the_layout_says(framed: bool) -> None:
    ints = {1: "framed", 3: "me", 65535: ""}
    strings = {"k": "v", "": "é", "x" * 300: "y" * 5000}
    header = Header(-1, OUT_OF_ORDER, 0, framed, ints=ints, strings=strings, token="secret")
    data = ttheader.encode(header, b"\x80message")
    by_hand = ttheader_bytes.unpack(data)
    assert (by_hand.flags, by_hand.protocol, by_hand.seqid) == (1, 0, 2**32 - 1)
    assert (by_hand.ints, by_hand.strings, by_hand.token) == (ints, strings, "secret")
    assert by_hand.payload == (struct.pack(">I", 8) if framed else b"") + b"\x80message"
    got, start = ttheader.decode(data, 4, LIMITS)
    assert data[start:] == b"\x80message"
    assert got == header


def test_ttheader_packed_by_hand_is_read() -> None:
    made = ttheader_bytes.Frame(
        message(Wire()), seqid=9, flags=1, ints={12: "5"}, strings={"a": "b"}, token="t"
    )
    data = ttheader_bytes.pack(made)
    got, start = ttheader.decode(data, 4, LIMITS)
    assert data[start:] == message(Wire())
    assert (got.seqid, got.flags, got.ints, got.strings, got.token) == (9, 1, {12: "5"}, {"a": "b"}, "t")


def raw(info: bytes, payload: bytes = b"\x80\x01", transforms: int = 0) -> bytes:
    header = bytes((0, transforms)) + info
    header += bytes(-len(header) % 4)
    return struct.pack(">HHIH", 0x1000, 0, 1, len(header) // 4) + header + payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10\x00" + bytes(8),
        b"\x10\x01" + bytes(20),
        struct.pack(">HHIH", 0x1000, 0, 1, 0) + b"\0\0\x80\x01",
        struct.pack(">HHIH", 0x1000, 0, 1, 2) + b"\0\0\0\0",
        struct.pack(">HHIH", 0x1000, 0, 1, 0xFFFF) + bytes(70_000),
        raw(b"\x02\0\0"),
        raw(b"\xff"),
        raw(b"", transforms=1),
        raw(b"\x01"),
        raw(b"\x01\0"),
        raw(b"\x01\0\x02\0\x01a\0\x01b"),
        raw(b"\x01\xff\xff\0\x01a\0\x01b"),
        raw(b"\x01\0\x01\0\x09a\0\x01b"),
        raw(b"\x01\0\x01\0\x01a\xff\xffb"),
        raw(b"\x10\0\x01\0"),
        raw(b"\x10\0\x01\0\x01\0\x63"),
        raw(b"\x11\0\x63t"),
        raw(b"", payload=b"\0\0\0\x05\x80\x01"),
        raw(b"", payload=b"GET /"),
        raw(b"", payload=b""),
    ],
)  # fmt: skip
def test_malformed_ttheader_is_refused(data: bytes) -> None:
    with pytest.raises(ThriftProtocolError):
        ttheader.decode(data, 0, LIMITS)


def test_of_equal_keys_the_last_one_counts_and_padding_stands_anywhere() -> None:
    data = raw(b"\0\x01\0\x02\0\x01a\0\x01b\0\x01a\0\x01c\0\0\x10\0\x01\0\x03\0\x01x\x01\0\x01\0\x01d\0\x00")
    got, _ = ttheader.decode(data, 0, LIMITS)
    assert got.strings == {"a": "c", "d": ""} and got.ints == {3: "x"}


def test_entries_are_limited() -> None:
    data = raw(b"\x01\x10\x00" + b"\0\0\0\0" * 4096)
    with pytest.raises(ThriftProtocolError, match="2048 entries"):
        ttheader.decode(data, 0, LIMITS)
    ttheader.decode(data, 0, Limits(header_entries=4096))


def test_header_stays_below_what_kitex_counts_in_16_bits() -> None:
    room = ttheader.MOST - 2 - 3 - 2 - 1 - 2
    data = ttheader.encode(Header(1, strings={"k": "v" * room}), b"")
    assert int.from_bytes(data[12:14], "big") == 0x3FFF
    assert ttheader_bytes.unpack(data).strings == {"k": "v" * room}
    with pytest.raises(HeaderTooLarge, match="65532"):
        ttheader.encode(Header(1, strings={"k": "v" * (room + 1)}), b"")
    with pytest.raises(HeaderTooLarge):
        ttheader.encode(Header(1, strings={"k": "v" * 70_000}), b"")
    with pytest.raises(HeaderTooLarge):
        ttheader.encode(Header(1, ints={70_000: "v"}), b"")


def test_text_that_is_not_utf8_is_passed_on_as_it_is() -> None:
    got, _ = ttheader.decode(raw(b"\x01\0\x01\0\x01k\0\x02\xff\xfe"), 0, LIMITS)
    assert b"\0\x02\xff\xfe" in ttheader.encode(got, b"")


def test_golden_bytes_of_a_theader_frame() -> None:
    data = theader.encode(Header(1, protocol=2, strings={"k" * 200: "v"}), b"\x82")
    head = bytes((2, 0, 1, 1, 0xC8, 1)) + b"k" * 200 + b"\x01v"
    head += bytes(-len(head) % 4)
    assert data[4:] == struct.pack(">HHIH", 0x0FFF, 0, 1, len(head) // 4) + head + b"\x82"
    assert int.from_bytes(data[:4], "big") == len(data) - 4


def theader_raw(head: bytes, payload: bytes = b"") -> bytes:
    head += bytes(-len(head) % 4)
    return struct.pack(">HHIH", 0x0FFF, 0, 1, len(head) // 4) + head + payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        theader_raw(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        theader_raw(b"\x00\x01\x02"),
        theader_raw(b"\x00\x02\x01\x01"),
        theader_raw(b"\x00\x7f"),
        theader_raw(b"\x00\x01\x01", b"not zlib"),
        theader_raw(b"\x00\x01\x01", zlib.compress(b"x")[:-1]),
        theader_raw(b"\x00\x01\x01", zlib.compress(b"x") + b"y"),
        theader_raw(b"\x00\x01\x01", zlib.compress(bytes(LIMITS.frame + 1))),
        theader_raw(b"\x00\x00\x01\x01\x7fabc"),
        theader_raw(b"\x00\x00\x01\xff\xff\xff\xff\x0f"),
    ],
)
def test_malformed_theader_is_refused(data: bytes) -> None:
    with pytest.raises(ThriftProtocolError):
        theader.decode(data, 0, LIMITS)


def test_what_follows_an_unknown_theader_block_is_ignored() -> None:
    got, data, start, _ = theader.decode(
        theader_raw(b"\x00\x00\x01\x01\x01a\x01b\x05\xff\xff\xff", b"m"), 0, LIMITS
    )
    assert got.strings == {"a": "b"} and data[start:] == b"m"


def test_zlib_that_inflates_without_end_costs_the_limit_only() -> None:
    bomb = theader_raw(b"\x00\x01\x01", zlib.compress(bytes(200 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(ThriftProtocolError, match="inflates"):
            theader.decode(bomb, 0, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMITS.frame
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_form_with_a_header_is_found_in_the_first_bytes(wire: Wire) -> None:
    data = frame(wire)
    for size in range(15):
        assert detect(data[:size], LIMITS) is None
    assert detect(data, LIMITS) == Wire(framed=False, compact=wire.compact, header=wire.header)


def test_header_of_another_protocol_is_refused() -> None:
    wire = wire_from("ttheader", "binary")
    made = bytearray(frame(wire))
    made[14] = 4
    with pytest.raises(ThriftProtocolError, match="protocol 4"):
        detect(bytes(made), LIMITS)
    assert decoded(wire, bytes(made)) == ["refused"]


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_frames_survive_whole_and_in_pieces(wire: Wire) -> None:
    data = b"".join(frame(wire, f"text {n}", n) for n in range(5))
    for pieces in (None, 1, 2, 5, 17, 64):
        got = decoded(wire, data, pieces)
        assert [args.text for args, _ in got] == [f"text {n}" for n in range(5)]
        for number, (_, header) in enumerate(got):
            assert header.seqid == number and header.framed == wire.framed
            assert header.strings["RPC_TRANSIT_user"] == "admin"


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(WIRES), st.integers(0, 2**32), st.data())
def test_damaged_frames_are_decoded_or_refused_alike_in_any_pieces(wire: Wire, seed: int, data: Any) -> None:
    rng = random.Random(seed)
    damaged = bytearray(frame(wire, "x" * rng.randrange(20)))
    for _ in range(data.draw(st.integers(1, 4))):
        where = rng.randrange(min(len(damaged), 80))
        action = rng.randrange(4)
        if action == 0:
            damaged[where] = rng.choice([0, 1, 2, 0x10, 0x11, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif action == 1:
            del damaged[where : where + rng.randrange(1, 9)]
        elif action == 2:
            damaged[where:where] = rng.randbytes(rng.randrange(1, 9))
        else:
            damaged[where : where + 2] = struct.pack(">H", rng.choice([0, 1, 5000, 65535]))
        if not damaged:
            return
    # The length as it is, and made to fit, so that damage is met behind it as well.
    fitting = struct.pack(">I", max(len(damaged) - 4, 0)) + bytes(damaged[4:])
    for each in (bytes(damaged), fitting):
        assert repr(decoded(wire, each, 1)) == repr(decoded(wire, each))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([wire for wire in WIRES if not wire.compact]), st.binary(max_size=60))
def test_any_header_is_read_or_refused(wire: Wire, info: bytes) -> None:
    make = theader_raw if wire.header == "theader" else raw
    payload = message(wire)
    for body in (make(info, payload), make(info + bytes(8), payload)):
        data = struct.pack(">I", len(body)) + body
        assert repr(decoded(wire, data, 1)) == repr(decoded(wire, data))


def test_metainfo_that_arrives() -> None:
    header = Header(
        1,
        ints={2: "log"},
        strings={
            "RPC_TRANSIT_USER": "a",
            "RPC_PERSIST_Lane": "dev",
            "RPC_PERSIST_text": "é",
            "RPC_PERSIST_odd name": "v",
            "RPC_TRANSIT_UPSTREAM_old": "stale",
            "RPC_TRANSIT_empty": "",
            "RPC_TRANSIT_": "nameless",
            "RPC_PERSIST_": "nameless",
            "traceparent": "raw",
            "RPC_TRANSIT_baggage": "lane=dev",
            "isn": "Echo",
        },
        token="t",
    )
    got = metainfo.arrived(header)
    assert got.values == {
        "user": "a",
        "lane": "dev",
        "text": "é",
        "odd name": "v",
        "traceparent": "raw",
        "baggage": "lane=dev",
        "gdpr-token": "t",
        "log-id": "log",
    }
    assert got.persistent == {"lane": "dev"}
    assert got.spelled == {"Lane": "dev", "text": "é", "odd name": "v"}


def test_copies_of_baggage_are_neither_doubled_nor_passed_on_as_they_came() -> None:
    trace = f"00-{'a' * 32}-{'1' * 16}-01"
    strings = {"RPC_PERSIST_baggage": "lane=old", "RPC_PERSIST_TRACEPARENT": trace, "RPC_PERSIST_x": "y"}
    got = metainfo.arrived(Header(1, strings=strings))
    assert got.values == {"baggage": "lane=old", "traceparent": trace, "x": "y"}
    assert (got.persistent, got.spelled) == ({"x": "y"}, {"x": "y"})
    got = metainfo.arrived(Header(1, strings={**strings, "RPC_TRANSIT_baggage": "lane=new"}))
    assert got.values == {"baggage": "lane=new", "traceparent": trace, "x": "y"}
    passed_on = {**got.spelled, "baggage": "lane=old"}
    strings, _ = metainfo.carried({"baggage": "lane=newest"}, frozenset(), passed_on, {})
    assert strings == {"RPC_TRANSIT_baggage": "lane=newest", "RPC_PERSIST_baggage": "lane=newest"}


def test_baggage_goes_over_theader_once() -> None:
    strings, _ = metainfo.carried({"baggage": "lane=dev"}, frozenset(), {}, {}, plain=True)
    assert strings == {"baggage": "lane=dev"}


def test_metainfo_that_goes_on_keeps_its_spelling() -> None:
    strings, token = metainfo.carried(
        {"lane": "dev", "user": "a", "empty": "", "new": "n", "gdpr-token": "t"},
        frozenset({"lane", "new"}),
        {"LANE": "dev", "text": "é", "dropped": "since"},
        {"isn": "Echo"},
    )
    assert strings == {
        "isn": "Echo",
        "RPC_PERSIST_LANE": "dev",
        "RPC_PERSIST_new": "n",
        "RPC_PERSIST_text": "é",
        "RPC_TRANSIT_user": "a",
    }
    assert token == "t"


def test_metainfo_of_theader_has_the_names_of_attachments() -> None:
    strings, _ = metainfo.carried({"lane": "dev", "user": "a"}, frozenset({"lane"}), {}, {}, plain=True)
    assert strings == {"lane": "dev", "user": "a", "RPC_PERSIST_lane": "dev"}
    got = metainfo.arrived(Header(1, strings=strings, plain=True))
    assert (got.values, got.persistent) == ({"lane": "dev", "user": "a"}, {"lane": "dev"})


def test_business_status_there_and_back() -> None:
    error = biz_error(biz_strings(ThriftBizError(-5, "mé", {"k": "v"})))
    assert error is not None
    assert (error.code, error.message, error.extra) == (-5, "mé", {"k": "v"})
    assert biz_error({}) is None and biz_error({"biz-status": "0"}) is None


@pytest.mark.parametrize("code", [1, -1, 2**31 - 1, -(2**31), IntEnum("Code", {"SOLD": 5}).SOLD])
def test_business_code_of_32_bits_is_taken(code: int) -> None:
    error = biz_error(biz_strings(ThriftBizError(code)))
    assert error is not None and error.code == code


@pytest.mark.parametrize("code", [0, True, False, 2**31, -(2**31) - 1, 1.0, "1", None])
def test_business_code_that_is_none_is_refused_where_it_is_made(code: Any) -> None:
    with pytest.raises(UsageError, match="int of 32 bits"):
        ThriftBizError(code)
    error = ThriftBizError(1)
    error.code = code
    with pytest.raises(UsageError, match="int of 32 bits"):
        biz_strings(error)


@pytest.mark.parametrize("message", [b"x", None, 5])
def test_business_message_that_is_not_text_is_refused(message: Any) -> None:
    with pytest.raises(UsageError, match="message"):
        ThriftBizError(1, message)


def test_business_text_that_cannot_be_encoded_is_written_out_in_both_directions() -> None:
    strings = biz_strings(ThriftBizError(1, "half \ud800", {"\udcff": "\udfff"}))
    assert strings["biz-message"] == "half \\ud800"
    ttheader.encode(Header(1, strings=strings), b"")
    came = {"biz-status": "1", "biz-message": "\udcff", "biz-extra": '{"k": "\\ud800"}'}
    error = biz_error(came)
    assert error is not None
    assert f"{error!s} {error!r}".encode() and (error.message, error.extra) == ("\\udcff", {"k": "\\ud800"})


@pytest.mark.parametrize(
    "strings",
    [
        {"biz-status": "x"},
        {"biz-status": "9" * 5000},
        {"biz-status": str(2**31)},
        {"biz-status": str(-(2**31) - 1)},
        {"biz-status": "١"},
        {"biz-status": "1", "biz-extra": "{"},
        {"biz-status": "1", "biz-extra": "[" * 60_000},
        {"biz-status": "1", "biz-extra": '["a"]'},
        {"biz-status": "1", "biz-extra": '{"a": 1}'},
    ],
)
def test_malformed_business_status_is_refused(strings: dict[str, str]) -> None:
    with pytest.raises(ThriftProtocolError):
        biz_error(strings)
