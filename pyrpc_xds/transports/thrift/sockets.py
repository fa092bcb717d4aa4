"""What servers ask of the kernel for one accepted connection: options of a socket, or of a transport's."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

# On, for 0 seconds.
_RESET = struct.pack("ii", 1, 0)
_CORK = getattr(socket, "TCP_CORK", None)


def cork(sock: Any, on: bool) -> None:
    """Have the kernel keep back the end of what is sent, for 0.2 s at most, so that what follows goes out with it: a
    client learns that a connection ends in the moment in which it has its answer. Only Linux can.
    """
    if _CORK is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _CORK, on)


def reset_on_close(sock: Any) -> None:
    """Let the kernel keep nothing for a client that does not read what it has already."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
