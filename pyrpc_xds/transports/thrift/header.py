"""What stands before a Thrift message in a transport with headers; the same object for TTHeader and THeader."""

from __future__ import annotations

from collections.abc import Mapping

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
    "too_large",
]

BINARY_ID = 0
COMPACT_ID = 2

# Flag of TTHeader: the sender takes answers in any order.
OUT_OF_ORDER = 0x01


class HeaderTooLarge(UsageError):
    """What is to travel in the header does not fit in it."""


def too_large(what: str, values: Mapping[str, str] | None) -> HeaderTooLarge:
    """The error for a header that cannot be written.

    :param values: that were to travel, by name; the largest is named.
    """
    if not values:
        return HeaderTooLarge(what)
    name, value = max(values.items(), key=lambda each: len(each[1]))
    return HeaderTooLarge(f"{what}; the largest value is {name!r}, of {len(value)}")


def malformed(what: str, offset: int) -> ThriftProtocolError:
    """The error for a header that is not one.

    :param offset: bytes from the start of the frame, its length left out.
    """
    return ThriftProtocolError(f"header: {what} at byte {offset}")
