"""The client for threads: a drop-in for what ``thriftpy2.rpc.make_client`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from time import monotonic
from typing import Any

from ...arguments import SECONDS, require
from ...attachments import checked, current_attachments
from ...errors import ClosedError, DeadlineExceeded, Unavailable
from ...incoming_deadline import incoming_deadline, within
from ...resilience.deadline import shorter
from ..base import Destination, LiveEndpoint, Router, Snapshot
from .answer import Attempt, answer_of, reply_of
from .codec import CALL, ONEWAY
from .connection import Connection, NotSent
from .failover import Failover
from .limits import Limits, PoolLimits
from .middleware import Middleware, chained
from .mux_pool import MuxPool, MuxStream
from .outgoing import Outgoing
from .pool import Pool, PoolClosed
from .service import Method, Service
from .wire import Wire

# A pool is given back what it gave: the two kinds of each do not mix.
AnyPool = Any
AnyConnection = Connection | MuxStream


# For connections that calls share, those of other clients of the endpoint included.
SEQUENCE = count(1)


class ThriftConnector:
    """How this transport reaches endpoints from threads: a :class:`Pool` each."""

    def __init__(self, wire: Wire, limits: Limits, pool_limits: PoolLimits) -> None:
        self.wire = wire
        self.limits = limits
        self.pool_limits = pool_limits

    @property
    def key(self) -> tuple[Any, ...]:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        return ("thrift", self.wire, self.limits, self.pool_limits)

    def connect(self, address: str) -> Pool | MuxPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        kind = MuxPool if self.pool_limits.multiplexed else Pool
        return kind(address, self.wire, self.limits, self.pool_limits)


class Caller:
    """Runs the calls of one client and of all its views."""

    def __init__(
        self,
        service: Service,
        target: str,
        router: Router,
        connector: ThriftConnector,
        workload: str = "",
        middleware: Sequence[Middleware] = (),
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
        # One sequence for all connections: an answer that belongs to another call is known as such on any of
        # them.
        self._seqids = SEQUENCE if connector.pool_limits.multiplexed else count(1)

    def call(self, method: Method, args: Any, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """One call.

        :param args: thriftpy2's struct of the arguments.
        :param timeout: seconds, of the caller; ``None``: it gave none.
        :raises ThriftUnavailable: no endpoint took it, or the connection broke.
        :raises ThriftDeadlineExceeded: the deadline ran out.
        :raises ThriftProtocolError: the answer is not one.
        :raises TException: what the server answered: a declared exception or a ``TApplicationException``.
        """
        started = monotonic()
        until = incoming_deadline()
        try:
            if until is not None:
                within(timeout)
            snapshot = self._router.snapshot
            if snapshot is None:
                snapshot = self._wait(within(timeout))
            destination = snapshot.route(method.path, headers)
            seconds = shorter(destination, timeout)
            deadline = started + (self._default_timeout if seconds is None else seconds)
            if until is not None and until < deadline:
                deadline = until
            endpoint: LiveEndpoint = destination.cluster.pick()
        except Unavailable as error:
            raise self._attempt(method, started).unavailable(error) from error
        except DeadlineExceeded as error:
            raise self._attempt(method, started).late(error) from error
        pool: AnyPool = endpoint.connection
        connection = pool.take_idle()
        if connection is None:
            endpoint, pool, connection = self._open(method, destination, endpoint, started, deadline)
        seqid = next(self._seqids) & 0x7FFFFFFF
        codec = connection.codec
        outgoing = self._outgoing
        try:
            request = codec.encode(method.label, ONEWAY if method.oneway else CALL, seqid, args)
            if outgoing is not None:
                request = outgoing.frame(request, method, seqid, deadline - monotonic(), headers)
        except BaseException as error:
            pool.put(connection)
            known = self._attempt(method, started).unsent(error, args)
            if known is error:
                raise
            raise known from error
        try:
            try:
                data, start = connection.exchange(
                    request, deadline, method.replies[self._compact], method.oneway, seqid
                )
            except NotSent:
                # It broke after the look of take_idle. Nothing of the call has left: once more, on another.
                pool.discard(connection)
                endpoint, pool, connection = self._open(method, destination, endpoint, started, deadline)
                codec = connection.codec
                data, start = connection.exchange(
                    request, deadline, method.replies[self._compact], method.oneway, seqid
                )
            if method.oneway:
                value = raised = None
            else:
                value, raised = answer_of(method, codec, seqid, data, start)
                if outgoing is not None:
                    raised = reply_of(connection.header, raised)
        except BaseException as error:
            pool.discard(connection)
            known = self._attempt(method, started).broken(error, endpoint.address)
            if known is error:
                raise
            raise known from error
        pool.put(connection)
        endpoint.succeeded()
        if raised is not None:
            raise raised
        return value

    def _attempt(self, method: Method, started: float) -> Attempt:
        return Attempt(self.target, method, started)

    def _wait(self, timeout: float | None) -> Snapshot:
        try:
            return self._router.wait(timeout)
        except Unavailable:
            # By itself, or with the client of the mesh.
            if self._router.closed:
                raise ClosedError(f"the client of {self.target} is closed") from None
            raise

    def _open(
        self,
        method: Method,
        destination: Destination,
        endpoint: LiveEndpoint,
        started: float,
        deadline: float,
    ) -> tuple[LiveEndpoint, AnyPool, AnyConnection]:
        """A connection to ``endpoint`` or, where it cannot be reached, to the next: each is tried once.

        Another endpoint is safe: the call has not begun.

        :raises ThriftUnavailable: none could be reached.
        :raises ThriftDeadlineExceeded: the deadline came first.
        """
        failover = Failover(self._attempt(method, started), destination, endpoint, deadline)
        while True:
            if self.closed:
                raise ClosedError(f"the client of {self.target} is closed")
            pool: AnyPool = failover.endpoint.connection
            try:
                return failover.endpoint, pool, pool.take_idle() or pool.open(deadline)
            except (PoolClosed, OSError) as error:
                failover.next(error)

    def close(self) -> None:
        """Stop following the target; calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self._router.close()


