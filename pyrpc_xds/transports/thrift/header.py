"""What stands before a Thrift message in a transport with headers; the same object for TTHeader and THeader."""

from __future__ import annotations

from ..._ttheader import Header, octets, text
from ...errors import UsageError
from .errors import ThriftProtocolError

__all__ = [
    "BINARY_ID",
    "COMPACT_ID",
    "OUT_OF_ORDER",
    "Header",
    "HeaderTooLarge",
    "malformed",
    "octets",
    "text",
]

BINARY_ID = 0
COMPACT_ID = 2

# Flag of TTHeader: the sender takes answers in any order.
OUT_OF_ORDER = 0x01


class HeaderTooLarge(UsageError):
    """What is to travel in the header does not fit in it."""


def malformed(what: str, offset: int) -> ThriftProtocolError:
    """The error for a header that is not one.

    :param offset: bytes from the start of the frame, its length left out.
    """
    return ThriftProtocolError(f"header: {what} at byte {offset}")
