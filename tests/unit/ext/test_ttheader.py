"""TTHeader's bytes: every test runs compiled and uncompiled; what a whole frame is, test_headers.py says."""

from __future__ import annotations

import importlib
import os
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interop.peers import ttheader_bytes
from tests.unit.ext.variants import NAMES, source

MESSAGE = b"\x80\x01message"


def build(name: str) -> Any:
    if name == "python":
        return source("_ttheader")
    module = importlib.import_module("pyrpc_xds._ttheader")
    assert not str(module.__file__).endswith(".py") or os.environ.get("PYRPC_XDS_NO_EXTENSIONS")
    return module


BUILDS = {name: build(name) for name in NAMES}


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> Any:
    return BUILDS[request.param]


def packed(**values: Any) -> bytes:
    """A frame packed by hand, its length left out."""
    return ttheader_bytes.pack(ttheader_bytes.Frame(MESSAGE, **values))[4:]


def with_blocks(blocks: bytes, payload: bytes = MESSAGE) -> bytes:
    header = b"\0\0" + blocks
    header += bytes(-len(header) % 4)
    return struct.pack(">HHIH", 0x1000, 0, 1, len(header) // 4) + header + payload


def seen(module: Any, data: bytes, most: int = 65_532, entries: int = 2048) -> object:
    """What a build makes of a frame, in a form that can be compared; every way of asking included."""
    try:
        header = module.read(data, 0, most, entries)
    except module.HeaderError as error:
        return str(error)
    values = [header.value(number) for number in (0, 2, 9, 12, 65535)]
    asked_first = (header.metainfo, values)
    parsed = repr(header)
    assert [header.value(number) for number in (0, 2, 9, 12, 65535)] == values
    return (*asked_first, parsed, header.message)


def test_values_are_found_before_anything_is_read_and_after(module: Any) -> None:
    data = packed(ints={9: "ping", 12: "1000", 65535: "é"}, strings={"k": "v"}, token="t")
    header = module.read(data, 0, 65_532, 2048)
    for _ in range(2):
        assert (header.value(12), header.value(65535), header.value(3)) == ("1000", "é", "")
        assert header.ints == {9: "ping", 12: "1000", 65535: "é"}
    assert (header.strings, header.token, data[header.message :]) == ({"k": "v"}, "t", MESSAGE)


def test_of_equal_int_keys_the_last_one_counts_however_it_is_asked_for(module: Any) -> None:
    data = with_blocks(b"\x10\0\x02\0\x0c\0\x01a\0\x0c\0\x01b\0\x10\0\x01\0\x0c\0\x01c")
    header = module.read(data, 0, 65_532, 2048)
    assert header.value(12) == "c"
    assert header.ints == {12: "c"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, False),
        ({"ints": {9: "ping", 12: "1"}, "strings": {"isn": "Echo"}}, False),
        ({"strings": {"isn": "Echo", "RPC_TRANSIT_a": "b"}}, True),
        ({"strings": {"isx": ""}}, True),
        ({"strings": {"biz-status": "1"}}, True),
        ({"ints": {2: "log"}}, True),
        ({"token": "t"}, True),
    ],
)
def test_metainfo_is_known_to_be_absent_without_reading_it(
    module: Any, values: dict[str, Any], expected: bool
) -> None:
    assert module.read(packed(**values), 0, 65_532, 2048).metainfo is expected


def test_header_that_was_read_equals_one_that_was_made_of_the_same(module: Any) -> None:
    values: dict[str, Any] = {"ints": {9: "ping"}, "strings": {"k": "v"}, "token": "t"}
    header = module.read(packed(**values), 0, 65_532, 2048)
    assert header == module.Header(1, **values)
    assert header != module.Header(2, **values)
    for name in values:
        assert header != module.Header(1, **{**values, name: None})