def outgoing_for(
    service: Service, router: Router, wire: Wire, pool_limits: PoolLimits, workload: str
) -> Outgoing | None:
    """What makes the headers of a client's requests; ``None``: its transport has none."""
    if not wire.header:
        return None
    return Outgoing(
        wire,
        service.name,
        router.authority,
        workload,
        pool_limits.connect_timeout,
        bool(pool_limits.multiplexed),
    )


class ThriftClient:
    """One method per method of the IDL, inherited ones included; safe for use by many threads.

    ``close``, ``with_options`` and ``target`` are the client's own; an IDL method of such a name is called
    with a ``t`` before it (thriftpy2 has ``tclose`` for the same reason). Errors of calls:
    :meth:`Caller.call`.
    """

    def __init__(
        self, caller: Caller, timeout: float | None = None, attachments: Mapping[str, str] | None = None
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
    ) -> ThriftClient:
        """A view of this client, sharing its connections, whose calls have other options.

        :param timeout: seconds for each call; the route's timeout counts where it is shorter.
        :param attachments: on top of those of the context (:func:`pyrpc_xds.attachments`) and of this view.
        :raises UsageError: an attachment cannot travel, or the timeout is not above 0.
        """
        return ThriftClient(
            self._caller,
            self._timeout if timeout is None else checked_timeout(timeout),
            {**self._attachments, **checked(attachments or {})},
        )

    def close(self) -> None:
        """Close the client and its views; running calls finish. Calling it again does nothing."""
        self._caller.close()

    def __enter__(self) -> ThriftClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._caller.service.methods]

    def __repr__(self) -> str:
        state = " closed" if self._caller.closed else ""
        return f"<ThriftClient {self._caller.service.name} of {self.target}{state}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Only reached the first time: the method is kept on the instance.
        if name.startswith("_"):
            # copy and pickle ask before there is a `_caller`.
            raise AttributeError(name)
        method = method_named(self._caller.service, name)
        if method is None:
            raise AttributeError(f"{self._caller.service.name} has no method {name!r}")
        bound = self._bind(method)
        self.__dict__[name] = bound
        return bound

    def _bind(self, method: Method) -> Callable[..., Any]:
        caller, call, timeout, extra = self._caller, self._caller.call, self._timeout, self._attachments
        service, args_class, plain = caller.service.name, method.args, method.plain

        if caller.middleware:
            # Inside of it, so that attachments which it sets count.
            run = chained(
                caller.middleware,
                method.name,
                lambda struct: call(method, struct, timeout, {**current_attachments(), **extra}),
            )

            def invoke_through(*args: Any, **kwargs: Any) -> Any:
                if caller.closed:
                    raise ClosedError(f"the client of {caller.target} is closed")
                return run(method.arguments_of(service, args, kwargs))

            invoke_through.__name__ = invoke_through.__qualname__ = method.name
            return invoke_through

        def invoke(*args: Any, **kwargs: Any) -> Any:
            if caller.closed:
                raise ClosedError(f"the client of {caller.target} is closed")
            struct = args_class(*args, **kwargs) if plain else method.arguments_of(service, args, kwargs)
            headers = current_attachments()
            return call(method, struct, timeout, {**headers, **extra} if extra else headers)

        invoke.__name__ = invoke.__qualname__ = method.name
        return invoke


RESERVED = frozenset({"close", "with_options", "target"})


def method_named(service: Service, name: str) -> Method | None:
    """The IDL method that an attribute of a client stands for."""
    method = service.methods.get(name)
    if method is None and name[:1] == "t" and name[1:] in RESERVED:
        method = service.methods.get(name[1:])
    return method


def checked_timeout(timeout: float | None) -> float | None:
    """:raises UsageError: it is not seconds above 0."""
    require("with_options", {"timeout": SECONDS}, {"timeout": timeout})
    return timeout
