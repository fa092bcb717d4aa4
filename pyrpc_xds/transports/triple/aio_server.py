"""AioTripleServer: a :class:`grpc.aio.Server` with version labels and an orderly stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from .concurrency import Counted, CountingInterceptor
from .handling import AioCallContext
from .http.ports import AioPorts
from .registration import Registration
from .server import SIGNALS, server_options


class AioTripleServer(Registration, grpc.aio.Server):
    """A server of Triple and gRPC calls, for asyncio. Made, in a running event loop, by
    :meth:`.transport.TripleTransport.aio_server`, which documents the parameters.

    :param registered: what :class:`.registration.Registration` takes.
    :ivar labels: its version labels, for example ``{"dubbogoAppVersion": "v1"}``.
    :ivar port: the port that was bound last, ``None`` before.
    :ivar health: as for :class:`.server.TripleServer`.
    """

    def __init__(
        self,
        *,
        options: Iterable[tuple[str, Any]] | None,
        interceptors: Sequence[Any],
        max_workers: int | None,
        maximum_concurrent_rpcs: int | None,
        compression: grpc.Compression | None,
        grace: float,
        drain: float,
        address: str | None,
        **registered: Any,
    ) -> None:
        super().__init__(asyncio=True, address=address, **registered)
        self._grace = grace
        self._drain = drain
        # grpc.aio's wait_for_termination must not be cancelled: it would cancel the server's shutdown.
        self._stopping = asyncio.Event()
        self._pool = pool = None if max_workers is None else ThreadPoolExecutor(max_workers)
        around = (AioCallContext(), *interceptors)
        options = server_options(options)
        concurrency = None if maximum_concurrent_rpcs is None else Counted(maximum_concurrent_rpcs)
        limit = () if concurrency is None else (CountingInterceptor(concurrency),)
        self._http = AioPorts(self._services, around, pool, options, concurrency)
        self._server = grpc.aio.server(
            pool,
            handlers=(self._services,),
            interceptors=(*limit, *around),
            options=options,
            compression=compression,
        )
        if address is not None:
            self.add_insecure_port(address)

    async def start(self) -> None:
        """Begin to serve. Services are added before.

        :raises ConfigError: health or reflection is asked for and not installed.
        :raises UsageError: it has no port.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        self._close_registration()
        await self._server.start()
        await self._http.start()

    @property
    def _has_stopped(self) -> bool:
        return self._stopping.is_set()

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