def test_limits_are_exact(module: Any) -> None:
    data = with_blocks(b"\x01\0\x02\0\0\0\0\0\0\0\0\x10\0\x01\0\x01\0\0")
    size = struct.unpack_from(">H", data, 8)[0] * 4
    module.read(data, 0, size, 3)
    with pytest.raises(module.HeaderError, match="more than 2 entries"):
        module.read(data, 0, size, 2)
    with pytest.raises(module.HeaderError, match=f"announces {size} bytes; the limit is {size - 1}"):
        module.read(data, 0, size - 1, 3)


def test_template_writes_what_the_general_way_writes(module: Any) -> None:
    fixed = {1: "unframed", 6: "to", 9: "ping"}
    for framed in (False, True):
        template = module.Template(0, 1, framed, fixed, {"isn": "Echo"})
        for milliseconds in (5, 29_999, 29_999, 7):
            made = template.plain(3, milliseconds, MESSAGE)
            got = ttheader_bytes.unpack(made)
            assert got.ints == {**fixed, 12: str(milliseconds)}
            assert (got.seqid, got.flags, got.strings, got.token) == (3, 1, {"isn": "Echo"}, None)
            info = module.info(0, got.ints, got.strings, None)
            assert made == module.frame(info, 1, 3, framed, MESSAGE)
        carried = ttheader_bytes.unpack(template.carrying(4, 9, MESSAGE, "log", {"k": "é"}, "t"))
        assert carried.ints == {**fixed, 12: "9", 2: "log"}
        assert (carried.strings, carried.token) == ({"k": "é"}, "t")
        assert template.plain(3, 7, MESSAGE) == made


def test_what_does_not_fit_is_refused_by_a_template_too(module: Any) -> None:
    template = module.Template(0, 0, False, {}, {})
    for strings in ({"k": "v" * 65_536}, {"k" * 65_536: "v"}, dict.fromkeys(map(str, range(65_536)), "")):
        with pytest.raises(module.TooLarge):
            template.carrying(1, 1, b"", None, strings, None)
    with pytest.raises(module.TooLarge, match="room for 65532"):
        template.carrying(1, 1, b"", None, {"a": "v" * 40_000, "b": "v" * 40_000}, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1500", 1500),
        ("9" * 12, 999_999_999_999),
        ("9" * 13, 0),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("٣", 0),
        (" 1", 0),
    ],
)
def test_timeout_that_is_no_number_counts_as_none(module: Any, value: str, expected: int) -> None:
    assert module.read(packed(ints={12: value}), 0, 65_532, 2048).timeout() == expected
    assert module.Header(1, ints={12: value}).timeout() == expected


def test_answer_that_carries_nothing_is_as_the_general_way_writes_it(module: Any) -> None:
    for kind in (2, 3):
        for framed in (False, True):
            for protocol in (0, 2):
                came = module.Header(-3, 1, protocol, framed, ints={12: "5"}, strings={"a": "b"})
                got = ttheader_bytes.unpack(module.answer(came, kind, MESSAGE))
                assert got.ints == {22: str(kind), 1: "framed" if framed else "unframed"}
                assert (got.seqid, got.flags, got.protocol, got.strings) == (2**32 - 3, 0, protocol, {})
                inner = struct.pack(">I", len(MESSAGE)) if framed else b""
                assert got.payload == inner + MESSAGE


pieces = st.one_of(
    st.sampled_from(
        [b"\0", b"\x01", b"\x10", b"\x11", b"\0\x01", b"\0\x02", b"\xff\xff", b"\0\x03isn", b"\0\x0c"]
    ),
    st.binary(max_size=6),
)


@pytest.mark.skipif(len(BUILDS) < 2, reason="PYRPC_XDS_NO_EXTENSIONS is set: there is one build")
@settings(max_examples=1500, deadline=None)
@given(st.lists(pieces, max_size=14), st.sampled_from([MESSAGE, b"", b"\0\0\0\x02\x80\x01", b"\x82"]))
def test_both_builds_say_the_same_of_any_bytes(blocks: list[bytes], payload: bytes) -> None:
    joined = b"".join(blocks)
    for data in (with_blocks(joined, payload), with_blocks(joined, payload)[: len(joined) + 4], joined):
        assert len({repr(seen(module, data)) for module in BUILDS.values()}) == 1
