"""One accepted connection of the asyncio server."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Protocol

from ..raised import is_the_handlers
from .address import format_address
from .codec import Codec
from .errors import ThriftProtocolError
from .goodbye import GOODBYE
from .intake import Intake
from .limits import ServerLimits
from .log import RateLimitedLog, logger
from .outbox import Outbox
from .processor import Processor, Request
from .sockets import cork
from .wire import Accepted

Message = tuple[bytes, int]
# Bytes that are taken of what a client has sent when the server stops.
_LAST = 1 << 20


class Host(Protocol):
    """What a connection needs of its server."""

    limits: ServerLimits
    log: RateLimitedLog
    processor: Processor
    # Clients are told to go; a connection that carries one call at a time is closed with its next answer.
    stopping: bool
    # Every connection is closed once what it held at that moment is answered.
    closing: bool
    accepted: Accepted

    def joined(self, peer: AioPeer, /) -> None:
        """A connection has come."""

    def left(self, peer: AioPeer, /) -> None:
        """A connection has gone."""

    def finished(self, peer: AioPeer, /) -> None:
        """A connection has sent all that it will, for the server stops."""

    def run(self, call: Callable[..., Any], args: tuple[Any, ...], /) -> Awaitable[Any]:
        """Await a handler, or have a thread run it."""


class AioPeer(asyncio.Protocol):
    """One accepted connection.

    ``task`` answers what has come; while there is one, nothing more is read than is already on its way.
    ``deadline`` (the loop's time) is when the server closes it; ``None`` while a handler runs. ``write_by``: as well,
    while the client does not read.
    """

    def __init__(self, server: Host) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self.deadline: float | None = None
        self.write_by: float | None = None
        self.intake = Intake(server.processor.requests, server.accepted, server.limits.message)
        self.name = "?"
        self.task: asyncio.Task[None] | None = None
        # Calls whose answers may come in any order, which run beside `task`.
        self.calls: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        # Whether there are such calls, of a client over TTHeader.
        self._any_order = False
        # When bytes came last, of time.monotonic.
        self._arrived = 0.0
        # What every request begins in: what handlers leave in context variables is not for the next.
        self._context: contextvars.Context = None  # type: ignore[assignment]
        self._writable: asyncio.Future[None] | None = None
        # Made with the transport.
        self._outbox: Outbox = None  # type: ignore[assignment]
        self._oneway = False
        self._lost = False
        self._said_goodbye = False
        # The client, which makes one call at a time, has had its last answer: the server was stopping. A oneway tells
        # it nothing.
        self._told = False
        self._corked = False
        # The server stops: what it held has been read.
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._context = contextvars.copy_context()
        self._outbox = Outbox(self._loop, self.transport)
        sock = transport.get_extra_info("socket")
        self.name = format_address(sock.family, transport.get_extra_info("peername"))
        self.deadline = self._loop.time() + self._limits.handshake_timeout
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        if self._finishing:
            return
        self._arrived = monotonic()
        try:
            if self.task is not None:
                self.intake.feed(data)
                self.transport.pause_reading()
                return
            began = self.intake.busy
            message = self.intake.take(data)
            if message is not None:
                self._begin(message)
                return
        except ThriftProtocolError as error:
            self.refuse(error)
            return
        if not began:
            # Not renewed by later bytes: a message has this long, however it trickles.
            self.deadline = self._loop.time() + self._limits.frame_timeout

    def _begin(self, message: Message) -> None:
        """Run what has come: in the task, but for what may run beside it."""
        request = self._next(message)
        if request is not None:
            self._answer(request)
        elif not self.transport.is_closing():
            self._wait()

    def _answer(self, request: Request) -> None:
        self.deadline = None
        self._oneway = request.oneway
        self.task = self._start(self._attend(request))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Not by the loop's factory: one may know no contexts, or begin the task before this returns.
        return asyncio.Task(work, loop=self._loop, context=self._context.copy())

    def _wait(self) -> None:
        seconds = self._limits.frame_timeout if self.intake.busy else self._limits.idle_timeout
        self.deadline = self._loop.time() + seconds

    def _next(self, message: Message | None) -> Request | None:
        """The next request for the task; those before it run beside it.

        :raises ThriftProtocolError: the bytes are refused.
        """
        processor = self._server.processor
        while message is not None:
            codec = self.intake.codec
            request = processor.request(codec, *message, self.intake.header, self.name, self._arrived)
            if (
                not request.any_order
                or request.oneway
                or len(self.calls) >= self._limits.in_flight
                or self._writable is not None
            ):
                return request
            self._any_order = True
            if self._server.stopping:
                self.say_goodbye()
            call = self._start(self._run_beside(codec, request))
            self.calls.add(call)
            call.add_done_callback(self._ended)
            message = self.intake.next()
        return None

    def eof_received(self) -> bool:
        # Thrift has no cancel: a client that closes is one that no longer waits.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.deadline = self.write_by = None
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        for call in self.calls:
            call.cancel()
        if self.task is not None:
            if self._oneway:
                return
            # Where it has not begun it never will.
            self.task.cancel()
        self._server.left(self)

    def pause_writing(self) -> None:
        self.write_by = self._loop.time() + self._limits.frame_timeout
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable, self.write_by = self._writable, None, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        if self._finishing:
            self.finish()

    def refuse(self, error: ThriftProtocolError) -> None:
        """Close the connection because of what the client sent."""
        self._server.log.warning("closed %s: %s", self.name, error)
        self.transport.abort()

    def cut_off(self) -> None:
        """Close the connection at once, and end what runs for it."""
        self.transport.abort()
        if self.task is not None:
            self.task.cancel()

    async def _attend(self, request: Request) -> None:
        """Answer a message, and have those follow that the client has sent behind it."""
        try:
            await self._run(self.intake.codec, request)
            if self._writable is not None:
                await self._writable
        except asyncio.CancelledError:
            self.task = None
            self.transport.abort()
            if self._lost:
                self._server.left(self)
            raise
        except Exception:
            logger.exception("closed %s: the server failed", self.name)
            self._oneway = False
            self.transport.abort()
        self.task = None
        self._go_on()

    def _go_on(self) -> None:
        """The task is over."""
        # Of a client that has gone, what it does not wait for is still run.
        if self._oneway or not self.transport.is_closing():
            try:
                request = self._next(self.intake.next())
            except ThriftProtocolError as error:
                self.refuse(error)
                request = None
            if request is not None and (request.oneway or not self._lost):
                self._answer(request)
                return
        if self._lost:
            self._server.left(self)
        elif self._server.closing or self._may_go():
            self.finish()
        elif not self.transport.is_closing():
            self._cork(False)
            self._wait()
            self.transport.resume_reading()

    def _may_go(self) -> bool:
        """The client has its last answer, or will have it now, and waits for no more."""
        return self._told and not (self._any_order or self.intake.busy)

    def _cork(self, on: bool) -> None:
        """Have the kernel keep back what is sent, for the end of the connection may follow; or no more."""
        if on is not self._corked:
            self._corked = on
            cork(self.transport.get_extra_info("socket"), on)

    async def _run(self, codec: Codec, request: Request) -> None:
        processor = self._server.processor
        value = error = None
        if request.served is not None:
            try:
                value = await processor.run_async(request, self._server.run)
            except BaseException as raised:
                if not is_the_handlers(raised):
                    raise
                error = raised
        leaving = processor.leaving
        answer = processor.answer(codec, request, value, error)
        self._told = leaving and bool(answer)
        if answer:
            if self._may_go():
                self._cork(True)
            # What is held is alive, so no two have one id; two calls of a client may have one sequence id.
            self._outbox.send(id(answer), answer, len(self.calls))

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
        if self._server.closing:
            self.finish()

    def say_goodbye(self) -> None:
        """Ask a client that takes answers in any order to make no more calls here."""
        if self._any_order and not self._said_goodbye:
            self._said_goodbye = True
            self._outbox.flush()
            self.transport.write(GOODBYE)

    def finish(self) -> None:
        """Close, for the server stops, once all that the client had sent by now is answered."""
        if self.task is not None:
            return
        if not self._finishing and not self.transport.is_closing():
            self._finishing = True
            try:
                # What comes later is read as well, to see the client go, and dropped: bytes that nobody reads would
                # break the connection, and with it answers that are on their way.
                self.transport.resume_reading()
                data = os.read(self.transport.get_extra_info("socket").fileno(), _LAST)
                self._arrived = monotonic()
                message = self.intake.take(data) if data else None
                if message is not None:
                    self._cork(False)
                    self._begin(message)
            except ThriftProtocolError as error:
                self.refuse(error)
                return
            except OSError:
                pass
        if self.task is not None or self.calls:
            return
        self._outbox.flush()
        # From now on it is "not writable" until all is sent.
        self.transport.set_write_buffer_limits(0)
        if self._writable is None:
            with contextlib.suppress(OSError):
                self.transport.write_eof()
            self._server.finished(self)
