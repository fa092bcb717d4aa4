"""TTHeader, Kitex's transport with headers: bytes of one frame and back. No I/O; the layout is in ``_ttheader``."""

from __future__ import annotations

from collections.abc import Mapping

from ..._ttheader import MAGIC, MOST, HeaderError, TooLarge, frame, info, read
from .errors import ThriftProtocolError
from .header import Header, HeaderTooLarge, too_large
from .limits import Limits

__all__ = ["MAGIC", "MOST", "decode", "encode", "fitting"]


def encode(header: Header, message: bytes) -> bytes:
    """One frame.

    :param message: of Thrift, without a length; one is put before it where the header says so.
    :raises HeaderTooLarge: the header has more than 65,532 bytes, or a key or value more than 65,535.
    """
    try:
        made = info(header.protocol, header.ints, header.strings, header.token)
    except Exception as error:
        raise fitting(error, header.strings) from None
    return frame(made, header.flags, header.seqid, header.framed, message)


def fitting(error: Exception, values: Mapping[str, str]) -> HeaderTooLarge:
    """The error of a header that cannot be written.

    :param values: that were to travel, by name.
    """
    why = f"what is to travel does not fit in the header; TTHeader has room for {MOST} bytes"
    return too_large(why if isinstance(error, TooLarge) else f"{why}: {error!r}", values)


def decode(frame: bytes, start: int, limits: Limits) -> tuple[Header, int]:
    """The header of a frame, and where in ``frame`` the message begins.

    :param start: where the magic is; the frame ends where ``frame`` does.
    :raises ThriftProtocolError: a length goes beyond the header, an info block is not known, there are too many
        entries, or the message has a length of its own that is not right.
    """
    try:
        header = read(frame, start, limits.header, limits.header_entries)
    except HeaderError as error:
        raise ThriftProtocolError(str(error)) from None
    return header, header.message
