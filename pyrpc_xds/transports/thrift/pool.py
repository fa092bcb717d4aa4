"""The connections of a client to one endpoint, for threads."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from .connection import Connection, connect
from .fork import reset_in_child
from .learned import OtherPools
from .limits import Limits, PoolLimits
from .wire import Wire


class PoolClosed(Exception):
    """The endpoint has left the mesh, or the client is closed: nothing new starts here."""


class PoolFull(TimeoutError):
    """No connection became free in time; says nothing of the endpoint."""


class Pool:
    """Idle connections, last in first out, so that few stay in use and the rest age.

    The way without waiting takes no lock: ``deque`` operations are atomic. The lock guards what is rare:
    opening, closing, waiting.

    Set once: ``address``, ``others`` (the pools of other forms, where this is the one of the usual form). Guarded by
    ``_lock``: ``_open``, ``_opening``, ``_closed``, ``_waiting``.
    """

    def __init__(self, address: str, wire: Wire, limits: Limits, pool_limits: PoolLimits) -> None:
        self.address = address
        self._wire = wire
        self._limits = limits
        self._pool_limits = pool_limits
        self._idle_time = pool_limits.idle_time
        self._idle: deque[Connection] = deque()
        # When to look for aged ones next; two threads doing so at once are no harm.
        self._look_at = 0.0
        # Everything open, idle or not; and how many are being opened.
        self._open: set[Connection] = set()
        self._opening = 0
        self._closed = False
        self.others: OtherPools | None = None
        self._waiting = 0
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        reset_in_child(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._open)} open, {len(self._idle)} idle"
        return f"<Pool {self.address} [{self._wire}] {state}>"

    def take_idle(self) -> Connection | None:
        """An idle connection that the server has not closed, or ``None``."""
        idle = self._idle
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if monotonic() - connection.since <= self._idle_time and connection.fresh():
                return connection
            self.discard(connection)
        return None

    def open(self, deadline: float) -> Connection:
        """An idle or a new connection; waits where the limit is reached.

        :param deadline: of :func:`time.monotonic`.
        :raises PoolClosed: see there.
        :raises OSError: it could not be opened (:class:`TimeoutError`: not in time, or none became free).
        """
        with self._lock:
            while True:
                if self._closed:
                    raise PoolClosed(self.address)
                if len(self._open) + self._opening < self._pool_limits.connections:
                    self._opening += 1
                    break
                self._waiting += 1
                try:
                    # A connection put back between the caller's look and this one is not announced.
                    left = min(deadline - monotonic(), threading.TIMEOUT_MAX)
                    if not self._idle and not self._freed.wait(left):
                        raise PoolFull(
                            f"all {self._pool_limits.connections} connections to {self.address} are in use"
                        )
                finally:
                    self._waiting -= 1
                try:
                    connection = self._idle.pop()
                except IndexError:
                    continue
                if connection.fresh():
                    return connection
                self._open.discard(connection)
                connection.close()
        opened = None
        try:
            opened = connect(
                self.address,
                self._wire,
                self._limits,
                min(deadline, monotonic() + self._pool_limits.connect_timeout),
            )
        finally:
            with self._lock:
                self._opening -= 1
                if opened is None:
                    self._freed.notify()
                else:
                    self._open.add(opened)
        if self._gone():
            self.discard(opened)
            raise PoolClosed(self.address)
        return opened

    def _gone(self) -> bool:
        return self._closed

    def put(self, connection: Connection) -> None:
        """Give a connection back after a whole answer."""
        idle = self._idle
        if (
            self._closed
            or not connection.in_step
            or (len(idle) >= self._pool_limits.idle and not self._waiting)
        ):
            self.discard(connection)
            return
        connection.since = now = monotonic()
        idle.append(connection)
        if self._waiting:
            with self._lock:
                self._freed.notify()
        if self._gone():
            # Drained since the look above.
            self._close_idle()
        elif now >= self._look_at:
            self._look_at = now + self._idle_time / 2
            self._close_aged(now)

    def discard(self, connection: Connection) -> None:
        """Close a connection that must not be used again."""
        connection.close()
        with self._lock:
            self._open.discard(connection)
            if self._waiting:
                self._freed.notify()

    def drain(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.drain`."""
        if self.others is not None:
            self.others.drain()
        with self._lock:
            self._closed = True
            self._freed.notify_all()
        self._close_idle()

    def close(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.close`; running calls fail at once."""
        self.drain()
        if self.others is not None:
            self.others.close()
        with self._lock:
            running = list(self._open)
        for connection in running:
            connection.interrupt()

    def _close_idle(self) -> None:
        while True:
            try:
                self.discard(self._idle.pop())
            except IndexError:
                return

    def _close_aged(self, now: float) -> None:
        while True:
            try:
                connection = self._idle.popleft()
            except IndexError:
                return
            if now - connection.since <= self._idle_time:
                self._idle.appendleft(connection)
                return
            self.discard(connection)

    def after_fork(self) -> None:
        """See :class:`.fork.Forkable`."""
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._open = set()
        self._idle.clear()
        self._opening = self._waiting = 0
