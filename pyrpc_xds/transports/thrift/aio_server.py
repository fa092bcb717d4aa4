"""The asyncio server. Coroutine handlers run in the loop, others in its threads, so that none blocks it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import math
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UsageError, started_before
from ..daemons import DaemonExecutor
from ..raised import contained
from .address import format_address, listen
from .aio_listener import AioListener
from .aio_peer import AioPeer
from .call import current_call
from .goodbye import LEAVING
from .limits import ServerLimits, grace_period
from .log import RateLimitedLog
from .processor import Processor
from .signals import SIGNALS
from .sockets import reset_on_close
from .wire import Accepted

# How often expired connections are looked for, in seconds.
_TICK = 0.5
# Handlers remembered as coroutine functions or not: an object may make a new one each time.
_FUNCTIONS = 10_000


class AioThriftServer:
    """A Thrift server for one event loop; the twin of :class:`.server.ThriftServer`.

    :ivar address: where it listens, with the port it was given; empty before :meth:`start`.
    :ivar labels: of this workload, such as its version.
    """

    def __init__(
        self,
        processor: Processor,
        address: str,
        accepted: Accepted,
        labels: Mapping[str, str],
        workers: int,
        limits: ServerLimits,
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers={workers}: 1 or more")
        self.address = ""
        self.labels = dict(labels)
        self.processor = processor
        self.accepted = accepted
        self.limits = limits
        self.log = RateLimitedLog()
        self.stopping = False
        self.closing = False
        self._bind_to = address
        self._workers = workers
        # Set by start.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: AioListener | None = None
        self._executor: DaemonExecutor | None = None
        self._ticking: asyncio.TimerHandle | None = None
        # Of the loop's time: when a stop cuts off what still runs; and the timer, while there is one.
        self._stop_by = math.inf
        self._grace: asyncio.Timeout | None = None
        # Owned by the loop. Connections; those that have sent all and wait for the client to close its end.
        self._peers: set[AioPeer] = set()
        self._finished: set[AioPeer] = set()
        self._coroutines: dict[Any, bool] = {}
        self._quiet = asyncio.Event()
        self._stopped = asyncio.Event()

    def __repr__(self) -> str:
        if self._stopped.is_set():
            state = "stopped"
        elif self.stopping:
            state = "stopping"
        else:
            state = "serving" if self._listener is not None else "not started"
        return f"<AioThriftServer {self.processor.service.name} at {self.address or self._bind_to} {state}>"

    async def start(self) -> AioThriftServer:
        """Bind, listen and serve in the running loop; returns when clients can connect.

        :raises PortNotBound: the address cannot be listened on.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._loop is not None or self.stopping:
            raise started_before(self.address or self._bind_to, self.stopping)
        self._loop = loop = asyncio.get_running_loop()
        try:
            # A name that must be looked up would block the loop.
            sock: socket.socket = await loop.run_in_executor(None, listen, self._bind_to, self.limits.backlog)
        except BaseException:
            self._loop = None
            raise
        if self._stopped.is_set():
            sock.close()
            raise started_before(self._bind_to, True)
        self.address = format_address(sock.family, sock.getsockname())
        self._listener = AioListener(sock, lambda: AioPeer(self), self, self.log)
        self._ticking = loop.call_later(_TICK, self._tick)
        return self

    async def serve(self, grace: float = 30.0, drain: float = 0.0) -> None:
        """Serve until :meth:`stop` is called, this is cancelled or, in the main thread's loop, SIGTERM or SIGINT
        comes; then stop with grace. A second signal cuts off what still runs.

        :param grace: seconds for running calls.
        :param drain: as for :meth:`.server.ThriftServer.serve`.
        :raises PortNotBound: the address cannot be listened on.
        :raises UsageError: grace or drain is no time.
        """
        grace, drain = grace_period(grace), grace_period(drain)
        if self._listener is None:
            await self.start()
        loop = asyncio.get_running_loop()
        draining: list[asyncio.TimerHandle] = []
        ending: list[asyncio.Task[None]] = []

        def end(seconds: float) -> None:
            ending.append(loop.create_task(self.stop(seconds)))

        def on_signal() -> None:
            if draining:
                draining[0].cancel()
                end(0.0)
            else:
                draining.append(loop.call_later(drain, end, grace))

        watched = []
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                loop.add_signal_handler(number, on_signal)
                watched.append(number)
        try:
            await self._stopped.wait()
            await asyncio.gather(*ending)
        except asyncio.CancelledError:
            await self.stop(grace)
            raise
        finally:
            for timer in draining:
                timer.cancel()
            for number in watched:
                loop.remove_signal_handler(number)

    async def stop(self, grace: float = 30.0) -> None:
        """Stop accepting, tell clients to go, answer what they have sent, then close (docs/thrift.md); a second call
        waits as well, and may shorten the grace.

        :param grace: seconds for all of that, ``math.inf``: no limit; what still runs after it is cancelled. Where
            nothing runs it takes twice :data:`.goodbye.LEAVING`, or less where all clients close their end sooner.
        :raises UsageError: it is no time.
        """
        grace = grace_period(grace)
        self._stop_by = min(self._stop_by, asyncio.get_running_loop().time() + grace)
        if self.stopping:
            if self._grace is not None and not self._grace.expired():
                self._grace.reschedule(self._stop_by)
            await self._stopped.wait()
            return
        self.stopping = True
        if self._listener is None:
            self._stopped.set()
            return
        try:
            await self._listener.close()
            self.processor.leaving = True
            async with asyncio.timeout_at(self._stop_by) as self._grace:
                for peer in self._peers:
                    peer.say_goodbye()
                # A client that finds a connection closed learns it before its next call, not with it.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEAVING):
                        await self._none_of(self._peers)
                self.closing = True
                for peer in list(self._peers):
                    peer.finish()
                await self._none_of(self._peers)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEAVING):
                        await self._none_of(self._finished)
        except TimeoutError:
            pass
        finally:
            self._grace = None
            self.closing = True
            for peer in [*self._peers, *self._finished]:
                peer.cut_off()
            if self._ticking is not None:
                self._ticking.cancel()
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
            self._stopped.set()
        # Aborted transports let go of their sockets in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _none_of(self, peers: set[AioPeer]) -> None:
        while peers:
            self._quiet.clear()
            await self._quiet.wait()

    def stop_soon(self) -> None:
        """Have the loop stop the server; from any thread."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self.stop(), loop)
        except RuntimeError:
            pass

    async def __aenter__(self) -> AioThriftServer:
        return self if self._listener is not None else await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # What connections call.

    def joined(self, peer: AioPeer) -> None:
        """A connection has come."""
        # While it stops, those come that were connected before.
        if self._stopped.is_set() or len(self._peers) >= self.limits.connections:
            if not self._stopped.is_set():
                self.log.warning("%r closed a new connection: %d are open, the limit", self, len(self._peers))
            peer.transport.abort()
            return
        self._peers.add(peer)

    def left(self, peer: AioPeer) -> None:
        """A connection has gone."""
        self._peers.discard(peer)
        self._finished.discard(peer)
        self._quiet.set()

    def finished(self, peer: AioPeer) -> None:
        """A connection has sent all that it will, for the server stops."""
        if peer in self._peers:
            self._peers.discard(peer)
            self._finished.add(peer)
            self._quiet.set()

    async def run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Await a handler, or have a thread run it."""
        # A bound method is made anew each time; what it binds is not.
        function = getattr(call, "__func__", call)
        is_coroutine = self._coroutines.get(function)
        if is_coroutine is None:
            is_coroutine = inspect.iscoroutinefunction(call)
            if len(self._coroutines) < _FUNCTIONS:
                self._coroutines[function] = is_coroutine
        if is_coroutine:
            return await call(*args)
        if self._executor is None:
            self._executor = DaemonExecutor(self._workers, f"thrift worker {self.address}")
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, contained, run, _on_thread, call, args
        )

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for peer in [each for each in self._peers if each.write_by is not None and each.write_by < now]:
            self.log.warning("closed %s: too slow reading an answer", peer.name)
            reset_on_close(peer.transport.get_extra_info("socket"))
            peer.transport.abort()
        for peer in [each for each in self._peers if each.deadline is not None and each.deadline < now]:
            if peer.calls and peer.task is None and not peer.intake.busy:
                peer.deadline = now + self.limits.idle_timeout
                continue
            if peer.intake.busy:
                self.log.warning("closed %s: too slow sending a message", peer.name)
            peer.transport.abort()
        self._ticking = loop.call_later(_TICK, self._tick)


def _on_thread(call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    # It may have waited for the thread.
    current_call().refuse_if_late()
    return call(*args)
