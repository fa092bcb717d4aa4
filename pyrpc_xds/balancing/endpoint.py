"""Live endpoints: what is kept per address for as long as the mesh names it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..transports.base import Connection, Connector

# Health by use: an endpoint that could not be reached is picked last for this long, doubling up to the maximum.
# The figures are those of a gRPC channel's connection back-off (doc/connection-backoff.md), kept short because
# another endpoint is usually there.
FIRST_PENALTY = 1.0
MAX_PENALTY = 30.0
# New live endpoints that one change of the configuration looks at; the others wait for the next.
MAX_LOOKED_AT = 256

# Connections of the parent process, kept so that no finalizer closes or flushes them in the child.
_inherited: list[Connection] = []


class LiveEndpoint:
    """One address in use, shared by every cluster that names it.

    :ivar penalized_until: monotonic seconds until which it is picked last; 0.0 while it is thought well.
    """

    __slots__ = ("_clock", "_connection", "_connector", "_failures", "_lock", "address", "penalized_until")

    def __init__(self, address: str, connector: Connector, clock: Callable[[], float]) -> None:
        self.address = address
        self.penalized_until = 0.0
        self._failures = 0
        self._connector = connector
        self._clock = clock
        self._connection: Connection | None = None
        self._lock = threading.Lock()  # guards only the making and the taking away of _connection

    @property
    def connection(self) -> Any:
        """What the connector made for the address; made on the first read."""
        connection = self._connection
        return self._connect() if connection is None else connection

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connector.connect(self.address)
            return self._connection

    def failed(self) -> None:
        """It could not be reached: picked last for 1 s, doubling to 30 s with each further failure."""
        now = self._clock()
        if self.penalized_until > now:
            return  # one outage, seen by many calls at once, is one failure
        self._failures += 1
        self.penalized_until = now + min(FIRST_PENALTY * 2 ** min(self._failures - 1, 8), MAX_PENALTY)

    def succeeded(self) -> None:
        """It answered: forget failures."""
        if self._failures:
            self._failures = 0
            self.penalized_until = 0.0

    def forget(self) -> None:
        """In a forked child: the parent's connection is kept from use, and from being closed under the parent."""
        self._lock = threading.Lock()
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    def release(self, *, drain: bool) -> None:
        """Give the connection up: let running calls finish (``drain``), or close it now."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            (connection.drain if drain else connection.close)()

    def __repr__(self) -> str:
        state = "connected" if self._connection is not None else "unused"
        return f"<LiveEndpoint {self.address} {state}{' penalized' if self.penalized_until else ''}>"


class LiveEndpoints(dict[str, LiveEndpoint]):
    """The live endpoints of one connector, by address; one is made when it is first picked.

    Ten thousand endpoints that no call uses cost nothing here.
    """

    def __init__(self, connector: Connector, clock: Callable[[], float]) -> None:
        super().__init__()
        self._connector = connector
        self._clock = clock
        self._made: deque[str] = deque()

    def __missing__(self, address: str) -> LiveEndpoint:
        # setdefault is atomic: threads that race here all get the same endpoint.
        self._made.append(address)
        return self.setdefault(address, LiveEndpoint(address, self._connector, self._clock))

    def recently_made(self) -> list[str]:
        """Addresses that calls have made live and that were not given here before; a bounded number at a time."""
        return [self._made.popleft() for _ in range(min(len(self._made), MAX_LOOKED_AT))]

    def retire(self, addresses: Iterable[str]) -> list[LiveEndpoint]:
        """Take ``addresses`` out; returns those that were live, for the caller to release."""
        return [endpoint for address in addresses if (endpoint := self.pop(address, None)) is not None]
