"""Server: a :class:`grpc.Server` on nghttp2, for Linux.

A few threads wait for all connections at once (epoll). The one that gets a request runs its handler too, as long
as another is left to wait; else the handler runs on the executor. So a call alone switches no thread.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from ....errors import UsageError
from ....waiting import wait
from ...address import split
from ..concurrency import EXCEEDED, Concurrency
from . import library
from .endpoint import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES
from .served import HandlerCallDetails, Served
from .serving import ServerConnection

# What a client may send of one call before it is read.
WINDOW_BYTES = 1 << 20
# Calls at a time on one connection; clients keep more back.
MAX_STREAMS = 1_000
# Threads that wait for connections, and may run handlers when they have read one's request.
_WAITING_THREADS = 4
_TICK_SECONDS = 0.25
# For a client to introduce itself.
_INTRODUCTION_SECONDS = 20.0
# For the handlers on the threads that wait, once their calls were cancelled.
_JOIN_SECONDS = 1.0
_UNACKNOWLEDGED_SECONDS = 20.0
_BACKLOG = 1024
_LOG = logging.getLogger(__name__)


class Server(grpc.Server):
    """Serves like :func:`grpc.server`, which documents the parameters; without TLS and compressed answers.

    :param workers: handlers that run at a time, on the executor and on the threads that wait.
    :param concurrency: limits the calls that run at a time, with those of the server's other ports.
    :raises ConfigError: nghttp2 is not there.
    """

    def __init__(
        self,
        executor: Any,
        workers: int,
        handlers: Sequence[Any],
        interceptors: Sequence[Any],
        options: Iterable[tuple[str, Any]],
        concurrency: Concurrency | None,
    ) -> None:
        if not hasattr(select, "epoll"):
            raise UsageError("a server with codec='nghttp2' needs Linux")
        self.module: Any = library.load()
        values = dict(options)
        largest = values.get("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)
        self.max_message: int = largest if largest >= 0 else (1 << 31) - 1
        self.limits = (
            self.max_message,
            values.get("grpc.max_metadata_size", MAX_HEADER_BYTES),
            WINDOW_BYTES,
            values.get("grpc.max_concurrent_streams", MAX_STREAMS),
        )
        block = self.module.Block
        self.head: Any = block([(b":status", b"200"), (b"content-type", b"application/grpc")])
        self.ok: Any = block([(b"grpc-status", b"0")])
        self.nothing: Any = block([])
        self.http: Any = block([])
        self._executor = executor
        self._slots = threading.Semaphore(workers)
        self._handlers = list(handlers)
        self._interceptors = tuple(interceptors)
        self._concurrency = concurrency
        self._lock = threading.Lock()
        # Guarded by the lock: threads that wait.
        self._waiting = 0
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, ServerConnection] = {}
        self._epoll: Any = None
        self._threads: list[threading.Thread] = []
        self._started = False
        self._grace_ends: float | None = None
        # Set when a connection is closed while the server stops; when it takes none any more; at the end.
        self._news = threading.Event()
        self._ending = False
        self._stopped = threading.Event()

    # grpc.Server

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """As :meth:`grpc.Server.add_generic_rpc_handlers`."""
        self._handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """As :meth:`grpc.Server.add_registered_method_handlers`."""
        self._handlers.append(grpc.method_handlers_generic_handler(service_name, dict(method_handlers)))

    def add_insecure_port(self, address: str) -> int:
        """Listen on ``host:port``; returns the port.

        :raises RuntimeError: it cannot be listened on.
        """
        host, port = split(address)
        host = host.strip("[]")
        try:
            families = socket.getaddrinfo(
                host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, _, _, _, where = families[0]
            dual = family == socket.AF_INET6 and host in {"", "::"}
            listener = socket.create_server(where[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}: {error}") from error
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        if self._epoll is not None:
            self._epoll.register(listener, select.EPOLLIN)
        return int(listener.getsockname()[1])

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """:raises UsageError: always; grpcio's server has TLS."""
        raise UsageError("a server with codec='nghttp2' has no TLS")

    def start(self) -> None:
        """Begin to serve."""
        if self._started:
            raise ValueError("Cannot start already-started server!")
        self._started = True
        self._epoll = select.epoll()
        for descriptor in self._listeners:
            self._epoll.register(descriptor, select.EPOLLIN)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._threads = [
            threading.Thread(target=self._wait, name=f"pyrpc-xds-h2-server-{number}", daemon=True)
            for number in range(_WAITING_THREADS)
        ]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._watch, name="pyrpc-xds-h2-server-watch", daemon=True).start()

    def stop(self, grace: float | None = None) -> threading.Event:
        """As :meth:`grpc.Server.stop`: calls that clients send from now on are theirs to send elsewhere."""
        ends = time.monotonic() + (grace or 0)
        with self._lock:
            first = self._grace_ends is None
            self._grace_ends = ends if self._grace_ends is None else min(self._grace_ends, ends)
            listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            if self._epoll is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._epoll.unregister(listener)
            listener.close()
        if not self._started:
            self._started = True
            self._stopped.set()
        elif first:
            for connection in list(self._connections.values()):
                connection.go_away()
        self._news.set()
        return self._stopped

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """As :meth:`grpc.Server.wait_for_termination`."""
        return not wait(self._stopped, timeout)

    # For connections and calls.

    def handler(self, details: HandlerCallDetails) -> Any:
        """The handler of a call, as the interceptors give it; ``None``: there is none."""
        return self._intercepted(0, details)

    def _intercepted(self, index: int, details: Any) -> Any:
        if index < len(self._interceptors):
            following = functools.partial(self._intercepted, index + 1)
            return self._interceptors[index].intercept_service(following, details)
        for handlers in self._handlers:
            found = handlers.service(details)
            if found is not None:
                return found
        return None

    def admit(self) -> str | None:
        """Count a call that is to be served; why it is not, or ``None``."""
        if self._concurrency is None or self._concurrency.admit():
            return None
        return EXCEEDED

    def dismiss(self) -> None:
        """A call that was admitted is over."""
        if self._concurrency is not None:
            self._concurrency.dismiss()

    def forget(self, connection: ServerConnection) -> None:
        """A connection is closed."""
        self._connections.pop(connection.descriptor, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(connection.descriptor)
        if self._grace_ends is not None:
            self._news.set()

    def watch(self, connection: ServerConnection) -> None:
        """Wait for what a connection sends, and where it takes no more, until it does."""
        events = select.EPOLLIN | select.EPOLLONESHOT
        if connection.session.stuck:
            events |= select.EPOLLOUT
        with contextlib.suppress(OSError, ValueError):
            if not connection.closed:
                self._epoll.modify(connection.descriptor, events)

    def submit(self, call: Served) -> None:
        """Run a call on the executor."""
        try:
            self._executor.submit(self._run, call)
        except RuntimeError:  # it was shut down
            call.cancel()

    def _run(self, call: Served) -> None:
        with self._slots:
            call.run()

    # The threads.

    def _wait(self) -> None:
        epoll = self._epoll
        while not self._ending:
            with self._lock:
                self._waiting += 1
            try:
                events = epoll.poll(1, 1)
            except (OSError, ValueError):
                events = []  # closed with the server
            with self._lock:
                self._waiting -= 1
                alone = self._waiting == 0
            for descriptor, _ in events:
                try:
                    self._serve(descriptor, alone)
                except Exception:
                    _LOG.exception("a connection failed")

    def _serve(self, descriptor: int, alone: bool) -> None:
        connection = self._connections.get(descriptor)
        if connection is None:
            self._accept(descriptor)
            return
        calls = connection.read()
        self.watch(connection)
        if not calls:
            return
        own = calls.pop(0) if not alone and self._slots.acquire(blocking=False) else None
        for call in calls:
            self.submit(call)
        if own is not None:
            try:
                own.run()
            finally:
                self._slots.release()

    def _accept(self, descriptor: int) -> None:
        listener = self._listeners.get(descriptor)
        if listener is None:
            return
        try:
            accepted, address = listener.accept()
        except OSError:
            return  # another thread has it, or the client has gone; without descriptors left: tried again
        try:
            accepted.setblocking(False)
            with contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                milliseconds = int(_UNACKNOWLEDGED_SECONDS * 1000)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            connection = ServerConnection(self, accepted, address)
        except BaseException:
            accepted.close()
            raise
        self._connections[connection.descriptor] = connection
        # Before another thread may read: one that found the peer's bytes broken while this one writes would see that
        # there is something to be sent still, and leave the connection open.
        connection.flush()
        if not connection.closed:
            self._epoll.register(connection.descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        if self._grace_ends is not None:
            connection.go_away()

    def _watch(self) -> None:
        """Deadlines, clients that do not introduce themselves, and the end of the server."""
        while not self._ending:
            self._news.wait(_TICK_SECONDS)
            self._news.clear()
            try:
                self._tick(time.monotonic())
            except Exception:
                _LOG.exception("looking after the connections failed")
        os.eventfd_write(self._wake, 1)
        until = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        self._epoll.close()
        os.close(self._wake)
        self._stopped.set()

    def _tick(self, now: float) -> None:
        for connection in list(self._connections.values()):
            session = connection.session
            if not session.ready and now - connection.since > _INTRODUCTION_SECONDS:
                connection.lose()
            elif session.over and not (connection.going or session.pending or session.stuck):
                connection.lose()  # the protocol was broken while another thread was in the middle of sending
            for call in list(connection.calls):
                if call.until is not None and call.until <= now:
                    call.expire()
        ends = self._grace_ends
        if ends is None:
            return
        for connection in list(self._connections.values()):
            connection.go_away()
            if now >= ends:
                for call in list(connection.calls):
                    call.cancel()
                connection.lose()
        if not self._connections:
            self._ending = True
