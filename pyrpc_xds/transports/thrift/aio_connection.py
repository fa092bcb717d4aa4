"""One connection of an asyncio client, and the connections of one endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from .aio_mux import LoopMuxPool
from .connection import NotSent
from .dial import dial_in_loop
from .errors import ThriftProtocolError
from .foreign import hint
from .fork import reset_in_child
from .frames import inbox_for
from .header import Header
from .limits import Limits, PoolLimits
from .pool import PoolClosed, PoolFull
from .wire import Wire


class AioConnection(asyncio.Protocol):
    """An open connection. Owned by one call at a time; aborted on any doubt about where messages begin.

    :ivar since: the loop's time of becoming idle.
    :ivar fresh: it may be used: the server has neither closed it nor sent anything unasked.
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
        ended = EOFError(f"the server closed the connection{hint(self.inbox.head)}")
        self._finish(exc if isinstance(exc, OSError) else ended)

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
        waiter: asyncio.Future[tuple[bytes, int]] = self._loop.create_future()
        if not oneway:
            self._waiter = waiter
            self._schemas = schemas
        transport.write(request)
        if oneway:
            if not self._paused:
                return b"", 0
            self._writable = waiter
        timer = self._loop.call_at(deadline, _late, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = self._writable = None

    @property
    def header(self) -> Header | None:
        """See :attr:`.connection.Connection.header`."""
        return self.inbox.header

    @property
    def in_step(self) -> bool:
        """Nothing follows the answer: the next bytes will be those of the next answer."""
        return self.fresh and not self.inbox.pending

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


def _late(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("no answer in time"))


class _LoopPool:
    """The connections of one endpoint in one loop; used in that loop only, so nothing is locked.

    What changes here changes between awaits: a cancelled call finds it as it left it.
    """

    def __init__(self, pool: AioPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self.idle: list[AioConnection] = []
        self.open = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def take_idle(self) -> AioConnection | None:
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.fresh and self._loop.time() - connection.since <= self._pool.limits.idle_time:
                return connection
            self.discard(connection)
        return None

    async def take(self, deadline: float) -> AioConnection:
        """:param deadline: of the loop's time. Errors are those of :meth:`.pool.Pool.open`."""
        while True:
            self._check()
            connection = self.take_idle()
            if connection is not None:
                return connection
            if self.open < self._pool.limits.connections:
                break
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            timer = self._loop.call_at(deadline, _full, waiter, self._pool)
            try:
                await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    # Woken and cancelled at once: the place is the next one's.
                    self._wake()
                raise
            finally:
                timer.cancel()
        self.open += 1
        try:
            limit = min(deadline, self._loop.time() + self._pool.limits.connect_timeout)
            connection = await self._connect(limit)
        except BaseException:
            self._gone()
            raise
        try:
            self._check()
        except PoolClosed:
            self.discard(connection)
            raise
        return connection

    def _check(self) -> None:
        if self._pool.closed:
            raise PoolClosed(self._pool.address)

    async def _connect(self, deadline: float) -> AioConnection:
        loop, pool = self._loop, self._pool

        def make() -> AioConnection:
            return AioConnection(loop, pool.wire, pool.message_limits)

        return await dial_in_loop(loop, pool.address, deadline, make)

    def put(self, connection: AioConnection) -> None:
        """See :meth:`.pool.Pool.put`."""
        limits = self._pool.limits
        surplus = len(self.idle) >= limits.idle and not self._waiters
        if self._pool.closed or not connection.in_step or surplus:
            self.discard(connection)
            return
        connection.since = now = self._loop.time()
        self.idle.append(connection)
        self._wake()
        while now - self.idle[0].since > limits.idle_time:
            self.discard(self.idle.pop(0))

    def discard(self, connection: AioConnection) -> None:
        """See :meth:`.pool.Pool.discard`."""
        connection.abort()
        self._gone()

    def _gone(self) -> None:
        self.open -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def close_idle(self) -> None:
        while self.idle:
            # A oneway call may still be in its buffer.
            self.idle.pop().close()
            self._gone()
        while self._waiters:
            self._wake()


def _full(waiter: asyncio.Future[None], pool: AioPool) -> None:
    if not waiter.done():
        waiter.set_exception(
            PoolFull(f"all {pool.limits.connections} connections to {pool.address} are in use")
        )


class AioPool:
    """The connections of asyncio clients to one endpoint, in any number of loops.

    Set once: ``address``, ``limits``. ``closed`` is set by any thread, once; loops read it.
    """

    def __init__(self, address: str, wire: Wire, message_limits: Limits, limits: PoolLimits) -> None:
        self.address = address
        self.wire = wire
        self.message_limits = message_limits
        self.limits = limits
        self.closed = False
        self._lock = threading.Lock()
        # Changed under _lock, read without. What belongs to closed loops goes when another loop comes.
        self._loops: dict[asyncio.AbstractEventLoop, _LoopPool | LoopMuxPool] = {}
        # Of the parent's loops, in a forked child.
        self._inherited: list[object] = []
        reset_in_child(self)

    def __repr__(self) -> str:
        with self._lock:
            pools = list(self._loops.values())
        numbers = f"{sum(each.open for each in pools)} open, {sum(len(each.idle) for each in pools)} idle"
        return f"<AioPool {self.address} [{self.wire}] {'closed' if self.closed else numbers}>"

    def here(self, loop: asyncio.AbstractEventLoop) -> _LoopPool | LoopMuxPool:
        """The part that belongs to ``loop``."""
        pool = self._loops.get(loop)
        if pool is None:
            with self._lock:
                for each in [each for each in self._loops if each.is_closed()]:
                    del self._loops[each]
                pool = self._loops.setdefault(loop, self._make(loop))
        return pool

    def _make(self, loop: asyncio.AbstractEventLoop) -> _LoopPool | LoopMuxPool:
        if not self.limits.multiplexed:
            return _LoopPool(self, loop)
        made = LoopMuxPool(self.address, self.wire, self.message_limits, self.limits, loop)
        made.closed = self.closed
        return made

    @property
    def late(self) -> int:
        """See :attr:`.mux_pool.MuxPool.late`."""
        pools = [each for each in list(self._loops.values()) if isinstance(each, LoopMuxPool)]
        return sum(connection.late for each in pools for connection in each.connections)

    def drain(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.drain`; from any thread."""
        self.closed = True
        with self._lock:
            loops = list(self._loops.items())
        for loop, pool in loops:
            if loop is _running_loop():
                pool.close_idle()
                continue
            try:
                loop.call_soon_threadsafe(pool.close_idle)
            except RuntimeError:
                # The loop is closed, and its transports with it.
                pass

    close = drain

    def after_fork(self) -> None:
        """See :class:`.fork.Forkable`."""
        self._lock = threading.Lock()
        # Kept for good: a loop that nothing refers to closes itself, and that would take from the selector, which it
        # shares with the parent's, what the parent waits for.
        self._inherited.append(self._loops)
        self._loops = {}


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
