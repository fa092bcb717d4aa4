"""The connections of asyncio clients to one endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from .aio_connection import AioConnection, expire
from .aio_mux_pool import LoopMuxPool
from .dial import P, dial_in_loop
from .fork import reset_in_child
from .learned import OtherPools
from .limits import Limits, PoolLimits
from .pool import PoolClosed, PoolFull
from .wire import Wire


class LoopPool:
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
        """See :meth:`.pool.Pool.take_idle`."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if self._loop.time() - connection.since <= self._pool.limits.idle_time and connection.usable():
                return connection
            self.discard(connection)
        return None

    async def take(self, deadline: float) -> AioConnection:
        """:param deadline: of the loop's time. Errors are those of :meth:`.pool.Pool.open`."""
        while True:
            self._pool.check()
            connection = self.take_idle()
            if connection is not None:
                return connection
            if self.open < self._pool.limits.connections:
                break
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            text = f"all {self._pool.limits.connections} connections to {self._pool.address} are in use"
            timer = self._loop.call_at(deadline, expire, waiter, PoolFull, text)
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
            connection = await self._pool.dial(self._loop, deadline, self._make)
        except BaseException:
            self._gone()
            raise
        try:
            self._pool.check()
        except PoolClosed:
            self.discard(connection)
            raise
        return connection

    def _make(self) -> AioConnection:
        return AioConnection(self._loop, self._pool.wire, self._pool.message_limits)

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
        """The endpoint has left: connections close when their calls are over, and nobody waits for one."""
        while self.idle:
            # A oneway call may still be in its buffer.
            self.idle.pop().close()
            self._gone()
        while self._waiters:
            self._wake()


class AioPool:
    """The connections of asyncio clients to one endpoint, in any number of loops.

    Set once: ``address``, ``limits``, ``others`` (as of :class:`.pool.Pool`). ``closed`` is set by any thread, once;
    loops read it.
    """

    def __init__(self, address: str, wire: Wire, message_limits: Limits, limits: PoolLimits) -> None:
        self.address = address
        self.wire = wire
        self.message_limits = message_limits
        self.limits = limits
        self.others: OtherPools | None = None
        self.closed = False
        self._lock = threading.Lock()
        # Changed under _lock, read without. What belongs to closed loops goes when another loop comes.
        self._loops: dict[asyncio.AbstractEventLoop, LoopPool | LoopMuxPool] = {}
        # Of the parent's loops, in a forked child.
        self._inherited: list[object] = []
        reset_in_child(self)

    def __repr__(self) -> str:
        with self._lock:
            pools = list(self._loops.values())
        numbers = f"{sum(each.open for each in pools)} open, {sum(len(each.idle) for each in pools)} idle"
        return f"<AioPool {self.address} [{self.wire}] {'closed' if self.closed else numbers}>"

    def here(self, loop: asyncio.AbstractEventLoop) -> LoopPool | LoopMuxPool:
        """The part that belongs to ``loop``."""
        pool = self._loops.get(loop)
        if pool is None:
            with self._lock:
                for each in [each for each in self._loops if each.is_closed()]:
                    del self._loops[each]
                made = LoopMuxPool(self, loop) if self.limits.multiplexed else LoopPool(self, loop)
                pool = self._loops.setdefault(loop, made)
        return pool

    def check(self) -> None:
        """:raises PoolClosed: nothing new starts here."""
        if self.closed:
            raise PoolClosed(self.address)

    async def dial(self, loop: asyncio.AbstractEventLoop, deadline: float, make: Callable[[], P]) -> P:
        """Open a connection within the pool's time for it; see :func:`.dial.dial_in_loop`."""
        limit = min(deadline, loop.time() + self.limits.connect_timeout)
        return await dial_in_loop(loop, self.address, limit, make)

    @property
    def late(self) -> int:
        """See :attr:`.mux_pool.MuxPool.late`."""
        pools = [each for each in list(self._loops.values()) if isinstance(each, LoopMuxPool)]
        return sum(connection.late for each in pools for connection in each.connections)

    def drain(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.drain`; from any thread."""
        if self.others is not None:
            self.others.drain()
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
