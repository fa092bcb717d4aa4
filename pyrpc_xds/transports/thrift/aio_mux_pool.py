"""The connections of one endpoint that calls of tasks share (:mod:`.aio_mux`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from .aio_mux import AioMuxConnection
from .pool import PoolClosed, PoolFull
from .stream import Stream, StreamPool

if TYPE_CHECKING:
    from .aio_pool import AioPool


class AioMuxStream(Stream[AioMuxConnection]):
    """See :class:`.stream.Stream`."""

    __slots__ = ()

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


class LoopMuxPool(StreamPool[AioMuxConnection]):
    """The connections of one endpoint in one loop, shared by calls: the twin of :class:`.mux_pool.MuxPool`."""

    def __init__(self, pool: AioPool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(pool.wire, pool.message_limits, pool.limits.idle)
        self.connections: list[AioMuxConnection] = []
        self._pool = pool
        self._loop = loop
        # Each ends with why its connection could not be opened, for those who wait for it.
        self._opening: set[asyncio.Future[OSError | None]] = set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self.connections)

    @property
    def idle(self) -> list[AioMuxConnection]:
        """Connections without calls."""
        return [each for each in self.connections if not each.users]

    def take_idle(self) -> AioMuxStream | None:
        """See :meth:`.mux_pool.MuxPool.take_idle`."""
        if self._pool.closed:
            return None
        now = self._loop.time()
        best: AioMuxConnection | None = None
        gone = False
        for each in self.connections:
            if not each.users and now - each.since > self._pool.limits.idle_time:
                each.retire()
            if not each.usable:
                gone = True
            elif best is None or each.users < best.users:
                best = each
        if gone:
            self.connections = [each for each in self.connections if each.usable]
        if best is None or (self._room() if best.users else best.unread):
            return None
        return self._stream(best)

    def _room(self) -> bool:
        return len(self.connections) + len(self._opening) < self._pool.limits.multiplexed

    def _stream(self, connection: AioMuxConnection) -> AioMuxStream:
        connection.join()
        return AioMuxStream(connection, self._opener())

    def _make(self) -> AioMuxConnection:
        return AioMuxConnection(self._loop, self._limits)

    async def take(self, deadline: float) -> AioMuxStream:
        """:param deadline: of the loop's time. Errors are those of :meth:`.mux_pool.MuxPool.open`."""
        while True:
            self._pool.check()
            while any(each.unread for each in self.connections if not each.users):
                # The loop was busy, and reads it in its next turns.
                await asyncio.sleep(0)
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
                raise PoolFull(f"no connection to {self._pool.address} in time")
            failure = done.pop().result()
            if failure is not None and not any(each.usable for each in self.connections):
                raise copy(failure)
        mark: asyncio.Future[OSError | None] = self._loop.create_future()
        self._opening.add(mark)
        failure = None
        try:
            connection = await self._pool.dial(self._loop, deadline, self._make)
        except OSError as error:
            # That the time of a caller in a hurry is over says nothing to the others.
            if self._loop.time() < deadline:
                failure = copy(error)
            raise
        finally:
            self._opening.discard(mark)
            mark.set_result(failure)
        try:
            self._pool.check()
        except PoolClosed:
            connection.retire()
            raise
        self.connections.append(connection)
        return self._stream(connection)

    def close_idle(self) -> None:
        """The endpoint has left: connections close when their calls are over."""
        for each in self.connections:
            each.retire()
