"""What runs the calls of one client and of all its views, as far as threads and loops do not matter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ...errors import ClosedError
from ..base import Router
from .answer import Attempt
from .connector import AioThriftConnector, ThriftConnector
from .outgoing import Outgoing
from .service import Method, Service

# For connections that calls share, those of other clients of the endpoint included.
_SHARED_SEQUENCE = count(1)


class BaseCaller(ABC):
    """The part that :class:`.client.Caller` and :class:`.aio.AioCaller` have in common.

    :param service: whose methods are called.
    :param target: as the program gave it, for errors.
    :param workload: see :class:`.outgoing.Outgoing`.
    :param middleware: see :mod:`.middleware`.
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
    ) -> None:
        wire, pool_limits = connector.wire, connector.pool_limits
        self.service = service
        self.target = target
        self.closed = False
        # Kept for as long as calls are made: it closes when it is dropped.
        self.mesh: object = None
        self.middleware = tuple(middleware)
        # What makes the headers of requests; `None`: the transport has none.
        self._outgoing: Outgoing | None = None
        if wire.header:
            self._outgoing = Outgoing(
                wire,
                service.name,
                router.authority,
                workload,
                pool_limits.connect_timeout,
                bool(pool_limits.multiplexed),
            )
        self._router = router
        self._default_timeout = pool_limits.call_timeout
        self._compact = wire.compact
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

    def check(self) -> None:
        """:raises ClosedError: the client is closed."""
        if self.closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the client of {self.target} is closed")

    def _attempt(self, method: Method, started: float) -> Attempt:
        return Attempt(self.target, method, started)

    def close(self) -> None:
        """Stop following the target; calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self._router.close()
