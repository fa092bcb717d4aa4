"""The asyncio server. Coroutine handlers run in the loop, others in its executor, so that none blocks it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import UsageError, started_before
from .address import format_address, listen
from .codec import Codec
from .errors import ThriftProtocolError
from .intake import Intake
from .limits import ServerLimits
from .log import RateLimitedLog, logger
from .processor import Processor, Request
from .signals import SIGNALS
from .wire import Wire

# How often expired connections are looked for, in seconds.
_TICK = 0.5
# Handlers remembered as coroutine functions or not: an object may make a new one each time.
_FUNCTIONS = 10_000


class _Peer(asyncio.Protocol):
    """One accepted connection.

    ``task`` answers what has come; while there is one, nothing more is read than is already on its way.
    ``deadline`` (the loop's time) is when the server closes it; ``None`` while a handler runs.
    """

    def __init__(self, server: AioThriftServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self.deadline: float | None = None
        self.intake = Intake(server.processor.requests, server.wire, server.limits.message)
        self.name = "?"
        self.task: asyncio.Task[None] | None = None
        # Calls whose answers may come in any order, which run beside `task`.
        self.calls: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._writable: asyncio.Future[None] | None = None
        self._oneway = False
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        self.name = format_address(sock.family, transport.get_extra_info("peername"))
        self.deadline = self._loop.time() + self._limits.handshake_timeout
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        try:
            if self.task is not None:
                self.intake.feed(data)
                self.transport.pause_reading()
                return
            began = self.intake.busy
            message = self.intake.take(data)
        except ThriftProtocolError as error:
            self.refuse(error)
            return
        if message is not None:
            self.deadline = None
            self.task = self._loop.create_task(self._attend(message))
        elif not began:
            # Not renewed by later bytes: a message has this long, however it trickles.
            self.deadline = self._loop.time() + self._limits.frame_timeout

    def eof_received(self) -> bool:
        # Thrift has no cancel: a client that closes is one that no longer waits.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._lost = True
        if self.task is not None and not self._oneway:
            self.task.cancel()
        for call in self.calls:
            call.cancel()
        self._server.left(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def refuse(self, error: ThriftProtocolError) -> None:
        """Close the connection because of what the client sent."""
        self._server.log.warning("closed %s: %s", self.name, error)
        self.transport.abort()

    async def _attend(self, message: tuple[bytes, int] | None) -> None:
        """Answer one message after another until no whole one is left."""
        server, processor = self._server, self._server.processor
        try:
            while message is not None:
                codec = self.intake.codec
                request = processor.request(codec, *message, self.intake.header, self.name)
                self._oneway = request.oneway
                if self._lost and not self._oneway:
                    break
                if request.any_order and not self._oneway and len(self.calls) < self._limits.in_flight:
                    call = self._loop.create_task(self._run_beside(codec, request))
                    self.calls.add(call)
                    call.add_done_callback(self._ended)
                else:
                    await self._run(codec, request)
                if self._writable is not None:
                    self.deadline = self._loop.time() + self._limits.frame_timeout
                    await self._writable
                    self.deadline = None
                if server.stopping:
                    break
                message = self.intake.next()
        except ThriftProtocolError as error:
            self.refuse(error)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            logger.exception("closed %s: the server failed", self.name)
            self.transport.abort()
        finally:
            self.task = None
            server.settled()
        if server.stopping:
            self._close_if_idle()
        elif not self.transport.is_closing():
            seconds = self._limits.frame_timeout if self.intake.busy else self._limits.idle_timeout
            self.deadline = self._loop.time() + seconds
            self.transport.resume_reading()

    async def _run(self, codec: Codec, request: Request) -> None:
        processor = self._server.processor
        value = error = None
        if request.served is not None:
            try:
                value = await processor.run_async(request, self._server.run)
            except asyncio.CancelledError:
                raise
            except BaseException as raised:
                error = raised
        answer = processor.answer(codec, request, value, error)
        if answer:
            self.transport.write(answer)

    async def _run_beside(self, codec: Codec, request: Request) -> None:
        try:
            await self._run(codec, request)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("closed %s: the server failed", self.name)
            self.transport.abort()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self.calls.discard(call)
        if self._server.stopping:
            self._close_if_idle()
            self._server.settled()

    def _close_if_idle(self) -> None:
        if self.task is None and not self.calls:
            # Sends what is still in its buffer first.
            self.transport.close()


class AioThriftServer:
    """A Thrift server for one event loop; the twin of :class:`.server.ThriftServer`.

    :ivar address: where it listens, with the port it was given; empty before :meth:`start`.
    :ivar labels: of this workload, such as its version.
    """

    def __init__(
        self,
        processor: Processor,
        address: str,
        wire: Wire | None,
        labels: Mapping[str, str],
        workers: int,
        limits: ServerLimits,
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers={workers}: 1 or more")
        self.address = ""
        self.labels = dict(labels)
        self.processor = processor
        self.wire = wire
        self.limits = limits
        self.log = RateLimitedLog()
        self.stopping = False
        self._bind_to = address
        self._workers = workers
        # Set by start.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._ticking: asyncio.TimerHandle | None = None
        # Set while running calls have time to finish.
        self._grace: asyncio.Timeout | None = None
        # Owned by the loop.
        self._peers: set[_Peer] = set()
        self._coroutines: dict[Any, bool] = {}
        self._quiet = asyncio.Event()
        self._stopped = asyncio.Event()

    def __repr__(self) -> str:
        if self._stopped.is_set():
            state = "stopped"
        elif self.stopping:
            state = "stopping"
        else:
            state = "serving" if self._server is not None else "not started"
        return f"<AioThriftServer {self.processor.service.name} at {self.address or self._bind_to} {state}>"

    async def start(self) -> AioThriftServer:
        """Bind, listen and serve in the running loop; returns when clients can connect.

        :raises PortNotBound: the address cannot be listened on.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._loop is not None or self.stopping:
            raise started_before(self.address or self._bind_to, self.stopping)
        self._loop = loop = asyncio.get_running_loop()
        # A name that must be looked up would block the loop.
        sock: socket.socket = await loop.run_in_executor(None, listen, self._bind_to, self.limits.backlog)
        self.address = format_address(sock.family, sock.getsockname())
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(lambda: _Peer(self), sock=sock)
        else:
            self._server = await loop.create_server(lambda: _Peer(self), sock=sock)
        self._ticking = loop.call_later(_TICK, self._tick)
        return self

    async def serve(self, grace: float = 30.0, drain: float = 0.0) -> None:
        """Serve until :meth:`stop` is called, this is cancelled or, in the main thread's loop, SIGTERM or SIGINT
        comes; then stop with grace. A second signal cuts off what still runs.

        :param grace: seconds for running calls.
        :param drain: as for :meth:`.server.ThriftServer.serve`.
        :raises PortNotBound: the address cannot be listened on.
        """
        if self._server is None:
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
        """Stop accepting, let running calls finish and be answered, then close; a second call waits as well, and may
        shorten the grace.

        :param grace: seconds for running calls; they are cancelled after it.
        """
        if self.stopping:
            if self._grace is not None and not self._grace.expired():
                loop = asyncio.get_running_loop()
                by = self._grace.when()
                self._grace.reschedule(min(loop.time() + grace, loop.time() + grace if by is None else by))
            await self._stopped.wait()
            return
        self.stopping = True
        if self._server is None:
            self._stopped.set()
            return
        self._server.close()
        if self.address.startswith("unix:"):
            try:
                os.unlink(self.address[5:])
            except OSError:
                pass
        for peer in list(self._peers):
            if peer.task is None and not peer.calls:
                peer.transport.close()
        try:
            async with asyncio.timeout(grace) as self._grace:
                while self._peers:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            pass
        finally:
            self._grace = None
            for peer in list(self._peers):
                peer.transport.abort()
            if self._ticking is not None:
                self._ticking.cancel()
            if self._executor is not None:
                self._executor.shutdown(wait=False)
            self._stopped.set()
        # Aborted transports let go of their sockets in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)

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
        return self if self._server is not None else await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # What connections call.

    def joined(self, peer: _Peer) -> None:
        """A connection has come."""
        if self.stopping or len(self._peers) >= self.limits.connections:
            if not self.stopping:
                self.log.warning("%r closed a new connection: %d are open, the limit", self, len(self._peers))
            peer.transport.abort()
            return
        self._peers.add(peer)

    def left(self, peer: _Peer) -> None:
        """A connection has gone."""
        self._peers.discard(peer)
        self._quiet.set()

    def settled(self) -> None:
        """A connection has nothing more to answer."""
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
            self._executor = ThreadPoolExecutor(self._workers, thread_name_prefix=f"thrift {self.address}")
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._executor, context.run, call, *args)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for peer in [each for each in self._peers if each.deadline is not None and each.deadline < now]:
            if peer.calls and peer.task is None and not peer.intake.busy:
                peer.deadline = now + self.limits.idle_timeout
                continue
            if peer.task is not None or peer.intake.busy:
                doing = "reading an answer" if peer.task is not None else "sending a message"
                self.log.warning("closed %s: too slow %s", peer.name, doing)
            peer.transport.abort()
        self._ticking = loop.call_later(_TICK, self._tick)
