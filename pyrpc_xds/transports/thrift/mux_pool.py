"""The connections of a client to one endpoint that calls of threads share (:mod:`.mux`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import copy
from time import monotonic
from typing import Any

from .connection import connect
from .fork import reset_in_child
from .learned import OtherPools
from .limits import Limits, PoolLimits
from .mux import MuxConnection
from .mux_call import Broken
from .pool import PoolClosed, PoolFull
from .stream import Stream, StreamPool
from .wire import Wire


class MuxStream(Stream[MuxConnection]):
    """See :class:`.stream.Stream`."""

    __slots__ = ()

    def exchange(
        self,
        request: bytes,
        deadline: float,
        schemas: Mapping[bytes, Any] | None,
        oneway: bool = False,
        seqid: int = 0,
    ) -> tuple[bytes, int]:
        """See :meth:`.connection.Connection.exchange`."""
        frame = self.connection.exchange(request, deadline, seqid, oneway)
        if oneway:
            return frame
        self.answered = True
        return self.opener.open(*frame, schemas)


class MuxPool(StreamPool[MuxConnection]):
    """The connections of a client to one endpoint, shared by calls: :class:`.pool.Pool` for multiplexing.

    Set once: ``others``, as of :class:`.pool.Pool`. Guarded by ``_lock``: everything that changes but ``_openers``.
    """

    def __init__(self, address: str, wire: Wire, limits: Limits, pool_limits: PoolLimits) -> None:
        super().__init__(wire, limits, pool_limits.idle)
        self.address = address
        self.others: OtherPools | None = None
        self._pool_limits = pool_limits
        self._connections: tuple[MuxConnection, ...] = ()
        self._opening = 0
        # Why the last one that could not be opened could not.
        self._failure: OSError | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._opened = threading.Condition(self._lock)
        reset_in_child(self)

    def __repr__(self) -> str:
        users = sum(each.users for each in self._connections)
        state = "closed" if self._closed else f"{len(self._connections)} open, {users} calls"
        return f"<MuxPool {self.address} [{self._wire}] {state}>"

    @property
    def late(self) -> int:
        """Answers that came after their callers had gone, on the connections that are open."""
        return sum(each.late for each in self._connections)

    def take_idle(self) -> MuxStream | None:
        """A part of an open connection; ``None``: there is none, or one more should be opened."""
        if self._closed:
            return None
        connections = self._connections
        now = monotonic()
        best: MuxConnection | None = None
        for each in connections:
            if not each.users and now - each.since > self._pool_limits.idle_time:
                each.retire()
            if each.usable and (best is None or each.users < best.users):
                best = each
        if best is None or (best.users and len(connections) + self._opening < self._pool_limits.multiplexed):
            return None
        return self._stream(best)

    def _stream(self, connection: MuxConnection) -> MuxStream | None:
        return MuxStream(connection, self._opener()) if connection.join() else None

    def open(self, deadline: float) -> MuxStream:
        """See :meth:`.pool.Pool.open`. Who waits for a connection that another caller opens shares its failure."""
        before = self._failure
        while True:
            with self._lock:
                if self._closed:
                    raise PoolClosed(self.address)
                self._connections = tuple(each for each in self._connections if each.usable)
                if not self._connections and self._failure is not None and self._failure is not before:
                    raise copy(self._failure)
                if len(self._connections) + self._opening < self._pool_limits.multiplexed:
                    self._opening += 1
                    break
                left = min(deadline - monotonic(), threading.TIMEOUT_MAX)
                if not self._connections and not self._opened.wait(left):
                    raise PoolFull(f"no connection to {self.address} in time")
                connections = self._connections
            for each in sorted(connections, key=lambda each: each.users):
                stream = self._stream(each)
                if stream is not None:
                    return stream
        made = None
        limit = min(deadline, monotonic() + self._pool_limits.connect_timeout)
        try:
            made = MuxConnection(connect(self.address, self._wire, self._limits, limit), self._limits)
            made.join()
        except OSError as error:
            # That the time of a caller in a hurry is over says nothing to the others.
            if monotonic() < deadline:
                with self._lock:
                    self._failure = copy(error)
            raise
        finally:
            with self._lock:
                self._opening -= 1
                if made is not None:
                    self._connections = (*self._connections, made)
                self._opened.notify_all()
        if self._gone():
            made.retire()
            made.leave()
            raise PoolClosed(self.address)
        return MuxStream(made, self._opener())

    def _gone(self) -> bool:
        return self._closed

    def drain(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.drain`."""
        if self.others is not None:
            self.others.drain()
        with self._lock:
            self._closed = True
            connections = self._connections
            self._opened.notify_all()
        for each in connections:
            each.retire()

    def close(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.close`; running calls fail at once."""
        self.drain()
        if self.others is not None:
            self.others.close()
        for each in self._connections:
            each.fail(Broken("the client was closed"))

    def after_fork(self) -> None:
        """See :class:`.fork.Forkable`."""
        self._lock = threading.Lock()
        self._opened = threading.Condition(self._lock)
        self._connections = ()
        self._opening = 0
