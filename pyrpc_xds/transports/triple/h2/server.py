"""Server: a :class:`grpc.Server` on nghttp2, for Linux.

A few threads wait for all connections at once (epoll). The one that gets a request runs its handler too, as long
as another is left to wait; else the handler runs on the executor. So a call alone switches no thread.
"""

from __future__ import annotations

import contextlib
import errno
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
from . import library, server_options
from .queue import Queue
from .served import HandlerCallDetails
from .serving import ServerConnection

# Threads that wait for connections, and may run handlers when they have read one's request.
_WAITING_THREADS = 4
_TICK_SECONDS = 0.25
# Between warnings that no connection can be accepted.
_WARNING_SECONDS = 10.0
# grpcio sends larger headers only to clients that say they take them.
_HEADER_BYTES = 65_536
# For the handlers on the threads that wait, once their calls were cancelled.
_JOIN_SECONDS = 1.0
_UNACKNOWLEDGED_SECONDS = 20.0
_BACKLOG = 1024
# Of descriptors and memory, which may end.
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LOG = logging.getLogger(__name__)


class Server(grpc.Server):
    """Serves like :func:`grpc.server`, which documents the parameters; without TLS and compressed answers.

    :param options: those of :mod:`.server_options`.

    :param workers: handlers that run at a time, on the executor and on the threads that wait.
    :param concurrency: limits the calls that run at a time, with those of the server's other ports.
    :raises ConfigError: nghttp2 is not there, or it does not have an option.
    :ivar most_bytes: the largest header list of an answer, as RFC 9113 counts it; :ivar most_fields: fields in it.
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
        self.options = server_options.read(options)
        self.most_bytes = max(_HEADER_BYTES, self.options.max_headers)
        self.most_fields: int = self.module.MAX_FIELDS
        block = self.module.Block
        self.head: Any = block([(b":status", b"200"), (b"content-type", b"application/grpc")])
        self.ok: Any = block([(b"grpc-status", b"0")])
        self.nothing: Any = block([])
        self.http: Any = block([])
        self.queue = Queue(executor, workers)
        self._handlers = list(handlers)
        self._interceptors = tuple(interceptors)
        self._concurrency = concurrency
        self._lock = threading.Lock()
        # Guarded by the lock: threads that wait.
        self._waiting = 0
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, ServerConnection] = {}
        # Those that wait for descriptors to accept with.
        self._resting: set[socket.socket] = set()
        self._warned_at = -_WARNING_SECONDS
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
            listener = socket.create_server(
                where[:2],
                family=family,
                backlog=_BACKLOG,
                reuse_port=self.options.reuse_port,
                dualstack_ipv6=dual,
            )
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}: {error}") from error
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        if self._epoll is not None:
            self._epoll.register(listener, select.EPOLLIN)
        return int(listener.getsockname()[1])

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """:raises UsageError: always; grpcio's server has TLS."""
        raise UsageError("a server with codec='nghttp2' has no TLS: use codec='grpcio'")

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
                except BaseException:  # of application code, too: the thread must not end with it
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
        slots = self.queue.slots
        own = calls.pop(0) if not alone and slots.acquire(blocking=False) else None
        for call in calls:
            self.queue.add(call)
        if own is not None:
            try:
                own.run()
            finally:
                slots.release()

    def _accept(self, descriptor: int) -> None:
        listener = self._listeners.get(descriptor)
        if listener is None or listener in self._resting:
            return
        try:
            accepted, address = listener.accept()
        except OSError as error:
            # Else another thread has it, or the client has gone.
            if error.errno in _SHORTAGES:
                self._rest(listener, error)
            return
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

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """Accept nothing until the next tick: clients that wait to be accepted would wake the threads all the time."""
        self._resting.add(listener)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(listener, 0)
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            _LOG.warning(
                "connections are not accepted: %s; tried again every %g s. Raise the limit (ulimit -n)",
                error,
                _TICK_SECONDS,
            )

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
        while self._resting:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.modify(self._resting.pop(), select.EPOLLIN)
        for connection in list(self._connections.values()):
            connection.look_after(now)
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
