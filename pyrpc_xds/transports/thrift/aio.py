"""The asyncio client: a drop-in for what ``thriftpy2.contrib.aio.rpc.make_client`` returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from time import monotonic
from typing import Any

from ...attachments import checked, current_attachments
from ...errors import ClosedError, DeadlineExceeded, Unavailable
from ...incoming_deadline import incoming_deadline, within
from ...resilience.deadline import shorter
from ..base import Destination, LiveEndpoint, Router, Snapshot
from .aio_connection import AioConnection
from .aio_mux_pool import AioMuxStream
from .aio_pool import AioPool
from .answer import Attempt, answer_of, reply_of
from .client import SEQUENCE, AnyPool, checked_timeout, method_named, outgoing_for
from .codec import CALL, ONEWAY
from .connection import NotSent
from .failover import Failover
from .limits import Limits, PoolLimits
from .middleware import AsyncMiddleware, chained_async
from .pool import PoolClosed
from .service import Method, Service
from .wire import Wire


class AioThriftConnector:
    """How this transport reaches endpoints from event loops: an :class:`AioPool` each."""

    def __init__(self, wire: Wire, limits: Limits, pool_limits: PoolLimits) -> None:
        self.wire = wire
        self.limits = limits
        self.pool_limits = pool_limits

    @property
    def key(self) -> tuple[Any, ...]:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        return ("thrift-aio", self.wire, self.limits, self.pool_limits)

    def connect(self, address: str) -> AioPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        return AioPool(address, self.wire, self.limits, self.pool_limits)


class AioCaller:
    """Runs the calls of one client and of all its views; the twin of :class:`.client.Caller`."""

    def __init__(
        self,
        service: Service,
        target: str,
        router: Router,
        connector: AioThriftConnector,
        workload: str = "",
        middleware: Sequence[AsyncMiddleware] = (),
    ) -> None:
        self.service = service
        self.target = target
        self.closed = False
        # Kept for as long as calls are made: it closes when it is dropped.
        self.mesh: object = None
        self.middleware = tuple(middleware)
        self._outgoing = outgoing_for(service, router, connector.wire, connector.pool_limits, workload)
        self._router = router
        self._default_timeout = connector.pool_limits.call_timeout
        self._compact = connector.wire.compact
        self._seqids = SEQUENCE if connector.pool_limits.multiplexed else count(1)

    async def call(self, method: Method, args: Any, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """See :meth:`.client.Caller.call`. A cancelled call closes the connection that it had."""
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
            raise Attempt(self.target, method, started).unavailable(error) from error
        except DeadlineExceeded as error:
            raise Attempt(self.target, method, started).late(error) from error
        pool: AnyPool = endpoint.connection.here(loop)
        connection = pool.take_idle()
        if connection is None:
            endpoint, pool, connection = await self._open(method, destination, endpoint, started, deadline)
        seqid = next(self._seqids) & 0x7FFFFFFF
        codec = connection.codec
        outgoing = self._outgoing
        try:
            request = codec.encode(method.label, ONEWAY if method.oneway else CALL, seqid, args)
            if outgoing is not None:
                request = outgoing.frame(request, method, seqid, deadline - monotonic(), headers)
        except BaseException as error:
            pool.put(connection)
            known = Attempt(self.target, method, started).unsent(error, args)
            if known is error:
                raise
            raise known from error
        schemas = method.replies[self._compact]
        try:
            try:
                data, start = await connection.exchange(request, loop_deadline, schemas, method.oneway, seqid)
            except NotSent:
                pool.discard(connection)
                endpoint, pool, connection = await self._open(
                    method, destination, endpoint, started, deadline
                )
                codec = connection.codec
                data, start = await connection.exchange(request, loop_deadline, schemas, method.oneway, seqid)
            if method.oneway:
                value = raised = None
            else:
                value, raised = answer_of(method, codec, seqid, data, start)
                if outgoing is not None:
                    raised = reply_of(connection.header, raised)
        except BaseException as error:
            pool.discard(connection)
            known = Attempt(self.target, method, started).broken(error, endpoint.address)
            if known is error:
                raise
            raise known from error
        pool.put(connection)
        endpoint.succeeded()
        if raised is not None:
            raise raised
        return value

    async def _wait(self, timeout: float | None) -> Snapshot:
        try:
            return await self._router.wait_async(timeout)
        except Unavailable:
            if self._router.closed:
                raise ClosedError(f"the client of {self.target} is closed") from None
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
        attempt = Attempt(self.target, method, started)
        failover = Failover(attempt, destination, endpoint, deadline)
        while True:
            if self.closed:
                raise ClosedError(f"the client of {self.target} is closed")
            pool: AnyPool = failover.endpoint.connection.here(loop)
            try:
                return failover.endpoint, pool, await pool.take(loop_deadline)
            except (PoolClosed, OSError) as error:
                failover.next(error)

    def close(self) -> None:
        """Stop following the target; calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self._router.close()


