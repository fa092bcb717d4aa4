"""AioTripleServer: a :class:`grpc.aio.Server` with version labels and an orderly stop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio

from ...errors import ClosedError, UsageError, started_before
from . import builtin
from .concurrency import Counted, CountingInterceptor
from .generic import handlers as generic
from .handling import AioCallContext
from .health import Health
from .http import HttpOptions
from .http.ports import AioPorts
from .options import DEFAULT_GRACE
from .server import SIGNALS, bound, check_port, check_servicer, server_options
from .services import Registrar, Services, selection, variant


class AioTripleServer(grpc.aio.Server):
    """A server of Triple and gRPC calls, for asyncio. Made, in a running event loop, by
    :meth:`.transport.TripleTransport.aio_server`, which documents the parameters.

    :ivar labels: its version labels, for example ``{"dubbogoAppVersion": "v1"}``.
    :ivar port: the port that was bound last, ``None`` before.
    :ivar health: as for :class:`.server.TripleServer`.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Iterable[tuple[str, Any]] | None = None,
        interceptors: Sequence[Any] = (),
        handlers: Sequence[Any] | None = None,
        max_workers: int | None = None,
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        grace: float = DEFAULT_GRACE,
        drain: float = 0.0,
        group: str = "",
        version: str = "",
        health: bool | None = None,
        reflection: bool | None = None,
    ) -> None:
        self.labels: Mapping[str, str] = MappingProxyType(dict(labels or {}))
        self.port: int | None = None
        self._grace = grace
        self._drain = drain
        self._started = False
        self._address = address or "no address"
        # grpc.aio's wait_for_termination must not be cancelled: it would cancel the server's shutdown.
        self._stopping = asyncio.Event()
        self._services = Services(asyncio=True)
        self._selected = variant(group, version)
        self._builtin = {"health": health, "reflection": reflection}
        self.health: Health | None = None
        self._services.extend(handlers or (), self._selected)
        self._pool = pool = None if max_workers is None else ThreadPoolExecutor(max_workers)
        around = (AioCallContext(), *interceptors)
        options = server_options(options)
        concurrency = None if maximum_concurrent_rpcs is None else Counted(maximum_concurrent_rpcs)
        limit = () if concurrency is None else (CountingInterceptor(concurrency),)
        self._http = AioPorts(self._services, around, pool, options, concurrency)
        self._server: Any = grpc.aio.server(
            pool,
            handlers=(self._services,),
            interceptors=(*limit, *around),
            options=options,
            compression=compression,
        )
        if address is not None:
            self.add_insecure_port(address)

    def add(
        self,
        add_servicer: Callable[[Any, Any], None],
        servicer: Any,
        *,
        group: str | None = None,
        version: str | None = None,
    ) -> None:
        """As :meth:`.server.TripleServer.add`."""
        check_servicer(add_servicer, servicer)
        selected = selection(self._selected, group, version)
        add_servicer(servicer, Registrar(self._services, selected))

    def add_generic(
        self,
        service: str,
        methods: Mapping[str, Callable[..., Any]],
        *,
        group: str | None = None,
        version: str | None = None,
    ) -> None:
        """As :meth:`.server.TripleServer.add_generic`; coroutine functions are awaited."""
        selected = selection(self._selected, group, version)
        self._services.register(service, generic.of(service, methods, asyncio=True), selected)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """As :meth:`grpc.aio.Server.add_generic_rpc_handlers`; under the server's group and version."""
        self._services.extend(generic_rpc_handlers, self._selected)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """As :meth:`grpc.Server.add_registered_method_handlers`; under the server's group and version."""
        self._services.register(service_name, method_handlers, self._selected)

    def add_insecure_port(self, address: str) -> int:
        """Listen on ``host:port``; returns the port.

        :raises PortNotBound: it cannot be listened on.
        :raises UsageError: the address has another form; :class:`ClosedError`: the server was stopped.
        """
        self._check_open(address)
        self.port = bound(self._server.add_insecure_port, address)
        return self.port

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen on ``host:port`` with TLS; returns the port. Errors are those of :meth:`add_insecure_port`."""
        self._check_open(address)
        self.port = bound(self._server.add_secure_port, address, server_credentials)
        return self.port

    def add_http_port(
        self, address: str, options: HttpOptions | None = None, tls: ssl.SSLContext | None = None
    ) -> int:
        """As :meth:`.server.TripleServer.add_http_port`."""
        if self._started:
            raise UsageError(f"the server at {self._address} has started: HTTP ports are added before")
        return self._http.add(address, options, tls)

    async def start(self) -> None:
        """Begin to serve. Services are added before.

        :raises ConfigError: health or reflection is asked for and not installed.
        :raises UsageError: it has no port.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._started or self._stopping.is_set():
            raise started_before(self._address, self._stopping.is_set())
        check_port(self.port, self._http)
        if self.health is None:
            self.health = builtin.add(self._services, asyncio=True, **self._builtin)
        self._started = True
        await self._server.start()
        await self._http.start()

    def _check_open(self, address: str) -> None:
        if self._stopping.is_set():
            raise ClosedError(f"the server at {self._address} was stopped, and cannot listen on {address}")
        self._address = address

    def drain(self) -> None:
        """As :meth:`.server.TripleServer.drain`; on the server's event loop."""
        if self.health is not None:
            self.health.drain()

    async def stop(self, grace: float | None = None) -> None:
        """Stop: new calls are refused at once, running ones have ``grace`` seconds, then they are cancelled.

        Whoever watches the health service hears NOT_SERVING first.

        :param grace: seconds; ``None``: what the server was made with (30), unlike grpcio's immediate abort.
        """
        self._stopping.set()
        if self.health is not None:
            self.health.end()
        grace = self._grace if grace is None else grace
        await asyncio.gather(self._http.stop(grace), self._server.stop(grace))
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped (False) or ``timeout`` seconds have passed (True)."""
        return bool(await self._server.wait_for_termination(timeout))

    async def serve(self) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, then stop with grace and return. Starts the server, unless
        :meth:`start` has.

        After the signal it drains for the seconds it was made with (:meth:`drain`), then stops. A second signal
        ends that, and cancels what still runs. For the loop of the main thread.
        """
        loop = asyncio.get_running_loop()
        asked, again = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (again if asked.is_set() or self._stopping.is_set() else asked).set()

        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
        try:
            if not self._started:
                await self.start()
            await _either(asked.wait(), self._stopping.wait())
            if not self._stopping.is_set():
                self.drain()
                await _either(again.wait(), self._stopping.wait(), asyncio.sleep(self._drain))
            await _either(again.wait(), self.stop())
            await self.stop(0)
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


async def _either(*what: Any) -> None:
    """Wait for the first; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in what]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
