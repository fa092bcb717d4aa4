"""How messages look on one connection: framing, protocol, and the few switches of thriftpy2's factories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._scan import NAME_LIMIT
from ...errors import UsageError
from . import theader, ttheader
from .errors import ThriftProtocolError, refused
from .header import BINARY_ID, COMPACT_ID
from .limits import Limits

_MAGICS = {ttheader.MAGIC: "ttheader", theader.MAGIC: "theader"}
_MAGIC_LEADS = tuple(magic[0] for magic in _MAGICS)


@dataclass(frozen=True, slots=True)
class Wire:
    """The form of a connection; client and server must agree on it, or the server finds it out
    (:func:`detect`).

    :ivar framed: four bytes of length before each message; otherwise ("buffered") messages follow one
        another. In TTHeader, which has a length of its own: before each message in it.
    :ivar compact: the compact protocol; otherwise binary.
    :ivar strict: binary messages are written with a version.
    :ivar decode_response: strings are decoded; otherwise they are bytes.
    :ivar strict_decode: a string that is not UTF-8 is an error; otherwise it stays bytes.
    :ivar header: ``ttheader`` (Kitex), ``theader`` (Apache Thrift), or empty: messages have no header.
    :ivar zlib: what is sent is compressed (THeader).
    """

    framed: bool = True
    compact: bool = False
    strict: bool = True
    decode_response: bool = True
    strict_decode: bool = False
    header: str = ""
    zlib: bool = False

    def __str__(self) -> str:
        form = (self.framed, self.header, self.zlib)
        framing = next(name for name, each in FRAMINGS.items() if each == form)
        return f"{framing} {'compact' if self.compact else 'binary' if self.strict else 'lax-binary'}"


# By the name that users give: framed, header, zlib.
FRAMINGS = {
    "framed": (True, "", False),
    "buffered": (False, "", False),
    "ttheader": (False, "ttheader", False),
    "ttheader-framed": (True, "ttheader", False),
    "theader": (False, "theader", False),
    "theader-zlib": (False, "theader", True),
}
# By the name that users give: compact, strict.
PROTOCOLS = {"binary": (False, True), "lax-binary": (False, False), "compact": (True, True)}
# One object for each form that a client speaks: of two that are the same one, they can be told at the price of `is`.
_WIRES: dict[Wire, Wire] = {}


def wire_from(framing: str, protocol: str, proto_factory: Any = None, trans_factory: Any = None) -> Wire:
    """The form that names or thriftpy2's factories ask for; a factory goes before a name.

    :raises UsageError: a name or a factory of another kind (JSON, SASL are not covered), or a form that no peer
        could read.
    """
    if framing not in FRAMINGS:
        raise UsageError(f"framing={framing!r}: it is one of {', '.join(map(repr, FRAMINGS))}")
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol={protocol!r}: it is one of {', '.join(map(repr, PROTOCOLS))}")
    (framed, header, zlib), (compact, strict) = FRAMINGS[framing], PROTOCOLS[protocol]
    if trans_factory is not None:
        name = type(trans_factory).__name__
        if "Framed" not in name and "Buffered" not in name:
            raise UsageError(f"trans_factory={name}: only framed and buffered transports are supported")
        framed, header, zlib = "Framed" in name, "", False
    decode_response, strict_decode = True, False
    if proto_factory is not None:
        name = type(proto_factory).__name__
        if "Binary" not in name and "Compact" not in name:
            raise UsageError(f"proto_factory={name}: only binary and compact protocols are supported")
        compact = "Compact" in name
        strict = bool(getattr(proto_factory, "strict_write", True))
        decode_response = bool(getattr(proto_factory, "decode_response", True))
        strict_decode = bool(getattr(proto_factory, "strict_decode", False))
    if header == "ttheader" and not (framed or compact or strict):
        raise UsageError(
            f"framing={framing!r} and binary without a version (lax-binary, strict_write=False): a TTHeader peer "
            "tells by the version's first byte that no length is before the message; use ttheader-framed, or binary"
        )
    wire = Wire(framed, compact, strict, decode_response, strict_decode, header, zlib)
    return _WIRES.setdefault(wire, wire)


class Accepted:
    """The forms that a server takes; of what is ``auto``, all.

    A TTHeader frame says whether its message has a length, and a THeader frame whether it is compressed: a server of
    ``ttheader`` takes ``ttheader-framed`` as well, and so on.

    :raises UsageError: a name is none.
    """

    __slots__ = ("_any_framing", "_any_protocol", "_wire")

    def __init__(self, framing: str = "auto", protocol: str = "auto") -> None:
        if protocol not in ("auto", "binary", "compact"):
            raise UsageError(
                f"protocol={protocol!r}: of a server it is 'auto', 'binary' (with and without a version) or 'compact'"
            )
        self._any_framing = framing == "auto"
        self._any_protocol = protocol == "auto"
        self._wire = wire_from(
            "framed" if self._any_framing else framing, "binary" if self._any_protocol else protocol
        )

    def __str__(self) -> str:
        framing, protocol = str(self._wire).split()
        if self._any_framing:
            framing = "any framing"
        if self._any_protocol:
            protocol = "any protocol"
        return f"{framing}, {protocol}"

    def check(self, wire: Wire) -> None:
        """:raises ThriftProtocolError: a connection has another form."""
        own = self._wire
        framing = wire.header == own.header and (bool(wire.header) or wire.framed == own.framed)
        if not (self._any_framing or framing) or not (self._any_protocol or wire.compact == own.compact):
            raise ThriftProtocolError(f"the client speaks {wire}; this server takes {self}")


def detect(head: bytes, limits: Limits) -> Wire | None:
    """The form of a connection from the first bytes that a client sends (Kitex's ports sniff in the same
    way).

    :returns: ``None``: more bytes are needed, at most 6, or 15 where there is a header.
    :raises ThriftProtocolError: it is none of the forms, or a frame above the limit.
    """
    if len(head) < 2:
        return None
    if head[0] == 0x80:
        if head[1] != 1:
            raise refused("bad version", 0)
        return Wire(framed=False)
    if head[0] == 0x82:
        if head[1] & 0x1F != 1:
            raise refused("bad version", 0)
        return Wire(framed=False, compact=True)
    if head[0] >= 0x80:
        raise ThriftProtocolError("neither Thrift binary nor compact, framed or not")
    if len(head) < 4:
        return None
    size = int.from_bytes(head[:4], "big")
    if not size or size > limits.frame + limits.header:
        raise ThriftProtocolError(f"a frame of {size} bytes is announced; the limit is {limits.frame}")
    if len(head) < 5:
        return None
    if head[4] in _MAGIC_LEADS:
        if len(head) < 6:
            return None
        header = _MAGICS.get(head[4:6])
        if header is not None:
            if len(head) < 15:
                return None
            if head[14] not in (BINARY_ID, COMPACT_ID):
                raise ThriftProtocolError(f"{header} of protocol {head[14]}: neither binary nor compact")
            return Wire(framed=False, compact=head[14] == COMPACT_ID, header=header)
    if size > limits.frame:
        raise ThriftProtocolError(f"a frame of {size} bytes is announced; the limit is {limits.frame}")
    # No method name begins with these bytes: they only continue a UTF-8 sequence.
    if head[4] == 0x80:
        return Wire()
    if head[4] == 0x82:
        return Wire(compact=True)
    # Binary without a version: the length of the name comes first, and names are shorter than 2**24 bytes.
    if head[4] == 0:
        return Wire(strict=False)
    if size <= NAME_LIMIT:
        return Wire(framed=False, strict=False)
    raise ThriftProtocolError("neither Thrift binary nor compact, framed or not")
