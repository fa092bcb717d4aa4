"""The form of a connection: from names, from thriftpy2's factories, from the first bytes."""

from __future__ import annotations

import pytest
from thriftpy2.protocol.binary import TBinaryProtocolFactory as PureBinary

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import Limits, ThriftProtocolError
from pyrpc_xds.transports.thrift.codec import CALL, codec_for
from pyrpc_xds.transports.thrift.wire import Wire, detect, wire_from
from tests.unit.transports.thrift.peers import idl

LIMITS = Limits()


@pytest.mark.parametrize("name", ["ping", "n", "x" * 1000, "größe"])
@pytest.mark.parametrize(
    "wire",
    [
        Wire(),
        Wire(framed=False),
        Wire(compact=True),
        Wire(framed=False, compact=True),
        Wire(strict=False),
        Wire(framed=False, strict=False),
    ],
    ids=repr,
)
def test_form_is_found_in_the_first_bytes(wire: Wire, name: str) -> None:
    data = codec_for(wire, LIMITS).encode(name, CALL, 1, idl.Everything.ping_args(text="x" * 300))
    for size in range(1, len(data)):
        found = detect(data[:size], LIMITS)
        if found is not None:
            assert found == wire and size <= 6
            break
        assert size < 6
    assert detect(data, LIMITS) == wire


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"\x16\x03\x01\x02\x00",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0\0",
        b"\x80\x02\0\x01",
        b"\x82\x02\0\x01",
        b"\x7f\xff\xff\xff\x80",
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ThriftProtocolError):
        detect(data, LIMITS)


def test_ttheader_of_binary_without_a_version_is_refused() -> None:
    old = PureBinary(strict_write=False)
    with pytest.raises(UsageError, match="strict_write=True"):
        wire_from("ttheader", "binary", old)
    for framing in ("framed", "buffered", "ttheader-framed", "theader", "theader-zlib"):
        assert not wire_from(framing, "binary", old).strict


def test_names() -> None:
    assert str(Wire()) == "framed binary"
    assert str(Wire(framed=False, compact=True)) == "buffered compact"
