"""What stands before a Thrift message in a transport with headers; the same object for TTHeader and THeader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import UsageError
from .errors import ThriftProtocolError

BINARY_ID = 0
COMPACT_ID = 2

# Flag of TTHeader: the sender takes answers in any order.
OUT_OF_ORDER = 0x01


class HeaderTooLarge(UsageError):
    """What is to travel in the header does not fit in it."""


@dataclass(slots=True)
class Header:
    """The header of one frame.

    :ivar seqid: of the frame; equal to that of the message where both ends keep to the rules.
    :ivar flags: :data:`OUT_OF_ORDER` and others.
    :ivar protocol: :data:`BINARY_ID` or :data:`COMPACT_ID`.
    :ivar framed: four bytes of length stand before the message (TTHeader).
    :ivar transforms: applied to the payload, in this order (THeader); 1: zlib.
    :ivar ints: values by Kitex's numbers (TTHeader), see :mod:`.metainfo`.
    :ivar strings: values by name.
    :ivar token: the ACL token (TTHeader), which has a block of its own.
    :ivar plain: names are attachments as they stand (THeader); otherwise metainfo has prefixes.
    """

    seqid: int
    flags: int = 0
    protocol: int = BINARY_ID
    framed: bool = False
    transforms: tuple[int, ...] = ()
    ints: Mapping[int, str] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    plain: bool = False


def malformed(what: str, offset: int) -> ThriftProtocolError:
    """The error for a header that is not one.

    :param offset: bytes from the start of the frame, its length left out.
    """
    return ThriftProtocolError(f"header: {what} at byte {offset}")


def text(data: bytes) -> str:
    """A key or value as it came. Go's strings are any bytes: what is not UTF-8 survives being passed on."""
    return data.decode("utf-8", "surrogateescape")


def octets(value: str) -> bytes:
    """The bytes of a key or value."""
    return value.encode("utf-8", "surrogateescape")
