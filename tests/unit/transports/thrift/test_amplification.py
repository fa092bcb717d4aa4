"""What a message costs in memory, against its size.

Invariant: whatever the bytes, what they are decoded into takes no more than 1 MiB and ``Limits.expansion`` times their
size, or they are refused before thriftpy2 sees them; and lists of what people send are not refused.
"""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import thriftpy2
from thriftpy2.thrift import TPayload, TPayloadMeta, TType

from pyrpc_xds._scan import FREE, ScanError
from pyrpc_xds.transports.thrift import Limits, ThriftProtocolError, theader
from pyrpc_xds.transports.thrift.codec import CALL, Codec, codec_for
from pyrpc_xds.transports.thrift.frames import frame_of, inbox_for
from pyrpc_xds.transports.thrift.header import Header
from pyrpc_xds.transports.thrift.schema import struct_node
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import Wire, wire_from

LIMITS = Limits()
WIRES = [Wire(), Wire(compact=True)]

_SOURCE = """
struct Flag {{ 1: bool on }}
struct Point {{ 1: i32 x 2: i32 y }}
struct Row {{ {columns} }}
struct Tree {{ 1: Tree left 2: Tree right }}
struct Any {{
  1: list<Flag> flags
  2: list<Point> points
  3: list<Row> rows
  4: Tree tree
  5: list<list<i32>> lists
  6: list<map<string, i32>> maps
  7: map<i64, list<string>> texts
  8: list<i32> numbers
  9: list<i8> octets
  10: list<string> words
  11: list<double> reals
  12: map<i32, i32> pairs
  13: map<string, Point> named
  14: list<bool> bits
  15: list<i64> longs
  16: set<i16> shorts
  17: list<binary> blobs
}}
service Sink {{ void take(1: Any value) }}
"""


@pytest.fixture(scope="module")
def idl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("idl") / "amplification.thrift"
    columns = " ".join(f"{n}: optional i64 column_{n}" for n in range(1, 41))
    path.write_text(_SOURCE.format(columns=columns))
    return thriftpy2.load(str(path), module_name="amplification_thrift")


def scanned(idl: Any, wire: Wire, value: dict[str, Any]) -> tuple[Codec, bytes, Any]:
    """A message, which the scan has passed."""
    codec = codec_for(wire, LIMITS)
    service = describe(idl.Sink)
    args = service.methods["take"].args
    data = codec.encode("take", CALL, 1, args(value=idl.Any(**value)))
    codec.scanner.whole(data, 4, service.requests[wire.compact])
    return codec, data, args


