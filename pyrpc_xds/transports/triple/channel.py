"""TripleChannel: a :class:`grpc.Channel` whose calls are routed by xDS, each to an endpoint of its own.

From the routing decision on, a call is grpcio's: its multicallable on the channel of the endpoint. What comes
before costs a few microseconds: the route, the pick, two dictionary look-ups and one look at the channel's
state.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from ...incoming_deadline import incoming_deadline
from ...resilience.deadline import shorter
from .business import surfaced
from .connection import Connection
from .connectivity import READY, Connectivity
from .errors import ChannelClosed, TripleError
from .fork import reset_in_child
from .metadata import Metadata, Pairs
from .method import REFUSALS, Closed, Method, opener
from .multicallables import MULTICALLABLES, Ready
from .options import Options
from .pending import PendingCall
from .start import Start, run_blocking
from .target import Targets
from .weak_sets import members


class TripleChannel(grpc.Channel):
    """A channel to a target of the mesh. Made by :meth:`.transport.TripleTransport.channel`; safe to share
    between threads.

    Its connectivity is that of its configuration: CONNECTING until the first one has come, READY from then
    on. Endpoints are connected when a call is first sent to them.

    One that is dropped without :meth:`close` gives its target up when the next channel of the client is opened
    or closed; calls that it began go on.
    """

    def __init__(
        self, targets: Targets, name: str, options: Options, compression: Any, metadata: Pairs = ()
    ) -> None:
        self._metadata = metadata
        self._targets = targets
        self._target = targets.open(name, options, compression)
        # Read by every call; replaced by Closed when the channel is closed.
        self._router: Any = self._target.router
        self._lock = threading.Lock()
        self._closed = False
        # Futures and streams, to cancel them when the channel is closed while others share its connections.
        self._running: weakref.WeakSet[Any] = weakref.WeakSet()
        self._connectivity = Connectivity(self._target.router)
        self._forget = targets.when_dropped(self, self._target, self._connectivity.close)
        reset_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: calls that the parent had not begun are the parent's, and fail here."""
        self._lock = threading.Lock()
        self._connectivity.after_fork()
        for call in members(self._running):
            if isinstance(call, PendingCall):
                call.after_fork()

    def __repr__(self) -> str:
        return f"<TripleChannel {self._target.name}{' closed' if self._closed else ''}>"

    def _multicallable(
        self, kind: str, path: Any, serializer: Any, deserializer: Any, registered: Any
    ) -> Any:
        authority = self._target.authority
        method = Method(kind, path, serializer, deserializer, registered, authority, self._metadata)
        return MULTICALLABLES[kind](self, method)

    unary_unary = opener("unary_unary")
    unary_stream = opener("unary_stream")
    stream_unary = opener("stream_unary")
    stream_stream = opener("stream_stream")

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """As :meth:`grpc.Channel.subscribe`; the mesh is followed whether or not it is asked to."""
        self._connectivity.subscribe(callback)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As :meth:`grpc.Channel.unsubscribe`."""
        self._connectivity.unsubscribe(callback)

    def close(self) -> None:
        """Close the channel: its futures and streams end as CANCELLED, new calls raise
        :class:`ChannelClosed`.

        Blocking calls of other threads end so too, unless another channel to the same target is still open
        and shares their connection. Calling it again does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._forget.detach()
        self._router = Closed(self._closed_error())
        self._connectivity.close()
        for call in members(self._running):
            call.cancel()
        self._targets.release(self._target)

    def _closed_error(self) -> ChannelClosed:
        return ChannelClosed(f"the channel to {self._target.name} is closed")

    def _failed(self, error: Any, method: Method, timeout: Any) -> Any:
        """What to raise in place of grpcio's error for a call, or for its refusal to begin one (:data:`REFUSALS`)."""
        if isinstance(error, grpc.RpcError):
            error.__traceback__ = None  # its frames hold the connection, and callers keep errors
            return surfaced(error, incoming_deadline())
        if self._closed and isinstance(error, ValueError):
            return self._closed_error()
        return method.refused(error, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    # The hot path of every blocking call, future and stream.
    def _begin(
        self, method: Method, timeout: float | None, metadata: Metadata | None, wait_for_ready: bool | None
    ) -> Ready | Start:
        target = self._target
        try:
            timeout, metadata, headers, picked = method.decided(
                self._router, target.name, timeout, metadata, wait_for_ready
            )
            if picked is not None:
                destination, _, endpoint = picked
                connection: Connection = endpoint.connection
                call = connection.calls.get(method.key)
                # ValueError: closed since the snapshot was read.
                if call is not None and connection.state(False) == READY:
                    if connection.failing:
                        connection.failing = False
                        endpoint.succeeded()
                    return call, shorter(destination, timeout), metadata
        except REFUSALS as error:
            raise self._failed(error, method, timeout) from None
        return Start(target, method, timeout, metadata, headers, bool(wait_for_ready), picked, self._over)

    def _over(self) -> bool:
        return self._closed

    def _ready(
        self, method: Method, timeout: float | None, metadata: Metadata | None, wait_for_ready: bool | None
    ) -> Ready:
        """A blocking call, waited for until it can be made."""
        begun = self._begin(method, timeout, metadata, wait_for_ready)
        return self._started(begun) if isinstance(begun, Start) else begun

    def _started(self, start: Start) -> Ready:
        call, seconds = run_blocking(start)
        return call, seconds, start.metadata

    def _later(
        self,
        method: Method,
        timeout: float | None,
        metadata: Metadata | None,
        wait_for_ready: bool | None,
        make: Callable[[Ready], Any],
    ) -> Any:
        """A future or stream: made now if nothing has to be waited for, else on a thread; its caller never waits."""
        try:
            begun = self._begin(method, timeout, metadata, wait_for_ready)
        except TripleError as error:
            return PendingCall.failed(error)

        def made(ready: Ready) -> Any:
            try:
                return make(ready)
            except REFUSALS as error:
                raise self._failed(error, method, timeout) from None

        if isinstance(begun, Start):
            start = begun
            deadline = start.count(time.monotonic())

            def prepare(cancelled: Callable[[], bool]) -> Ready:
                start.over = lambda: self._closed or cancelled()
                return self._started(start)

            call = PendingCall.begin(prepare, made, deadline, start.late, self._target.threads)
        else:
            call = made(begun)
        self._running.add(call)
        if self._closed:
            call.cancel()  # close() may not have seen it
        return call
