"""HttpPort: listens, tells HTTP/1.1 from HTTP/2 by the first bytes, and keeps to the limits of a port.

Everything runs on one event loop: the server's own where it is asyncio's, else one on a thread that lives as long
as the port (:class:`ThreadedHttpPort`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from ....errors import PortNotBound, missing_extra
from ...address import split
from .bodies import Bodies
from .calls import Calls
from .form import Request, Response
from .options import HttpOptions

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_BACKLOG = 128
_START_SECONDS = 10.0
# How long what a peer still sends is read after it was refused.
LINGER_SECONDS = 2.0


def listening_socket(address: str) -> socket.socket:
    """A bound socket.

    :param address: ``host:port`` or ``[v6]:port``; port 0: any free one.
    :raises UsageError: it has another form.
    :raises PortNotBound: nothing can listen there.
    """
    host, port = split(address)
    if port < 0:
        raise PortNotBound(address, OSError(0, "HTTP is served on host:port"))
    made = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, name = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(name)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        if made is not None:
            made.close()
        raise PortNotBound(address, error) from error
    return made


def codecs() -> tuple[Any, Any]:
    """The two kinds of connections.

    :raises ConfigError: h11 or h2 is not installed.
    """
    try:
        from .http1 import Http1
        from .http2 import Http2
    except ImportError as error:
        raise missing_extra("http", error.name or "h11", "Triple over HTTP") from error
    return Http1, Http2


class HttpPort:
    """A port on the running event loop.

    :param bound: from :func:`listening_socket`; belongs to the port from then on.
    :param tls: for HTTPS; offer ``h2`` in its ALPN protocols to have HTTP/2.
    """

    def __init__(
        self, bound: socket.socket, calls: Calls, options: HttpOptions, tls: ssl.SSLContext | None = None
    ) -> None:
        self.calls = calls
        self.options = options
        self.bodies = Bodies(options.max_bodies, calls.limit)
        self.stopping = False
        self.kinds = codecs()
        self.connections: set[Connection] = set()
        self._bound = bound
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self),
            sock=self._bound,
            ssl=self._tls,
            ssl_handshake_timeout=self.options.head_timeout if self._tls else None,
        )

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def stop(self, grace: float) -> None:
        """Accept no more; running calls have ``grace`` seconds, then their connections are cut."""
        self.stopping = True
        if self._server is None:
            self._bound.close()
        else:
            self._server.close()
        for connection in list(self.connections):
            connection.stop()
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # their ends are told on the next round


class Connection(asyncio.Protocol):
    """One connection of a peer. Lives from its accept to its end; never outlives the port's :meth:`HttpPort.stop`."""

    def __init__(self, port: HttpPort) -> None:
        self.options = port.options
        self.calls = port.calls
        self.bodies = port.bodies
        self.peer = ""
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._protocol: Any = None
        self._first = b""
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._closing = False
        self._held = False

    @property
    def stopping(self) -> bool:
        """As :attr:`.http1.Wire.stopping`."""
        return self._port.stopping

    @property
    def full(self) -> bool:
        """As :attr:`.http1.Wire.full`."""
        return self._unread is not None

    def connection_made(self, transport: Any) -> None:
        """As :class:`asyncio.Protocol`."""
        self._transport = transport
        if len(self._port.connections) >= self.options.max_connections or self.stopping:
            transport.abort()
            return
        self._port.connections.add(self)
        found = transport.get_extra_info("peername")
        host = f"[{found[0]}]" if ":" in found[0] else found[0]
        self.peer = f"{'ipv6' if ':' in found[0] else 'ipv4'}:{host}:{found[1]}"
        self.expect(self.options.head_timeout)

    def data_received(self, data: bytes) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._closing:
            return
        if self._protocol is None:
            self._first += data
            if len(self._first) < len(_PREFACE) and _PREFACE.startswith(self._first):
                return
            http1, http2 = self._port.kinds
            # h2 checks the rest of the preface itself.
            two = self._first.startswith(_PREFACE[:16])
            self._protocol = http2(self, self._later) if two else http1(self)
            data, self._first = self._first, b""
        self._protocol.received(data)

    def eof_received(self) -> bool:
        """As :class:`asyncio.Protocol`: the peer is gone. One that only sends no more cannot be told from that."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """As :class:`asyncio.Protocol`."""
        self.expect(None)
        if self._unread is not None:
            self._unread.cancel()
        if self._protocol is not None:
            self._protocol.lost()
        self._port.left(self)

    def pause_writing(self) -> None:
        """As :class:`asyncio.Protocol`: who does not read is not read either, and has so long to begin."""
        self._unread = self._loop.call_later(self.options.body_timeout, self.abort)
        self._read_or_not()

    def resume_writing(self) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            self._read_or_not()
            if self._protocol is not None and not self._closing:
                self._protocol.resumed()

    def hold(self, held: bool) -> None:
        """As :meth:`.http1.Wire.hold`."""
        if held is not self._held:
            self._held = held
            self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport.is_closing():
            return
        if self._held or self._unread is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def send(self, data: bytes) -> None:
        """As :meth:`.http1.Wire.send`."""
        self._transport.write(data)

    def close(self, linger: bool = False) -> None:
        """As :meth:`.http1.Wire.close`. What the peer does not read in time is dropped."""
        if self._closing:
            return
        self._closing = True
        if linger and self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has just reset the connection
                self._transport.write_eof()
            self.expect(LINGER_SECONDS, self.close_now)
        else:
            self.close_now()

    def close_now(self) -> None:
        """Close when everything is written, whatever the peer still sends."""
        self._transport.close()
        self.expect(self.options.body_timeout, self.abort)

    def abort(self) -> None:
        """Cut it."""
        self._transport.abort()

    def stop(self) -> None:
        """Take no new request; close when the running ones are answered."""
        if self._protocol is None:
            self.close()
        else:
            self._protocol.stop()

    def expect(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        """As :meth:`.http1.Wire.expect`."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, late or self.close)

    def _later(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(seconds, function).cancel

    def start(self, request: Request, done: Callable[[Response], None]) -> Callable[[], None]:
        """As :meth:`.http1.Wire.start`."""
        task = self._loop.create_task(self.calls.answer(request))

        def ended(task: asyncio.Task[Response]) -> None:
            if task.cancelled():
                return
            try:
                response = task.result()
                if not self._closing and not self._transport.is_closing():
                    done(response)
            except Exception as error:  # a defect of ours must not leave the peer waiting
                self._loop.call_exception_handler(
                    {"message": "a call over HTTP failed", "exception": error, "task": task}
                )
                self.abort()

        task.add_done_callback(ended)

        def give_up() -> None:
            task.cancel()

        return give_up


class ThreadedHttpPort:
    """A port with a thread and an event loop of its own."""

    def __init__(
        self, bound: socket.socket, calls: Calls, options: HttpOptions, tls: ssl.SSLContext | None = None
    ) -> None:
        self._arguments = (bound, calls, options, tls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grace: asyncio.Future[float] | None = None
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="pyrpc-xds-triple-http", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError("the thread of the HTTP port does not start")
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self._grace = self._loop.create_future()
            port = HttpPort(*self._arguments)
            await port.start()
        except BaseException as error:
            self._failed = error
            self._ready.set()
            return
        self._ready.set()
        loop, told = self._loop, self._grace
        grace = await told
        # A second stop() may shorten it.
        stopping = asyncio.ensure_future(port.stop(grace))
        while not stopping.done():
            self._grace = loop.create_future()
            waited: Any = {stopping, self._grace}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._grace.done() and self._grace.result() < grace and not stopping.done():
                stopping.cancel()
                grace = self._grace.result()
                stopping = asyncio.ensure_future(port.stop(grace))

    def stop(self, grace: float) -> None:
        """Begin to stop: no new calls, ``grace`` seconds for running ones. Again: with a shorter one."""
        if self._loop is None:
            self._arguments[0].close()
            return

        def tell() -> None:
            if self._grace is not None and not self._grace.done():
                self._grace.set_result(grace)

        with contextlib.suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(tell)

    def join(self) -> None:
        """Wait until it has stopped."""
        if self._thread.ident is not None:
            self._thread.join()
