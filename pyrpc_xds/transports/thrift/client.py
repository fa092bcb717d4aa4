"""The client for threads: a drop-in for what ``thriftpy2.rpc.make_client`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from ...errors import DeadlineExceeded, Unavailable
from ...incoming_deadline import incoming_deadline, within
from ...resilience.deadline import shorter
from ..base import Destination, LiveEndpoint, Snapshot
from .answer import answer_of, hung_up, reply_of
from .caller import BaseCaller
from .codec import CALL, ONEWAY
from .connection import Connection, Expired, NotSent
from .failover import Failover
from .mux_pool import MuxStream
from .pool import PoolClosed
from .service import Method
from .stub import Stub

# A pool is given back what it gave: the two kinds of each do not mix.
AnyPool = Any


class Caller(BaseCaller):
    """See :class:`.caller.BaseCaller`."""

    def call(self, method: Method, args: Any, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """See :meth:`.caller.BaseCaller.call`."""
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
        if destination.cluster.thrift_forms is not None:
            pool = self._pool(destination, endpoint)
        connection = pool.take_idle()
        if connection is None:
            endpoint, pool, connection = self._open(method, destination, endpoint, started, deadline)
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
        try:
            try:
                data, start = connection.exchange(
                    request, deadline, method.replies[codec.compact], method.oneway, seqid
                )
            except NotSent:
                # It broke after the look of take_idle. Nothing of the call has left: once more, on another.
                pool.discard(connection)
                endpoint, pool, connection = self._open(method, destination, endpoint, started, deadline)
                before, codec = codec, connection.codec
                if codec.wire is not before.wire:
                    left = deadline - monotonic()
                    request, outgoing = self._encoded_again(codec, method, seqid, args, left, headers)
                data, start = connection.exchange(
                    request, deadline, method.replies[codec.compact], method.oneway, seqid
                )
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

    def _wait(self, timeout: float | None) -> Snapshot:
        try:
            return self._router.wait(timeout)
        except Unavailable:
            # By itself, or with the client of the mesh.
            if self._router.closed:
                raise self._closed_error() from None
            raise

    def _open(
        self,
        method: Method,
        destination: Destination,
        endpoint: LiveEndpoint,
        started: float,
        deadline: float,
    ) -> tuple[LiveEndpoint, AnyPool, Connection | MuxStream]:
        """A connection to ``endpoint`` or, where it cannot be reached, to the next: each is tried once.

        Another endpoint is safe: the call has not begun.

        :raises ThriftUnavailable: none could be reached.
        :raises ThriftDeadlineExceeded: the deadline came first.
        """
        failover = Failover(self._attempt(method, started), destination, endpoint, deadline)
        while True:
            self.check()
            pool: AnyPool = self._pool(destination, failover.endpoint)
            try:
                return failover.endpoint, pool, pool.take_idle() or pool.open(deadline)
            except (PoolClosed, OSError) as error:
                failover.next(error)


class ThriftClient(Stub[Any]):
    """One method per method of the IDL, inherited ones included; safe for use by many threads.

    ``close``, ``with_options`` and ``target`` are the client's own; an IDL method of such a name is called
    with a ``t`` before it (thriftpy2 has ``tclose`` for the same reason). Errors of calls:
    :meth:`.caller.BaseCaller.call`.
    """

    def __enter__(self) -> ThriftClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
