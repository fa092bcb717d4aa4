"""One connection of an asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .connection import Expired, NotSent, reading
from .errors import ThriftProtocolError
from .foreign import ended
from .frames import inbox_for
from .header import Header
from .limits import Limits
from .wire import Wire


class AioConnection(asyncio.Protocol):
    """An open connection. Owned by one call at a time; aborted on any doubt about where messages begin.

    :ivar since: the loop's time of becoming idle.
    :ivar fresh: the server has neither closed it nor sent anything unasked, as far as the loop has read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire, limits: Limits) -> None:
        self.inbox = inbox_for(wire, limits)
        self.codec = self.inbox.codec
        self.since = 0.0
        self.fresh = False
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        # What the owner waits for: an answer, or that the write buffer empties.
        self._waiter: asyncio.Future[tuple[bytes, int]] | None = None
        self._schemas: Mapping[bytes, Any] | None = None
        self._paused = False
        self._writable: asyncio.Future[tuple[bytes, int]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._poll = reading(transport.get_extra_info("socket").fileno())
        self.fresh = True

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None:
            # Unasked: no later answer can be told from it.
            self.abort()
            return
        try:
            message = self.inbox.take(data, self._schemas)
        except ThriftProtocolError as error:
            self._finish(error)
            self.abort()
        else:
            if message is not None:
                self._waiter = None
                if not waiter.done():
                    waiter.set_result(message)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.fresh = False
        text = ended(self.inbox.head, self.codec.wire, self.proven)
        self._finish(exc if isinstance(exc, OSError) else EOFError(text))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result((b"", 0))

    def _finish(self, error: Exception) -> None:
        for waiter in (self._waiter, self._writable):
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        self._waiter = self._writable = None

    async def exchange(
        self,
        request: bytes,
        deadline: float,
        schemas: Mapping[bytes, Any] | None,
        oneway: bool = False,
        seqid: int = 0,
    ) -> tuple[bytes, int]:
        """See :meth:`.connection.Connection.exchange`; the deadline is of the loop's time."""
        transport = self._transport
        if not self.fresh or transport is None or transport.is_closing():
            raise NotSent(None, "the server closed the connection")
        if self._loop.time() >= deadline:
            raise Expired
        transport.write(request)
        if transport.is_closing():
            # What closes it at once is that the kernel refused the first byte.
            raise NotSent(None, "cannot send: the connection is broken")
        waiter: asyncio.Future[tuple[bytes, int]] = self._loop.create_future()
        if not oneway:
            self._waiter = waiter
            self._schemas = schemas
        elif self._paused:
            self._writable = waiter
        else:
            return b"", 0
        timer = self._loop.call_at(deadline, expire, waiter, TimeoutError, "no answer in time")
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = self._writable = None

    @property
    def proven(self) -> bool:
        """See :attr:`.connection.Connection.proven`."""
        return bool(self.since)

    def usable(self) -> bool:
        """Whether an idle connection may be used; sees also what the loop was too busy to read."""
        return self.fresh and not self._poll(0)

    @property
    def header(self) -> Header | None:
        """See :attr:`.connection.Connection.header`."""
        return self.inbox.header

    @property
    def in_step(self) -> bool:
        """See :class:`.connection.Connection`: the next bytes will be those of the next answer."""
        return self.fresh and not (self.inbox.pending or self.inbox.ended)

    def retire(self) -> None:
        """See :meth:`.connection.Connection.retire`."""
        self.fresh = False

    def abort(self) -> None:
        """Close the connection at once; calling it again does nothing."""
        self.fresh = False
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection once all that was written is sent."""
        self.fresh = False
        if self._transport is not None:
            self._transport.close()


def expire(waiter: asyncio.Future[Any], kind: type[Exception], text: str) -> None:
    """The time of who waits is over; a loop calls this then."""
    if not waiter.done():
        waiter.set_exception(kind(text))
