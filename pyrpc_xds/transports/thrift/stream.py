"""One call's part of a connection that calls share, and what a pool of such connections does with those parts.

For threads (:mod:`.mux_pool`) and for loops (:mod:`.aio_mux_pool`).
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from .codec import Codec
from .frames import Opener
from .header import Header
from .limits import Limits
from .mux_call import Broken
from .wire import Wire


class Shared(Protocol):
    """A connection that calls share.

    :ivar heard: something has come on it.
    """

    heard: bool

    def leave(self) -> None:
        """The call is over."""

    def parted(self) -> None:
        """The server has said goodbye: those calls finish that it may have, all others go elsewhere."""

    def fail(self, error: Exception) -> None:
        """End the connection under the calls that have it; they learn why."""


C = TypeVar("C", bound=Shared)


class Stream(Generic[C]):
    """One call's part of a connection, to be used as a connection of its own is.

    :ivar answered: the answer has come, if it is one.
    :ivar over: the pool has it back.
    """

    __slots__ = ("answered", "connection", "opener", "over")

    def __init__(self, connection: C, opener: Opener) -> None:
        self.connection = connection
        self.opener = opener
        self.answered = False
        self.over = False

    @property
    def codec(self) -> Codec:
        """Of this call alone."""
        return self.opener.codec

    @property
    def header(self) -> Header | None:
        """Of the answer."""
        return self.opener.header

    @property
    def proven(self) -> bool:
        """See :attr:`.connection.Connection.proven`."""
        return self.connection.heard

    def retire(self) -> None:
        """See :meth:`.connection.Connection.retire`."""
        self.connection.parted()


class StreamPool(Generic[C]):
    """The half of a pool that has nothing to do with connecting and waiting.

    :param idle: openers kept.
    """

    def __init__(self, wire: Wire, limits: Limits, idle: int) -> None:
        self._wire = wire
        self._limits = limits
        # Left by calls that ended well; what takes messages apart belongs to one call at a time.
        self._openers: deque[Opener] = deque(maxlen=idle)

    def _opener(self) -> Opener:
        try:
            return self._openers.pop()
        except IndexError:
            return Opener(self._wire, self._limits)

    def put(self, stream: Stream[C]) -> None:
        """The call has its answer, or nothing of it was sent."""
        if not stream.over:
            stream.over = True
            self._openers.append(stream.opener)
            stream.connection.leave()

    def discard(self, stream: Stream[C]) -> None:
        """The call failed. Where its answer was wrong, so is the connection."""
        if not stream.over:
            stream.over = True
            if stream.answered:
                stream.connection.fail(Broken("another answer on the connection was refused"))
            stream.connection.leave()
