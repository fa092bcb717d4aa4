"""Calls of threads among many on a connection, and those of them that are to be sent."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from .errors import ThriftProtocolError
from .frames import Frames

# Calls given up whose answers may still come. A server that owes more is not answering.
ABANDONED = 4096
# Bytes of requests that are sent at a time, unless one alone has more.
_TOGETHER = 65536


class Broken(ConnectionError):
    """The connection ended with calls in flight."""


def broken(error: Exception | None) -> Exception:
    """What a call in flight gets, of its own, for the error that ended the connection."""
    if isinstance(error, ThriftProtocolError):
        return ThriftProtocolError(error.details_text, error.type)
    if isinstance(error, OSError) and error.errno is not None:
        return Broken(error.errno, error.strerror)
    return Broken(str(error))


class MuxCall:
    """A call in flight. Guarded by the connection's lock, but for ``wake``.

    :ivar rest: what is not sent of the request.
    :ivar begun: bytes of it have left.
    :ivar leaving: whoever sends is about to send it, or a part.
    :ivar sent: all of it has left.
    :ivar wake: made at the first sleep; held while ``asleep``, released exactly once to end that.
    """

    begun = leaving = sent = asleep = False
    frame: tuple[bytes, int] | None = None
    wake: threading.Lock

    def __init__(self, request: bytes, oneway: bool) -> None:
        self.rest: bytes | memoryview = request
        self.oneway = oneway

    def left(self, count: int) -> int:
        """So many bytes of this and later calls have left; returns those of the later ones."""
        self.leaving = False
        size = len(self.rest)
        if count >= size:
            self.begun = self.sent = True
            return count - size
        if count:
            self.begun = True
            self.rest = memoryview(self.rest)[count:]
        return 0

    def lie_down(self) -> None:
        """The caller will wait for ``wake``."""
        if "wake" not in self.__dict__:
            self.wake = threading.Lock()
            self.wake.acquire()
        self.asleep = True

    def rouse(self) -> None:
        """End its sleep, if it sleeps."""
        if self.asleep:
            self.asleep = False
            self.wake.release()


class Unsent(deque[MuxCall]):
    """Calls that are not sent yet, in order; the first may be sent in part. Guarded by the connection's lock."""

    def batch(self) -> tuple[Sequence[MuxCall], bytes | memoryview]:
        """What to send next: calls from the front on, and their bytes."""
        if len(self) == 1:
            self[0].leaving = True
            return (self[0],), self[0].rest
        batch: list[MuxCall] = []
        size = 0
        for each in self:
            size += len(each.rest)
            if size > _TOGETHER and batch:
                break
            each.leaving = True
            batch.append(each)
        return batch, b"".join([each.rest for each in batch])

    def left(self, batch: Sequence[MuxCall], count: int) -> None:
        """So many bytes of a batch have left."""
        for each in batch:
            count = each.left(count)
            if each.sent:
                self.popleft()
                if each.oneway:
                    each.rouse()


def all_of(frames: Frames) -> tuple[list[tuple[bytes, int]], ThriftProtocolError | None]:
    """The frames that are whole by now, and why what follows them is refused, if it is."""
    came = []
    try:
        while (frame := frames.next()) is not None:
            came.append(frame)
    except ThriftProtocolError as error:
        return came, error
    return came, None


def sequence_id(frame: bytes, start: int) -> int:
    """Of a frame with a header."""
    return int.from_bytes(frame[start + 4 : start + 8], "big")
