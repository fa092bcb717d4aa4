"""Many calls of tasks at a time on one connection, told apart by sequence id (TTHeader): the twin of :mod:`.mux`."""

from __future__ import annotations

import asyncio
from typing import cast

from .aio_connection import expire
from .connection import Expired, NotSent, reading
from .errors import ThriftProtocolError
from .frames import Frames
from .goodbye import is_goodbye
from .limits import Limits
from .mux_call import ABANDONED, Broken, broken, sequence_id
from .outbox import Outbox


class AioMuxConnection(asyncio.Protocol):
    """An open connection that the calls of one loop share.

    :ivar heard: something has come on it.
    :ivar late: answers that came after their callers had gone.
    :ivar users: calls that have the connection.
    :ivar since: the loop's time of the last call's end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.heard = False
        self.late = 0
        self.users = 0
        self.since = loop.time()
        self._loop = loop
        self._frames = Frames(limits)
        self._waiting: dict[int, asyncio.Future[tuple[bytes, int]]] = {}
        self._abandoned: set[int] = set()
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        self._leaving = False
        # The server has said goodbye; `_leaving` as well then.
        self._parted = False
        # Made with the transport. Its keys are sequence ids.
        self._outbox: Outbox = None  # type: ignore[assignment]
        # Set while the transport takes what is written.
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def usable(self) -> bool:
        """Neither broken nor leaving."""
        return self._error is None and not self._leaving

    @property
    def unread(self) -> bool:
        """Something has come that the loop has not read yet: the end, a goodbye, an answer that is late."""
        return self.usable and bool(self._poll(0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast(asyncio.Transport, transport)
        self._poll = reading(stream.get_extra_info("socket").fileno())
        self._outbox = Outbox(self._loop, stream)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        try:
            self._frames.feed(data)
            while True:
                frame = self._frames.next()
                if frame is None:
                    return
                self._deliver(sequence_id(*frame), frame)
        except ThriftProtocolError as error:
            self.fail(error)

    def _deliver(self, seqid: int, frame: tuple[bytes, int]) -> None:
        waiter = self._waiting.pop(seqid, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(frame)
        elif waiter is not None or seqid in self._abandoned:
            self._abandoned.discard(seqid)
            self.late += 1
        elif is_goodbye(*frame):
            self.parted()
        else:
            raise ThriftProtocolError(f"an answer has sequence id {seqid}, which no call waits for")

    def eof_received(self) -> bool:
        self.fail(Broken("the server closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc if isinstance(exc, OSError) else Broken("the connection was closed"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def fail(self, error: Exception) -> None:
        """End the connection under the calls that have it; they learn why."""
        if self._error is None:
            self._error = error
        waiting, self._waiting = self._waiting, {}
        for seqid, waiter in waiting.items():
            if not waiter.done():
                unsent = seqid in self._outbox
                waiter.set_exception(self._not_sent() if unsent else broken(self._error))
        self._outbox.clear()
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()

    def join(self) -> None:
        """A call begins to use it. :meth:`leave` must follow."""
        self.users += 1

    def leave(self) -> None:
        """The call is over."""
        self.users -= 1
        self.since = self._loop.time()
        self._close_if_unused()

    def retire(self) -> None:
        """Take no more calls, and close once those that run are over."""
        self._leaving = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._leaving and not self.users and self._transport is not None:
            # Oneway calls may still be here or in its buffer.
            self._outbox.flush()
            self._transport.close()

    def parted(self) -> None:
        """See :meth:`.stream.Shared.parted`."""
        self._parted = self._leaving = True
        for seqid in [each for each in self._waiting if self._outbox.take_back(each)]:
            waiter = self._waiting.pop(seqid)
            if not waiter.done():
                waiter.set_exception(self._not_sent())
        # Who waits to send need not.
        self._writable.set()
        self._close_if_unused()

    def _not_sent(self) -> NotSent:
        return NotSent(None, "the server said goodbye" if self._parted else "the connection broke")

    async def exchange(self, request: bytes, deadline: float, seqid: int, oneway: bool) -> tuple[bytes, int]:
        """See :meth:`.mux.MuxConnection.exchange`; the deadline is of the loop's time."""
        if not self._writable.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._writable.wait()
            except TimeoutError:
                raise TimeoutError("the server took nothing in time") from None
        transport = self._transport
        if self._error is not None or self._parted or seqid in self._waiting:
            raise self._not_sent()
        if transport is None or transport.is_closing():
            raise self._not_sent()
        if self._loop.time() >= deadline:
            raise Expired
        self._outbox.send(seqid, request, self.users)
        if transport.is_closing():
            # See :meth:`.aio_connection.AioConnection.exchange`.
            raise self._not_sent()
        if oneway:
            return b"", 0
        waiter: asyncio.Future[tuple[bytes, int]] = self._loop.create_future()
        self._waiting[seqid] = waiter
        timer = self._loop.call_at(deadline, expire, waiter, TimeoutError, "no answer in time")
        try:
            return await waiter
        finally:
            timer.cancel()
            # Also where the answer has come, and the caller was cancelled before it had it.
            if self._waiting.get(seqid) is waiter:
                del self._waiting[seqid]
                if not self._outbox.take_back(seqid):
                    self._abandoned.add(seqid)
                if len(self._abandoned) > ABANDONED:
                    self.fail(Broken(f"{ABANDONED} answers are missing"))
