"""One accepted connection of the asyncio server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .address import format_address
from .codec import Codec
from .errors import ThriftProtocolError
from .intake import Intake
from .limits import ServerLimits
from .log import RateLimitedLog, logger
from .outbox import Outbox
from .processor import Processor, Request
from .wire import Accepted

Message = tuple[bytes, int]


class Host(Protocol):
    """What a connection needs of its server."""

    limits: ServerLimits
    log: RateLimitedLog
    processor: Processor
    stopping: bool
    accepted: Accepted

    def joined(self, peer: AioPeer, /) -> None:
        """A connection has come."""

    def left(self, peer: AioPeer, /) -> None:
        """A connection has gone."""

    def settled(self) -> None:
        """A connection has nothing more to answer."""

    def run(self, call: Callable[..., Any], args: tuple[Any, ...], /) -> Awaitable[Any]:
        """Await a handler, or have a thread run it."""


class AioPeer(asyncio.Protocol):
    """One accepted connection.

    ``task`` answers what has come; while there is one, nothing more is read than is already on its way.
    ``deadline`` (the loop's time) is when the server closes it; ``None`` while a handler runs.
    """

    def __init__(self, server: Host) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self.deadline: float | None = None
        self.intake = Intake(server.processor.requests, server.accepted, server.limits.message)
        self.name = "?"
        self.task: asyncio.Task[None] | None = None
        # Calls whose answers may come in any order, which run beside `task`.
        self.calls: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._writable: asyncio.Future[None] | None = None
        # Made with the transport.
        self._outbox: Outbox = None  # type: ignore[assignment]
        self._oneway = False
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._outbox = Outbox(self._loop, self.transport)
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
            self.deadline = None
            self.task = self._loop.create_task(self._attend(request))
        elif not self.transport.is_closing():
            self._wait()

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
            request = processor.request(codec, *message, self.intake.header, self.name)
            if (
                not request.any_order
                or request.oneway
                or len(self.calls) >= self._limits.in_flight
                or self._writable is not None
            ):
                return request
            call = self._loop.create_task(self._run_beside(codec, request))
            self.calls.add(call)
            call.add_done_callback(self._ended)
            message = None if self._server.stopping else self.intake.next()
        return None

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

    async def _attend(self, first: Request) -> None:
        """Answer one message after another until no whole one is left."""
        server = self._server
        request: Request | None = first
        try:
            while request is not None:
                self._oneway = request.oneway
                if self._lost and not self._oneway:
                    break
                await self._run(self.intake.codec, request)
                if self._writable is not None:
                    self.deadline = self._loop.time() + self._limits.frame_timeout
                    await self._writable
                    self.deadline = None
                if server.stopping:
                    break
                request = self._next(self.intake.next())
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
            self._wait()
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
        if self._server.stopping:
            self._close_if_idle()
            self._server.settled()

    def _close_if_idle(self) -> None:
        if self.task is None and not self.calls:
            # Sends what is still in its buffer first.
            self._outbox.flush()
            self.transport.close()
