"""Bodies of requests that are not whole yet: what a port holds of them, and what a peer may send of them.

A peer may begin many requests, send nearly all of each, and end none. What it makes the port hold is bounded twice::

    Bodies    the whole port: who brings more than there is room for is resource_exhausted
    Windows   one connection of HTTP/2: few of its requests at a time may go beyond their first 64 KiB

On the event loop of the port.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from .form import Refused, too_large

# What a peer may send of every stream before it has heard anything (RFC 9113, 6.9.2).
FIRST_WINDOW = 65_535
_LARGEST_WINDOW = (1 << 31) - 1


class Bodies:
    """What a port holds.

    :param room: bytes of all of them; never less than ``limit``.
    :param limit: bytes of one.
    :ivar held: bytes that are there.
    """

    def __init__(self, room: int, limit: int) -> None:
        self.room = max(room, limit)
        self.limit = limit
        self.held = 0


class Body:
    """What has come of one request. Lives until it is whole, refused, or given up by the peer."""

    __slots__ = ("_bodies", "_data")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        """More of it.

        :raises Refused: it is too large, or the port holds as much as it may.
        """
        bodies = self._bodies
        if len(self._data) + len(data) > bodies.limit:
            raise too_large(bodies.limit)
        if bodies.held + len(data) > bodies.room:
            raise no_room(f"the port holds {bodies.held} bytes of other requests")
        bodies.held += len(data)
        self._data += data

    def take(self) -> bytes:
        """All of it. Nothing is held any more."""
        data = bytes(self._data)
        self._bodies.held -= len(data)
        self._data.clear()
        return data

    def drop(self) -> None:
        """Hold nothing any more."""
        self._bodies.held -= len(self._data)
        self._data.clear()


def no_room(why: str) -> Refused:
    """The refusal of a body that the port cannot hold now."""
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"no room for the body of the request: {why}")


class Windows:
    """What the streams of one connection may send beyond their first window: together no more than one largest
    message. The others wait, in the order in which they asked; what they hold meanwhile is their first window.

    :param limit: bytes of one message.
    :param open: widens a stream by so many bytes.
    """

    def __init__(self, limit: int, open: Callable[[int, int], None]) -> None:
        # One byte more shows that a message is too large.
        self._most = max(min(limit + 1, _LARGEST_WINDOW) - FIRST_WINDOW, 0)
        self._free = self._most
        self._open = open
        self._opened: dict[int, int] = {}
        self._waiting: dict[int, int] = {}

    def ask(self, stream_id: int, length: int | None) -> None:
        """A stream has, or will have, more than its first window.

        :param length: bytes of its body; ``None``: it has not said.
        """
        size = self._most if length is None else min(length - FIRST_WINDOW, self._most)
        if size > 0 and stream_id not in self._opened and stream_id not in self._waiting:
            self._waiting[stream_id] = size
            self._next()

    def waits(self, stream_id: int) -> bool:
        """Whether its turn has not come."""
        return stream_id in self._waiting

    def end(self, stream_id: int) -> None:
        """A stream has sent everything, or is not listened to any more."""
        self._waiting.pop(stream_id, None)
        self._free += self._opened.pop(stream_id, 0)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            stream_id, size = next(iter(self._waiting.items()))
            if size > self._free:
                return
            del self._waiting[stream_id]
            self._opened[stream_id] = size
            self._free -= size
            self._open(stream_id, size)
