"""The HTTP ports of a server, which start and stop with it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

from ..concurrency import Concurrency, Counted
from ..services import Services
from .calls import AioCalls, Calls, SyncCalls
from .options import HttpOptions
from .port import HttpPort, ThreadedHttpPort, codecs, listening_socket

_LIMIT = "grpc.max_receive_message_length"
_DEFAULT_LIMIT = 4 << 20
_NO_LIMIT = (1 << 31) - 1


class Ports:
    """Ports that are not started yet, and what their calls are run with.

    :param interceptors: the outermost first.
    :param grpc_options: of the server: they have its limit of a message.
    :param concurrency: the limit of calls at a time that the server's ports have together.
    """

    def __init__(
        self,
        services: Services,
        interceptors: Sequence[Any],
        executor: Any,
        grpc_options: Iterable[tuple[str, Any]],
        concurrency: Concurrency | None,
    ) -> None:
        self._services = services
        self._interceptors = interceptors
        self._executor: Executor | Any = executor
        limit = dict(grpc_options).get(_LIMIT, _DEFAULT_LIMIT)
        self._limit = limit if limit >= 0 else _NO_LIMIT
        self._concurrency = concurrency
        self._waiting: list[tuple[Any, HttpOptions, ssl.SSLContext | None]] = []

    def add(self, address: str, options: HttpOptions | None, tls: ssl.SSLContext | None) -> int:
        """Bind a port; the number that it has.

        :raises ConfigError: h11 or h2 is not installed.
        :raises PortNotBound: nothing can listen there.
        """
        codecs()
        bound = listening_socket(address)
        self._waiting.append((bound, options or HttpOptions(), tls))
        return int(bound.getsockname()[1])

    @property
    def added(self) -> bool:
        """Whether there is one to start."""
        return bool(self._waiting)

    def _calls(self, kind: type[Calls], options: HttpOptions) -> Any:
        limit = self._limit if options.max_message is None else options.max_message
        limits: list[Concurrency] = [Counted(options.max_calls)]
        if self._concurrency is not None:
            limits.append(self._concurrency)
        return kind(self._services, self._interceptors, self._executor, options, limit, limits)

    def _drop(self) -> None:
        for bound, _, _ in self._waiting:
            bound.close()
        self._waiting.clear()


class SyncPorts(Ports):
    """Those of a :class:`..server.TripleServer`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ports: list[ThreadedHttpPort] = []

    def start(self) -> None:
        """Begin to accept."""
        waiting, self._waiting = self._waiting, []
        for bound, options, tls in waiting:
            port = ThreadedHttpPort(bound, self._calls(SyncCalls, options), options, tls)
            self._ports.append(port)
            port.start()

    def stop(self, grace: float) -> None:
        """Begin to stop: new calls are refused at once, running ones have so many seconds. May be called again."""
        self._drop()
        for port in self._ports:
            port.stop(grace)

    def join(self) -> None:
        """Wait until they have stopped."""
        for port in self._ports:
            port.join()


class AioPorts(Ports):
    """Those of an :class:`..aio_server.AioTripleServer`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ports: list[HttpPort] = []

    async def start(self) -> None:
        """Begin to accept."""
        waiting, self._waiting = self._waiting, []
        for bound, options, tls in waiting:
            port = HttpPort(bound, self._calls(AioCalls, options), options, tls)
            self._ports.append(port)
            await port.start()

    async def stop(self, grace: float) -> None:
        """Stop: new calls are refused at once, running ones have so many seconds."""
        self._drop()
        await asyncio.gather(*(port.stop(grace) for port in self._ports))
