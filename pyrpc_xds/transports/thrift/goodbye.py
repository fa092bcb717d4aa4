"""A server's goodbye over TTHeader: it takes no more calls on a connection, and answers those that it has.

It is Kitex's. A server that stops says it on a connection that many calls share in a control frame: sequence id 0, the
string key ``crrst`` ("connection ready to reset") and a message that answers nothing (``pkg/remote/trans/netpollmux``;
Kitex's needs ``WithMuxTransport``). On others it puts the key into the header of the last answer, and closes the
connection behind it (``pkg/transmeta``).
"""

from __future__ import annotations

from .header import BINARY_ID, Header
from .ttheader import MAGIC, encode

CONTROL = bytes(4)
"""The sequence id of frames that belong to no call: ours begin at 1."""

_KEY = "crrst"

LAST_ANSWER = {_KEY: "1"}
"""String keys of the last answer of a connection."""

GOODBYE = encode(
    Header(0, 0, BINARY_ID, strings=LAST_ANSWER), b"\x80\x01\0\x02" + b"\0\0\0\x04none" + bytes(4) + b"\0"
)
"""The control frame, as Kitex makes it; its message is an empty reply to "none"."""

LEAVING = 0.1
"""Seconds for which a server that stops goes on, so that clients learn it from an answer or a goodbye, and not from a
connection that is closed under their call; and for which it waits then for them to close their end."""


def is_goodbye(frame: bytes, start: int) -> bool:
    """Whether a frame, of which nothing has been checked, belongs to no call and says goodbye.

    :param start: where its magic is.
    """
    if frame[start : start + 2] != MAGIC or frame[start + 4 : start + 8] != CONTROL:
        return False
    stop = start + 10 + 4 * int.from_bytes(frame[start + 8 : start + 10], "big")
    return frame.find(_KEY.encode(), start + 10, stop) >= 0


def says_goodbye(header: Header) -> bool:
    """Whether the answer with this header is the last one of its connection."""
    return header.metainfo and bool(header.strings.get(_KEY))
