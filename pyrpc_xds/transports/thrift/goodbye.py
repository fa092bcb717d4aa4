"""A Kitex server's goodbye over TTHeader: it takes no more calls on a connection, and answers those that it has.

One with ``WithMuxTransport`` that stops says it in a control frame: sequence id 0, the string key ``crrst``
("connection ready to reset") and a message that answers nothing (``pkg/remote/trans/netpollmux``). Others put the key
into the header of the last answer, and close the connection behind it (``pkg/transmeta``).
"""

from __future__ import annotations

from .header import Header
from .ttheader import MAGIC

CONTROL = bytes(4)
"""The sequence id of frames that belong to no call: ours begin at 1."""

_KEY = "crrst"


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
