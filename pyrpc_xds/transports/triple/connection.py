"""Connection: the grpc channels that reach one endpoint, of all threads and event loops.

Life span: made by the core when EDS names the address, opened at the first call, shared by everything that
calls the endpoint, let go (:meth:`Connection.drain`) when EDS drops the address.

Nothing counts running calls. A running call keeps the objects that carry it alive: a blocking call runs in a
method of grpcio's multicallable, a future or a stream is held by grpcio's thread for the channel, an
asyncio call holds the channel itself. So draining is forgetting: grpcio closes a channel when its last
reference goes, which is when the last running call ends
(``tests/unit/transports/triple/test_connection.py`` watches the sockets).
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from .aio_connection import AioConnection
from .connectivity import CONNECTING, IDLE, READY
from .method import MAX_METHODS, multicallable
from .options import PROBE, grpc_address

if TYPE_CHECKING:
    from .connector import TripleConnector

_FORK_SUPPORT = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "0").lower() in {"yes", "y", "true", "t", "1"}


class Drained(Exception):
    """The endpoint has left between the pick and the call: pick again."""


def _never_opened(_connect: bool) -> int:
    return IDLE


class Connection:
    """The way to one endpoint (:class:`pyrpc_xds.transports.base.Connection`).

    :ivar calls: method key to grpcio's multicallable, for blocking callers. Replaced, never cleared, when the
        endpoint leaves.
    :ivar loops: the channels for asyncio, by event loop.
    :ivar state: the connectivity of the blocking channel, as a number; the argument asks to connect.
    :ivar short: where blocking unary calls go instead (:mod:`.h2`), ``None``: to grpcio like all others. Its state
        is then the connection's; grpcio connects when the first call is made that is left to it.
    :ivar failing: the endpoint was reported as failed and has not been seen READY since.
    """

    __slots__ = (
        "__weakref__",
        "_channel",
        "_connecting",
        "_connector",
        "_drained",
        "_lock",
        "address",
        "calls",
        "failing",
        "loops",
        "short",
        "state",
    )

    def __init__(self, address: str, connector: TripleConnector) -> None:
        self.address = address
        self.calls: dict[tuple[Any, ...], Any] = {}
        self.short = connector.short_way(address)
        self.state: Any = _never_opened if self.short is None else self.short.state
        self.failing = False
        self._connector = connector
        self._channel: Any = None
        self._drained = False
        self._lock = threading.Lock()
        # Held by the one thread that watches the channel connect; the others queue for it.
        self._connecting = threading.Lock()
        self.loops: dict[asyncio.AbstractEventLoop, AioConnection] = {}

    def __repr__(self) -> str:
        return f"<Connection {self.address}{' drained' if self._drained else ''}>"

    def _made(self) -> Any:
        return grpc.insecure_channel(
            grpc_address(self.address),
            options=self._connector.options,
            compression=self._connector.compression,
        )

    def _opened(self) -> Any:
        with self._lock:
            if self._drained:
                raise Drained
            if self._channel is None:
                self._channel = self._made()
                # grpcio's public API for connectivity starts two threads per channel and polls; the state
                # itself is only on the private object. 0.5 us a read.
                if self.short is None:
                    self.state = self._channel._channel.check_connectivity_state
            return self._channel

    def reach(self, key: tuple[Any, ...], seconds: float) -> Any:
        """Connect; returns grpcio's multicallable for a method, False (failed), or ``None``: time is up.

        A channel that failed and waits to try again has failed: gRPC's own rule for calls that do not wait. The
        multicallable can be called although the endpoint has left meanwhile.

        :param key: kind, path, serializer, deserializer, whether registered.
        :param seconds: the longest wait.
        :raises Drained: the endpoint has left, and is not connected.
        """
        try:
            if self.short is None:
                channel = self._opened()
                ready = self._watched(channel, seconds)
                return self._kept(key, lambda: self._method(channel, key)) if ready else ready
            if self._drained:
                raise Drained
            held = self.short.connect(seconds)
            if held:
                if key[0] == "unary_unary":
                    # An endpoint that has left keeps no connection: this call holds its own.
                    own = held if self._drained else None
                    way = self.short.unary_unary(key, lambda: self._long_way(key), own)
                else:
                    way = self._long_way(key)
                return self._kept(key, lambda: way)
        except ValueError:
            return False  # closed meanwhile
        if self._drained:
            raise Drained
        return held

    def _kept(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The multicallable, for all calls to the method while the endpoint has not left."""
        with self._lock:  # grpcio registers methods without one
            found = self.calls.get(key)
            if found is None:
                found = make()
                if not self._drained:
                    if len(self.calls) >= MAX_METHODS:
                        self.calls = {}
                    self.calls[key] = found
            return found

    def _method(self, channel: Any, key: tuple[Any, ...]) -> Any:
        found = multicallable(channel, key)
        if key[0] == "unary_stream" and self._connector.single_threaded:
            return _HoldingChannel(found, channel)
        return found

    def _long_way(self, key: tuple[Any, ...]) -> Any:
        """grpcio's multicallable where there is a short way too.

        :raises ValueError: closed meanwhile.
        """
        try:
            channel = self._opened()
        except Drained:
            assert self.short is not None
            self.short.state()  # the ValueError
            channel = self._made()  # the call was on its way when the endpoint left
            _disown(channel)
        with self._lock:
            return self._method(channel, key)

    def _watched(self, channel: Any, seconds: float) -> bool | None:
        """Wait until the channel is READY (True), has failed (False), or time is up (``None``).

        :raises ValueError: closed meanwhile.
        """
        until = time.monotonic() + seconds
        if not self._connecting.acquire(timeout=max(seconds, 0)):
            return None
        try:
            inner = channel._channel
            state = inner.check_connectivity_state(True)
            while state in (IDLE, CONNECTING):
                left = until - time.monotonic()
                if left <= 0:
                    return None
                inner.watch_connectivity_state(state, time.time() + left)
                state = inner.check_connectivity_state(True)
            return bool(state == READY)
        finally:
            self._connecting.release()

    def reason(self, seconds: float) -> str:
        """Why the channel is not READY, in grpcio's words, if it says so in ``seconds``.

        They are only to be had as the result of a call, so one is made; ``Check`` of the health service, in
        case the endpoint has become reachable meanwhile and sees it.
        """
        try:
            self._opened().unary_unary(PROBE)(b"", timeout=seconds)
        except grpc.RpcError as error:
            return str(error.details())
        except (Drained, ValueError):
            return "the endpoint has left"
        return "it has just become reachable"

    def on_loop(self, loop: asyncio.AbstractEventLoop) -> AioConnection:
        """The same for asyncio: grpc.aio channels belong to one event loop.

        :raises Drained: the endpoint has left.
        """
        found = self.loops.get(loop)
        if found is None:
            with self._lock:
                if self._drained:
                    raise Drained
                for other in [other for other in self.loops if other.is_closed()]:
                    del self.loops[other]
                found = self.loops.setdefault(loop, AioConnection(self.address, self._connector))
        return found

    def drain(self) -> None:
        """Forget the channels: nothing new starts, what runs ends by itself and closes them."""
        if self.short is not None:
            self.short.retire()
        for loop, connection in self._forget()[1].items():
            _in_loop(loop, connection.forget)  # so that the last reference goes where the channel lives

    def _forget(self) -> tuple[Any, dict[asyncio.AbstractEventLoop, AioConnection]]:
        with self._lock:
            self._drained = True
            channel, self._channel = self._channel, None
            loops, self.loops = self.loops, {}
            self.calls = {}
            if self.short is None:
                self.state = _never_opened
        if channel is not None:
            _disown(channel)
        return channel, loops

    def close(self) -> None:
        """Close the channels now: running calls end as CANCELLED."""
        channel, loops = self._forget()
        if self.short is not None:
            self.short.close()
        if channel is not None:
            channel.close()
        for loop, connection in loops.items():
            _in_loop(loop, connection.close)

    def after_fork(self) -> list[Any]:
        """In a forked child: start without channels; returns the parent's."""
        old = [self._channel, self.calls, self.loops]
        self._channel = None
        self.calls, self.loops = {}, {}
        if self.short is None:
            self.state = _never_opened
        else:
            self.short.after_fork()
        # The parent's threads may have held them.
        self._lock, self._connecting = threading.Lock(), threading.Lock()
        return old

    async def aclose(self) -> None:
        """As :meth:`close`; what is on the running loop is closed when this returns."""
        with self._lock:
            here = self.loops.pop(asyncio.get_running_loop(), None)
        self.close()
        if here is not None:
            await here.channel.close()


def _disown(channel: Any) -> None:
    """Have a channel close when its last call ends: with fork support grpcio keeps every one until it is closed."""
    if _FORK_SUPPORT:
        cygrpc.fork_unregister_channel(channel)


class _HoldingChannel:
    """A method whose streams keep their channel open: in grpcio's single-threaded mode they do not."""

    def __init__(self, call: Any, channel: Any) -> None:
        self._call = call
        self._channel = channel

    def __call__(self, *args: Any) -> Any:
        stream = self._call(*args)
        stream.add_done_callback(functools.partial(_hold, self._channel))
        return stream


def _hold(_channel: Any, _stream: Any) -> None:
    """Nothing to do: what refers to this holds the channel."""


def _in_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(action)
    except RuntimeError:
        pass  # the loop is closed, and with it everything that ran on it
