"""What runs the calls of one client and of all its views, as far as threads and loops do not matter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ...errors import ClosedError, UsageError
from ..base import Destination, LiveEndpoint, Router
from .answer import Attempt
from .codec import CALL, ONEWAY, Codec
from .connector import AioThriftConnector, ThriftConnector
from .learned import Forms
from .outgoing import Outgoing
from .service import Method, Service
from .wire import Wire

# For connections that calls share, those of other clients of the endpoint included.
_SHARED_SEQUENCE = count(1)


class BaseCaller(ABC):
    """The part that :class:`.client.Caller` and :class:`.aio.AioCaller` have in common.

    :param service: whose methods are called.
    :param target: as the program gave it, for errors.
    :param workload: see :class:`.outgoing.Outgoing`.
    :param middleware: see :mod:`.middleware`.
    :param forms: what is learned; ``None``: nothing, the connector's form is spoken.
    :ivar closed: nothing new is called.
    """

    def __init__(
        self,
        service: Service,
        target: str,
        router: Router,
        connector: ThriftConnector | AioThriftConnector,
        workload: str = "",
        middleware: Sequence[Callable[..., Any]] = (),
        forms: Forms | None = None,
    ) -> None:
        self._wire = connector.wire
        self._forms = forms if forms is not None and forms.open else None
        self._connector = connector
        self._workload = workload
        pool_limits = connector.pool_limits
        self.service = service
        self.target = target
        self.closed = False
        # Kept for as long as calls are made: it closes when it is dropped.
        self.mesh: object = None
        self.middleware = tuple(middleware)
        self._router = router
        # What makes the headers of requests; `None`: the transport has none. Of the usual form, and of others.
        self._outgoing = self._new_outgoing(self._wire)
        self._others: dict[Wire, Outgoing | None] = {}
        # Bytes of a request; some forms have its length before it.
        self._longest = connector.limits.frame + 4
        self._default_timeout = pool_limits.call_timeout
        # One sequence for all connections: an answer that belongs to another call is known as such on any of
        # them.
        self._seqids = _SHARED_SEQUENCE if pool_limits.multiplexed else count(1)

    @abstractmethod
    def call(self, method: Method, args: Any, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """One call.

        :param args: thriftpy2's struct of the arguments.
        :param timeout: seconds, of the caller; ``None``: it gave none.
        :param headers: the attachments.
        :raises ThriftUnavailable: no endpoint took it, or the connection broke.
        :raises ThriftDeadlineExceeded: the deadline ran out.
        :raises ThriftProtocolError: the answer is not one.
        :raises TException: what the server answered: a declared exception or a ``TApplicationException``.
        """

    def _pool(self, destination: Destination, endpoint: LiveEndpoint) -> Any:
        """What reaches the endpoint in the form that it takes."""
        said, forms, pool = destination.cluster.thrift_forms, self._forms, endpoint.connection
        if said is None or forms is None:
            return pool
        wire = forms.wire(said[endpoint.address])
        return pool if wire is self._wire else pool.others.of(wire)

    def _outgoing_of(self, wire: Wire) -> Outgoing | None:
        try:
            return self._others[wire]
        except KeyError:
            # Two threads may make one each: they are alike.
            made = self._others[wire] = self._new_outgoing(wire)
            return made

    def _new_outgoing(self, wire: Wire) -> Outgoing | None:
        if not wire.header:
            return None
        limits = self._connector.limits_of(wire)
        return Outgoing(
            wire,
            self.service.name,
            self._router.authority,
            self._workload,
            limits.connect_timeout,
            bool(limits.multiplexed),
        )

    def _encoded_again(
        self, codec: Codec, method: Method, seqid: int, args: Any, seconds: float, headers: Mapping[str, str]
    ) -> tuple[bytes, Outgoing | None]:
        """A request whose first connection broke, for one of another form.

        :param seconds: that the caller still waits.
        """
        request = codec.encode(method.label, ONEWAY if method.oneway else CALL, seqid, args)
        if len(request) > self._longest:
            raise self._too_long(method, len(request))
        outgoing = self._outgoing_of(codec.wire)
        if outgoing is not None:
            request = outgoing.frame(request, method, seqid, seconds, headers)
        return request, outgoing

    def check(self) -> None:
        """:raises ClosedError: the client is closed."""
        if self.closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the client of {self.target} is closed")

    def _too_long(self, method: Method, size: int) -> UsageError:
        return UsageError(
            f"{method.path} of {self.target}: a request of {size} bytes; the limit is {self._longest - 4}, of "
            "this client's limits=Limits(frame=...), and servers have theirs"
        )

    def _attempt(self, method: Method, started: float) -> Attempt:
        return Attempt(self.target, method, started)

    def close(self) -> None:
        """Stop following the target; calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self._router.close()
