"""Many calls of tasks at a time on one connection, told apart by sequence id (TTHeader): the twin of :mod:`.mux`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from .codec import Codec
from .connection import NotSent
from .dial import dial_in_loop
from .errors import ThriftProtocolError
from .frames import Frames, Opener
from .header import Header
from .limits import Limits, PoolLimits
from .mux_call import ABANDONED, Broken, sequence_id
from .pool import PoolClosed, PoolFull
from .wire import Wire

# One in so many of the calls in flight: messages of more are not sent together. The two ends would otherwise work in
# turn, each waiting for the other's batch, and not at the same time.
SHARE = 8


class AioMuxConnection(asyncio.Protocol):
    """An open connection that the calls of one loop share.

    :ivar late: answers that came after their callers had gone.
    :ivar users: calls that have the connection.
    :ivar since: the loop's time of the last call's end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
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
        # Requests that go out together, by sequence id.
        self._outbox: dict[int, bytes] = {}
        # Set while the transport takes what is written.
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def usable(self) -> bool:
        """Neither broken nor leaving."""
        return self._error is None and not self._leaving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
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
        else:
            raise ThriftProtocolError(f"an answer has sequence id {seqid}, which no call waits for")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc if isinstance(exc, OSError) else Broken("the server closed the connection"))

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
                waiter.set_exception(NotSent(None, "the connection broke") if unsent else self._ended())
        self._outbox.clear()
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()

    def _ended(self) -> Exception:
        error = self._error
        if isinstance(error, ThriftProtocolError):
            return ThriftProtocolError(error.details_text, error.type)
        return Broken(getattr(error, "strerror", None) or str(error))

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
            self._flush()
            self._transport.close()

    def _send(self, seqid: int, request: bytes) -> None:
        """At once where few calls have the connection, else together with what follows in the same turn."""
        assert self._transport is not None
        together = self.users // SHARE
        if together < 2 and not self._outbox:
            self._transport.write(request)
            return
        self._outbox[seqid] = request
        if len(self._outbox) >= together:
            self._flush()
        elif len(self._outbox) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._outbox and self._transport is not None:
            data = b"".join(self._outbox.values())
            self._outbox.clear()
            self._transport.write(data)

    async def exchange(self, request: bytes, deadline: float, seqid: int, oneway: bool) -> tuple[bytes, int]:
        """See :meth:`.mux.MuxConnection.exchange`; the deadline is of the loop's time."""
        if not self._writable.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._writable.wait()
            except TimeoutError:
                raise TimeoutError("the server took nothing in time") from None
        transport = self._transport
        if self._error is not None or transport is None or transport.is_closing() or seqid in self._waiting:
            raise NotSent(None, "the connection broke")
        self._send(seqid, request)
        if oneway:
            return b"", 0
        waiter: asyncio.Future[tuple[bytes, int]] = self._loop.create_future()
        self._waiting[seqid] = waiter
        timer = self._loop.call_at(deadline, _late, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            # Also where the answer has come, and the caller was cancelled before it had it.
            if self._waiting.get(seqid) is waiter:
                del self._waiting[seqid]
                if self._outbox.pop(seqid, None) is None:
                    self._abandoned.add(seqid)
                if len(self._abandoned) > ABANDONED:
                    self.fail(Broken(f"{ABANDONED} answers are missing"))


def _late(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("no answer in time"))


class AioStream:
    """One call's part of an :class:`AioMuxConnection`: see :class:`.mux_pool.Stream`."""

    __slots__ = ("answered", "connection", "opener", "over")

    def __init__(self, connection: AioMuxConnection, opener: Opener) -> None:
        self.connection = connection
        self.opener = opener
        self.answered = False
        self.over = False
        connection.users += 1

    @property
    def codec(self) -> Codec:
        """Of this call alone."""
        return self.opener.codec

    @property
    def header(self) -> Header | None:
        """Of the answer."""
        return self.opener.header

    async def exchange(
        self,
        request: bytes,
        deadline: float,
        schemas: Mapping[bytes, Any] | None,
        oneway: bool = False,
        seqid: int = 0,
    ) -> tuple[bytes, int]:
        """See :meth:`.connection.Connection.exchange`."""
        frame = await self.connection.exchange(request, deadline, seqid, oneway)
        if oneway:
            return frame
        self.answered = True
        return self.opener.open(*frame, schemas)


class LoopMuxPool:
    """The connections of one endpoint in one loop, shared by calls: the twin of :class:`.mux_pool.MuxPool`.

    :param closed: whether the endpoint has left the mesh.
    """

    def __init__(
        self,
        address: str,
        wire: Wire,
        message_limits: Limits,
        limits: PoolLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.closed = False
        self.connections: list[AioMuxConnection] = []
        self._address = address
        self._wire = wire
        self._message_limits = message_limits
        self._limits = limits
        self._loop = loop
        self._openers: deque[Opener] = deque(maxlen=limits.idle)
        self._opening: set[asyncio.Future[None]] = set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self.connections)

    @property
    def idle(self) -> list[AioMuxConnection]:
        """Connections without calls."""
        return [each for each in self.connections if not each.users]

    def take_idle(self) -> AioStream | None:
        """See :meth:`.mux_pool.MuxPool.take_idle`."""
        if self.closed:
            return None
        now = self._loop.time()
        best: AioMuxConnection | None = None
        gone = False
        for each in self.connections:
            if not each.users and now - each.since > self._limits.idle_time:
                each.retire()
            if not each.usable:
                gone = True
            elif best is None or each.users < best.users:
                best = each
        if gone:
            self.connections = [each for each in self.connections if each.usable]
        if best is None or (best.users and self._room()):
            return None
        return self._stream(best)

    def _gone(self) -> bool:
        return self.closed

    def _room(self) -> bool:
        return len(self.connections) + len(self._opening) < self._limits.multiplexed

    def _stream(self, connection: AioMuxConnection) -> AioStream:
        opener = self._openers.pop() if self._openers else Opener(self._wire, self._message_limits)
        return AioStream(connection, opener)

    async def take(self, deadline: float) -> AioStream:
        """:param deadline: of the loop's time. Errors are those of :meth:`.pool.Pool.open`."""
        while True:
            if self.closed:
                raise PoolClosed(self._address)
            stream = self.take_idle()
            if stream is not None:
                return stream
            if self._room():
                break
            usable = [each for each in self.connections if each.usable]
            if usable:
                return self._stream(min(usable, key=lambda each: each.users))
            opening = list(self._opening)
            done, _ = await asyncio.wait(
                opening, timeout=max(0.0, deadline - self._loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise PoolFull(f"no connection to {self._address} in time")
        mark: asyncio.Future[None] = self._loop.create_future()
        self._opening.add(mark)
        try:
            limit = min(deadline, self._loop.time() + self._limits.connect_timeout)
            connection = await self._connect(limit)
        finally:
            self._opening.discard(mark)
            mark.set_result(None)
        if self._gone():
            connection.retire()
            raise PoolClosed(self._address)
        self.connections.append(connection)
        return self._stream(connection)

    async def _connect(self, deadline: float) -> AioMuxConnection:
        loop = self._loop

        def make() -> AioMuxConnection:
            return AioMuxConnection(loop, self._message_limits)

        return await dial_in_loop(loop, self._address, deadline, make)

    def put(self, stream: AioStream) -> None:
        """See :meth:`.mux_pool.MuxPool.put`."""
        if not stream.over:
            stream.over = True
            self._openers.append(stream.opener)
            stream.connection.leave()

    def discard(self, stream: AioStream) -> None:
        """See :meth:`.mux_pool.MuxPool.discard`."""
        if not stream.over:
            stream.over = True
            if stream.answered:
                stream.connection.fail(Broken("another answer on the connection was refused"))
            stream.connection.leave()

    def close_idle(self) -> None:
        """The endpoint has left: connections close when their calls are over."""
        self.closed = True
        for each in self.connections:
            each.retire()
