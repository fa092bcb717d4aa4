"""Endpoint: the nghttp2 connection to one address, made anew when it is over."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import grpc

from ..errors import NotBegun
from ..weak_sets import members
from . import library
from .call import UnaryUnary
from .connection import ClientConnection, Lost
from .keeper import KEEPER
from .outcome import failed

# As gRPC's own: a message, and (its soft limit is 8 KiB) the headers of an answer.
MAX_MESSAGE_BYTES = 4 << 20
MAX_HEADER_BYTES = 16 << 10
# What a peer may send of one answer before it is read; large enough that messages up to it come in one go.
WINDOW_BYTES = 1 << 20


class Endpoint:
    """The way to one address.

    Life span of its connection: one that has not left the mesh holds it. One that has left lets it go, and the calls
    that run or are about to hold it: it closes when the last of them has ended.

    :param address: ``ip:port``, ``[v6]:port`` or ``unix:PATH``.
    :param options: grpc channel options; those of messages' size, keepalive and user agent count.
    """

    def __init__(self, address: str, options: tuple[tuple[str, Any], ...]) -> None:
        values = dict(options)
        self.address = address
        self.authority: str = values.get("grpc.default_authority") or address
        largest = values.get("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)
        self._limits = (
            largest if largest >= 0 else (1 << 31) - 1,
            values.get("grpc.max_metadata_size", MAX_HEADER_BYTES),
            WINDOW_BYTES,
        )
        self.most_sent: int = values.get("grpc.max_send_message_length", -1)
        agents = (values.get("grpc.primary_user_agent"), f"grpc-python-pyrpc-xds/{grpc.__version__}")
        self.user_agent = " ".join(str(agent) for agent in agents if agent)
        self.keepalive = (
            values.get("grpc.keepalive_time_ms", 300_000) / 1000,
            values.get("grpc.keepalive_timeout_ms", 20_000) / 1000,
        )
        self.module: Any = library.load()
        self.current: ClientConnection | None = None
        # The one that was let go, while calls hold it: so that they share it.
        self._left: Callable[[], ClientConnection | None] = _gone
        # Those too that another has taken the place of, while calls run on them.
        self._all: weakref.WeakSet[ClientConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._retired = False
        self._closed = False

    def state(self, _connect: bool = False) -> int:
        """Whether a call can be sent now, as grpcio numbers it: 2 (READY) or 0 (IDLE).

        :raises ValueError: the endpoint is closed.
        """
        if self._closed:
            raise ValueError(f"the channel to {self.address} is closed")  # as grpcio's
        current = self.current
        return 2 if current is not None and current.ready() else 0

    def unary_unary(
        self, key: tuple[Any, ...], long_way: Callable[[], Any], held: ClientConnection | None = None
    ) -> UnaryUnary:
        """The multicallable of a method.

        :param key: kind, path, serializer, deserializer, whether registered.
        :param long_way: makes grpcio's.
        :param held: what :meth:`connect` returned, to keep open where the endpoint has left.
        """
        _, path, serializer, deserializer, *_ = key
        return UnaryUnary(self, long_way, path, serializer, deserializer, held)

    def connect(self, seconds: float) -> ClientConnection | bool | None:
        """Connect; returns the connection, False (failed), or ``None``: time is up.

        :raises ValueError: the endpoint is closed.
        """
        until = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(seconds, 0)):
            return None
        try:
            self.state()  # is it closed?
            there = self.current or self._left()
            if there is not None and there.ready():
                return there
            made = self._made(max(until - time.monotonic(), 0.001))
            self._all.add(made)
            self.current = made
            if self._closed:
                self.close()
            elif self._retired:
                self.retire()
            KEEPER.keep(made, self.keepalive)
            return made if made.usable else False
        except TimeoutError:
            return None
        except (OSError, Lost):
            return False
        finally:
            self._lock.release()

    def _made(self, seconds: float) -> ClientConnection:
        until = time.monotonic() + seconds
        connected = _connected(self.address, seconds)
        try:
            # A peer whose host is gone is noticed by what it does not acknowledge, as with grpcio.
            if hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
                milliseconds = int(self.keepalive[1] * 1000)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            connection = ClientConnection(self.module, connected, self.address, self._limits)
        except BaseException:
            connected.close()
            raise
        connection.introduce(until - time.monotonic())
        return connection

    def call(self, block: Any, extra: tuple[Any, ...], message: bytes, until: float | None) -> Any:
        """Make a unary call; returns its stream, which has brought the status OK.

        :param until: clock time.
        :raises NotBegun: there is no connection for it, or the peer has not begun it and says so (GOAWAY before it,
            REFUSED_STREAM; gRFC A6): it may be made again, here or elsewhere.
        :raises CallFailed: it ended otherwise.
        """
        connection = self.current or self._left()
        if connection is None:
            raise NotBegun(f"{self.address}: it is not connected any more", until)
        try:
            stream = connection.call(block, extra, message, until)
        except Lost as lost:
            why = str(lost)
        else:
            if stream.plain or stream.fine:
                return stream
            if stream.head_done or not stream.closed or stream.error_code != self.module.REFUSED_STREAM:
                raise failed(stream, self.address)
            why = connection.why or "the peer refused the call"
        raise NotBegun(f"{self.address}: {why}", until)

    def retire(self) -> None:
        """The endpoint has left: the connection closes when its calls have ended."""
        self._retired = True
        current, self.current = self.current, None
        if current is not None:
            self._left = weakref.ref(current)

    def close(self) -> None:
        """End the running calls as CANCELLED and close."""
        self._closed = True
        for connection in members(self._all):
            connection.close("the channel was closed", grpc.StatusCode.CANCELLED)
        self.current = None

    def after_fork(self) -> None:
        """In a forked child: begin without the parent's connections."""
        self._lock = threading.Lock()
        for connection in members(self._all):
            connection.abandon()
        self._all = weakref.WeakSet()
        # Not before: one that nobody holds closes, which the parent would notice.
        self.current, self._left = None, _gone


def _gone() -> None:
    return None


def _connected(address: str, seconds: float) -> socket.socket:
    if address.startswith("unix:"):
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(seconds)
            connected.connect(address.removeprefix("unix:"))
        except BaseException:
            connected.close()
            raise
        return connected
    host, _, port = address.rpartition(":")
    connected = socket.create_connection((host.strip("[]"), int(port)), seconds)
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
