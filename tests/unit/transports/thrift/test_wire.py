"""The form of a connection: from names, from thriftpy2's factories, from the first bytes."""

from __future__ import annotations

import pytest
from thriftpy2.protocol.binary import TBinaryProtocolFactory as PureBinary

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import Limits, ThriftProtocolError
from pyrpc_xds.transports.thrift.codec import CALL, codec_for
from pyrpc_xds.transports.thrift.frames import frame_of, inbox_for
from pyrpc_xds.transports.thrift.header import Header
from pyrpc_xds.transports.thrift.intake import Intake
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import FRAMINGS, Accepted, Wire, detect, wire_from
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
    with pytest.raises(UsageError, match="use ttheader-framed"):
        wire_from("ttheader", "binary", old)
    with pytest.raises(UsageError, match="use ttheader-framed"):
        wire_from("ttheader", "lax-binary")
    for framing in ("framed", "buffered", "ttheader-framed", "theader", "theader-zlib"):
        assert not wire_from(framing, "binary", old).strict


FORMS = [(framing, protocol) for framing in FRAMINGS for protocol in ("binary", "compact")]


def first_bytes(framing: str, protocol: str) -> bytes:
    """A request as a client of the form sends it."""
    wire = wire_from(framing, protocol)
    message = codec_for(wire, LIMITS).encode("ping", CALL, 1, idl.Everything.ping_args(text="x"))
    if not wire.header:
        return message
    header = Header(1, 0, 2 if wire.compact else 0, wire.framed, (1,) if wire.zlib else ())
    return frame_of(wire, header, message)


@pytest.mark.parametrize("protocol", ["auto", "binary", "compact"])
@pytest.mark.parametrize("framing", ["auto", *FRAMINGS])
def test_server_takes_the_forms_that_it_is_restricted_to_and_no_others(framing: str, protocol: str) -> None:
    service = describe(idl.Everything)
    for theirs in FORMS:
        # What tells the two forms of TTHeader apart, and those of THeader, is in each frame.
        alike = {"ttheader-framed": "ttheader", "theader-zlib": "theader"}
        same_framing = alike.get(framing, framing) in ("auto", alike.get(theirs[0], theirs[0]))
        accepted = same_framing and protocol in ("auto", theirs[1])
        intake = Intake(service.requests, Accepted(framing, protocol), LIMITS)
        if accepted:
            assert intake.take(first_bytes(*theirs)) is not None, theirs
            continue
        with pytest.raises(ThriftProtocolError, match=r"the client speaks .*; this server takes"):
            intake.take(first_bytes(*theirs))


def test_refused_form_is_named_and_so_are_those_accepted() -> None:
    for accepted, text in [
        (Accepted("framed"), "the client speaks buffered compact; this server takes framed, any protocol"),
        (
            Accepted(protocol="binary"),
            "the client speaks buffered compact; this server takes any framing, binary",
        ),
    ]:
        with pytest.raises(ThriftProtocolError) as raised:
            accepted.check(wire_from("buffered", "compact"))
        assert str(raised.value) == text
    with pytest.raises(UsageError, match="framing='none'"):
        Accepted("none")
    with pytest.raises(UsageError, match="protocol='json'"):
        Accepted("auto", "json")
    with pytest.raises(UsageError, match="with and without a version"):
        Accepted("framed", "lax-binary")


def test_names() -> None:
    assert str(Wire()) == "framed binary"
    assert str(Wire(framed=False, compact=True)) == "buffered compact"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_codec_of_a_connection_names_the_form_of_its_pool_by_identity(framing: str) -> None:
    """What a call asks whether it has met another form than the client's usual one."""
    for protocol in ("binary", "compact"):
        wire = wire_from(framing, protocol)
        assert wire_from(framing, protocol) is wire
        assert inbox_for(wire, LIMITS).codec.wire is wire
