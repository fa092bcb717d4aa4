"""The asyncio client: a drop-in for what ``thriftpy2.contrib.aio.rpc.make_client`` returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from time import monotonic
from typing import Any

from ...errors import DeadlineExceeded, Unavailable
from ...incoming_deadline import incoming_deadline, within
from ...resilience.deadline import shorter
from ..base import Destination, LiveEndpoint, Snapshot
from .aio_connection import AioConnection
from .aio_mux_pool import AioMuxStream
from .answer import answer_of, hung_up, reply_of
from .caller import BaseCaller
from .client import AnyPool
from .codec import CALL, ONEWAY
from .connection import Expired, NotSent
from .failover import Failover
from .pool import PoolClosed
from .service import Method
from .stub import Stub


class AioCaller(BaseCaller):
    """See :class:`.caller.BaseCaller`."""

    async def call(self, method: Method, args: Any, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """See :meth:`.caller.BaseCaller.call`. A cancelled call closes the connection that it had."""
        started = monotonic()
        loop = asyncio.get_running_loop()
        until = incoming_deadline()
        try:
            if until is not None:
                within(timeout)
            snapshot = self._router.snapshot
            if snapshot is None:
                snapshot = await self._wait(within(timeout))
            destination = snapshot.route(method.path, headers)
            seconds = shorter(destination, timeout)
            # Both clocks are monotonic; they need not have the same zero.
            deadline = started + (self._default_timeout if seconds is None else seconds)
            if until is not None and until < deadline:
                deadline = until
            loop_deadline = deadline - monotonic() + loop.time()
            endpoint: LiveEndpoint = destination.cluster.pick()
        except Unavailable as error:
            raise self._attempt(method, started).unavailable(error) from error
        except DeadlineExceeded as error:
            raise self._attempt(method, started).late(error) from error
        pools: AnyPool = endpoint.connection
        if destination.cluster.thrift_forms is not None:
            pools = self._pool(destination, endpoint)
        pool: AnyPool = pools.here(loop)
        connection = pool.take_idle()
        if connection is None:
            endpoint, pool, connection = await self._open(method, destination, endpoint, started, deadline)
        seqid = next(self._seqids) & 0x7FFFFFFF
        codec = connection.codec
        outgoing = self._outgoing if codec.wire is self._wire else self._outgoing_of(codec.wire)
        try:
            request = codec.encode(method.label, ONEWAY if method.oneway else CALL, seqid, args)
            if len(request) > self._longest:
                raise self._too_long(method, len(request))
            if outgoing is not None:
                request = outgoing.frame(request, method, seqid, deadline - monotonic(), headers)
        except BaseException as error:
            pool.put(connection)
            known = self._attempt(method, started).unsent(error, args)
            if known is error:
                raise
            raise known from error
        schemas = method.replies[codec.compact]
        try:
            try:
                data, start = await connection.exchange(request, loop_deadline, schemas, method.oneway, seqid)
            except NotSent:
                pool.discard(connection)
                endpoint, pool, connection = await self._open(
                    method, destination, endpoint, started, deadline
                )
                before, codec = codec, connection.codec
                if codec.wire is not before.wire:
                    left = deadline - monotonic()
                    request, outgoing = self._encoded_again(codec, method, seqid, args, left, headers)
                    schemas = method.replies[codec.compact]
                data, start = await connection.exchange(request, loop_deadline, schemas, method.oneway, seqid)
            if method.oneway:
                value = raised = None
            else:
                value, raised = answer_of(method, codec, seqid, data, start)
                if outgoing is not None:
                    raised = reply_of(connection, raised)
        except Expired as error:
            pool.put(connection)
            raise self._attempt(method, started).late(error, endpoint.address) from error
        except BaseException as error:
            pool.discard(connection)
            if hung_up(error, connection.proven):
                endpoint.failed()
            known = self._attempt(method, started).broken(error, endpoint.address)
            if known is error:
                raise
            raise known from error
        pool.put(connection)
        if not method.oneway:
            endpoint.succeeded()
        if raised is not None:
            raise raised
        return value

    async def _wait(self, timeout: float | None) -> Snapshot:
        try:
            return await self._router.wait_async(timeout)
        except Unavailable:
            if self._router.closed:
                raise self._closed_error() from None
            raise

    async def _open(
        self,
        method: Method,
        destination: Destination,
        endpoint: LiveEndpoint,
        started: float,
        deadline: float,
    ) -> tuple[LiveEndpoint, AnyPool, AioConnection | AioMuxStream]:
        """See :meth:`.client.Caller._open`."""
        loop = asyncio.get_running_loop()
        loop_deadline = deadline - monotonic() + loop.time()
        failover = Failover(self._attempt(method, started), destination, endpoint, deadline)
        while True:
            self.check()
            pool: AnyPool = self._pool(destination, failover.endpoint).here(loop)
            try:
                return failover.endpoint, pool, await pool.take(loop_deadline)
            except (PoolClosed, OSError) as error:
                failover.next(error)


class AioThriftClient(Stub[Awaitable[Any]]):
    """One coroutine method per method of the IDL; for any number of tasks, in any loop.

    The rest is as in :class:`.client.ThriftClient`; ``async with`` closes it as well.
    """

    async def __aenter__(self) -> AioThriftClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
        # Closed transports let go of their sockets in the loop's next turn.
        await asyncio.sleep(0)