class AioThriftClient:
    """One coroutine method per method of the IDL; for any number of tasks, in any loop.

    The rest is as in :class:`.client.ThriftClient`; ``async with`` closes it as well.
    """

    def __init__(
        self,
        caller: AioCaller,
        timeout: float | None = None,
        attachments: Mapping[str, str] | None = None,
    ) -> None:
        self._caller = caller
        self._timeout = timeout
        self._attachments = attachments or {}

    @property
    def target(self) -> str:
        """The target that the client was made for."""
        return self._caller.target

    def with_options(
        self, *, timeout: float | None = None, attachments: Mapping[str, str] | None = None
    ) -> AioThriftClient:
        """See :meth:`.client.ThriftClient.with_options`."""
        return AioThriftClient(
            self._caller,
            self._timeout if timeout is None else checked_timeout(timeout),
            {**self._attachments, **checked(attachments or {})},
        )

    def close(self) -> None:
        """Close the client and its views; running calls finish. Calling it again does nothing."""
        self._caller.close()

    async def __aenter__(self) -> AioThriftClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
        # Closed transports let go of their sockets in the loop's next turn.
        await asyncio.sleep(0)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._caller.service.methods]

    def __repr__(self) -> str:
        state = " closed" if self._caller.closed else ""
        return f"<AioThriftClient {self._caller.service.name} of {self.target}{state}>"

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            # copy and pickle ask before there is a `_caller`.
            raise AttributeError(name)
        method = method_named(self._caller.service, name)
        if method is None:
            raise AttributeError(f"{self._caller.service.name} has no method {name!r}")
        bound = self._bind(method)
        self.__dict__[name] = bound
        return bound

    def _bind(self, method: Method) -> Callable[..., Awaitable[Any]]:
        caller, call, timeout, extra = self._caller, self._caller.call, self._timeout, self._attachments
        service, args_class, plain = caller.service.name, method.args, method.plain

        if caller.middleware:
            run = chained_async(
                caller.middleware,
                method.name,
                lambda struct: call(method, struct, timeout, {**current_attachments(), **extra}),
            )

            def invoke_through(*args: Any, **kwargs: Any) -> Awaitable[Any]:
                if caller.closed:
                    raise ClosedError(f"the client of {caller.target} is closed")
                awaitable: Awaitable[Any] = run(method.arguments_of(service, args, kwargs))
                return awaitable

            invoke_through.__name__ = invoke_through.__qualname__ = method.name
            return invoke_through

        def invoke(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            if caller.closed:
                raise ClosedError(f"the client of {caller.target} is closed")
            struct = args_class(*args, **kwargs) if plain else method.arguments_of(service, args, kwargs)
            headers = current_attachments()
            return call(method, struct, timeout, {**headers, **extra} if extra else headers)

        invoke.__name__ = invoke.__qualname__ = method.name
        return invoke