def measured(codec: Codec, data: bytes, args: Any) -> tuple[int, int]:
    """Bytes that decoding a message takes: when it is done, and at its highest."""
    args()  # what is made once
    struct = args()
    tracemalloc.start()
    try:
        codec.decode(struct, data, 4 + codec.scanner.body, 4 + codec.scanner.size)
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def many(idl: Any, number: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """What a careless or a malicious peer may send, and what an honest one does."""
    rng = random.Random(1)
    return {
        "empty structs": lambda: {"flags": [idl.Flag()] * number},
        "empty structs of forty fields": lambda: {"rows": [idl.Row()] * (number // 10)},
        "rows of which a tenth is set": lambda: {
            "rows": [
                idl.Row(**{f"column_{n}": rng.getrandbits(40) for n in rng.sample(range(1, 41), 4)})
                for _ in range(number // 10)
            ]
        },
        "flags": lambda: {"flags": [idl.Flag(on=True)] * number},
        "points": lambda: {"points": [idl.Point(x=n, y=-n) for n in range(number)]},
        "small points": lambda: {"points": [idl.Point(x=n % 60, y=n % 7) for n in range(number)]},
        "empty lists": lambda: {"lists": [[]] * number},
        "short lists": lambda: {"lists": [[n % 9, n] for n in range(number)]},
        "empty maps": lambda: {"maps": [{}] * number},
        "small maps": lambda: {"maps": [{"key": n} for n in range(number)]},
        "lists by number": lambda: {"texts": {n: [] for n in range(number)}},
        "numbers": lambda: {"numbers": list(range(10_000, 10_000 + number))},
        "small numbers": lambda: {"numbers": [n % 64 for n in range(number)]},
        "octets": lambda: {"octets": [rng.randrange(-128, 128) for _ in range(number)]},
        "octets below 0": lambda: {"octets": [-100] * number},
        "words": lambda: {"words": [f"{n:05}" for n in range(number)]},
        "empty words": lambda: {"words": [""] * number},
        "reals": lambda: {"reals": [rng.random() for _ in range(number)]},
        "pairs": lambda: {"pairs": {n: n for n in range(number)}},
        "named": lambda: {"named": {str(n): idl.Point(x=n) for n in range(number)}},
        "bits": lambda: {"bits": [True, False] * number},
        "longs": lambda: {"longs": [rng.getrandbits(62) for _ in range(number)]},
        "shorts": lambda: {"shorts": [rng.randrange(2**15) for _ in range(number)]},
        "blobs": lambda: {"blobs": [b"abc"] * number},
    }


# Of so many these cost more than 64 times their bytes and 1 MiB besides.
NUMBER = 45_000
REFUSED = {
    "framed binary": {"empty structs", "empty structs of forty fields"},
    "framed compact": {"empty structs", "empty structs of forty fields", "empty lists", "empty maps"},
}


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_large_messages_pass_unless_nearly_nothing_is_in_them(idl: Any, wire: Wire) -> None:
    refused = set()
    for name, make in many(idl, NUMBER).items():
        try:
            scanned(idl, wire, make())
        except ScanError as error:
            assert error.kind == "more memory than Limits.expansion allows", name
            refused.add(name)
    assert refused == REFUSED[str(wire)]


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_memory_of_what_passes_is_what_the_scan_has_counted(idl: Any, wire: Wire) -> None:
    for name, make in many(idl, 2000).items():
        codec, data, args = scanned(idl, wire, make())
        taken, peak = measured(codec, data, args)
        cost, size = codec.scanner.cost, len(data)
        assert cost <= FREE + LIMITS.expansion * size
        # Small numbers and short texts, which CPython has once, are counted where it saves looking at each.
        assert cost < 5 * taken, (name, cost, taken)
        # Not counted: that a list has room for a few more, and that a growing map is there twice.
        assert taken < 1.15 * cost + 4096, (name, cost, taken)
        assert peak < 1.25 * cost + 2 * size + 4096, (name, cost, peak)


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_refusing_a_message_costs_no_memory(idl: Any, wire: Wire) -> None:
    service = describe(idl.Sink)
    codec = codec_for(wire, LIMITS)
    for name in REFUSED[str(wire)]:
        value = idl.Any(**many(idl, NUMBER)[name]())
        data = codec.encode("take", CALL, 1, service.methods["take"].args(value=value))
        tracemalloc.start()
        try:
            with pytest.raises(ScanError):
                codec.scanner.whole(data, 4, service.requests[wire.compact])
            assert tracemalloc.get_traced_memory()[1] < 8192
        finally:
            tracemalloc.stop()
        generous = codec_for(wire, Limits(expansion=2000))
        generous.scanner.whole(data, 4, service.requests[wire.compact])


def test_what_the_decoder_skips_costs_nothing(idl: Any) -> None:
    service = describe(idl.Sink)
    codec = codec_for(Wire(), LIMITS)
    header = codec.encode("take", CALL, 1, service.methods["take"].args())[4:-1]
    structs = b"\x0c" + NUMBER.to_bytes(4, "big") + bytes(NUMBER)
    # Field 99 is in no IDL; field 8 of the struct in field 1 is a list<i32>.
    for body in (b"\x0f\0\x63" + structs, b"\x0c\0\x01\x0f\0\x08" + structs + b"\0"):
        data = header + body + b"\0"
        codec.scanner.whole(data, 0, service.requests[False])
        assert codec.scanner.cost < 500


def test_struct_that_holds_itself_is_counted(idl: Any) -> None:
    tree = None
    for _ in range(11):
        tree = idl.Tree(left=tree, right=tree)
    for wire in WIRES:
        codec, data, args = scanned(idl, wire, {"tree": tree})
        taken, _ = measured(codec, data, args)
        assert 0.8 * taken < codec.scanner.cost < 1.3 * taken


def test_price_of_a_struct_is_what_an_object_of_it_takes() -> None:
    for fields in (0, 1, 5, 20, 29, 30, 100, 200):
        spec = {n: (TType.I64, f"f{n}", False) for n in range(1, fields + 1)}
        defaults = [(f"f{n}", None) for n in range(1, fields + 1)]
        cls: Any = TPayloadMeta(f"S{fields}", (TPayload,), {"thrift_spec": spec, "default_spec": defaults})
        for _ in range(40):
            cls()  # CPython gives the first thirty room for more attributes
        tracemalloc.start()
        try:
            kept = [cls() for _ in range(500)]
            taken = tracemalloc.get_traced_memory()[0] / len(kept) - 8
        finally:
            tracemalloc.stop()
        assert 0.85 * taken < struct_node(cls)[None] < 1.15 * taken, fields


@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_compressed_message_is_worth_little_more_than_what_came(idl: Any, protocol: str) -> None:
    wire = wire_from("theader-zlib", protocol)
    service = describe(idl.Sink)
    codec = codec_for(Wire(framed=False, compact=wire.compact), LIMITS)

    def take(value: dict[str, Any]) -> None:
        message = codec.encode("take", CALL, 1, service.methods["take"].args(value=idl.Any(**value)))
        header = Header(1, 0, 2 if wire.compact else 0, transforms=(theader.ZLIB,))
        data = frame_of(wire, header, message)
        assert inbox_for(wire, LIMITS).take(data, service.requests[wire.compact]) is not None

    for name in ("points", "words", "numbers", "named", "reals"):
        take(many(idl, NUMBER)[name]())
    # Equal ones compress a hundred times.
    with pytest.raises(ThriftProtocolError, match="expansion"):
        take({"points": [idl.Point(x=1000, y=1000)] * NUMBER})
    with pytest.raises(ThriftProtocolError, match="inflation"):
        take({"blobs": [bytes(8 << 20)]})


@pytest.mark.parametrize(("wire", "enough"), [(WIRES[0], 3_000), (WIRES[1], 6_000)], ids=str)
def test_keys_that_are_structs_count_by_the_square_of_their_number(wire: Wire, enough: int) -> None:
    source = io.StringIO("struct Key { 1: i32 a } service Keyed { void take(1: map<Key, i32> value) }")
    keyed = thriftpy2.load_fp(source, "keyed_thrift")
    service = describe(keyed.Keyed)

    def scan(number: int, expansion: int) -> None:
        codec = codec_for(wire, Limits(expansion=expansion))
        value = {keyed.Key(a=n): n for n in range(number)}
        data = codec.encode("take", CALL, 1, service.methods["take"].args(value=value))
        codec.scanner.whole(data, 4, service.requests[wire.compact])

    scan(150, LIMITS.expansion)
    with pytest.raises(ScanError, match="expansion"):
        scan(400, LIMITS.expansion)
    # As docs/thrift.md has it.
    scan(1000, enough)
    with pytest.raises(ScanError, match="expansion"):
        scan(1000, enough // 2)


def test_zlib_bomb_costs_little_more_than_a_mebibyte() -> None:
    head = struct.pack(">HHIH", 0x0FFF, 0, 1, 1) + bytes((0, 1, theader.ZLIB, 0))
    bomb = head + zlib.compress(bytes(LIMITS.frame - 1000), 9)
    assert len(bomb) < 17_000
    tracemalloc.start()
    try:
        with pytest.raises(ThriftProtocolError, match="inflation"):
            theader.decode(bomb, 0, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 3 * (FREE + LIMITS.inflation * len(bomb))
    finally:
        tracemalloc.stop()
