"""TripleChannel: a :class:`grpc.Channel` whose calls are routed by xDS, each to an endpoint of its own.

From the routing decision on, a call is grpcio's: its multicallable on the channel of the endpoint. What comes
before costs a few microseconds: the route, the pick, two dictionary look-ups and one look at the channel's
state.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from ...attachments import current_attachments, persistent_attachments
from ...errors import CallError, Unavailable
from ...incoming_deadline import incoming_deadline, within
from ...resilience.deadline import shorter
from .business import BusinessAware, surfaced
from .connection import READY, Connection, members
from .connectivity import Connectivity
from .errors import ChannelClosed, TripleError, translated
from .fork import reset_in_child
from .metadata import Metadata, Pairs, outgoing
from .options import Options
from .pending import PendingCall
from .target import Closed, Method, Start, Targets, run_blocking

# A call ready to be made: grpcio's multicallable, the seconds it may take, the metadata to send.
_Ready = tuple[Any, float | None, Metadata | None]


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

    def _method(self, kind: str, path: Any, serializer: Any, deserializer: Any, registered: Any) -> Method:
        authority = self._target.authority
        return Method(kind, path, serializer, deserializer, registered, authority, self._metadata)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        """As :meth:`grpc.Channel.unary_unary`."""
        return UnaryUnary(
            self,
            self._method(
                "unary_unary", method, request_serializer, response_deserializer, _registered_method
            ),
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        """As :meth:`grpc.Channel.unary_stream`."""
        return UnaryStream(
            self,
            self._method(
                "unary_stream", method, request_serializer, response_deserializer, _registered_method
            ),
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        """As :meth:`grpc.Channel.stream_unary`."""
        return StreamUnary(
            self,
            self._method(
                "stream_unary", method, request_serializer, response_deserializer, _registered_method
            ),
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        """As :meth:`grpc.Channel.stream_stream`."""
        return StreamStream(
            self,
            self._method(
                "stream_stream", method, request_serializer, response_deserializer, _registered_method
            ),
        )

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

    def _refused(self, error: ValueError) -> ValueError:
        """grpcio's error where it refuses to begin a call: ours, if the channel was closed meanwhile."""
        return self._closed_error() if self._closed else error

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
    ) -> _Ready | Start:
        until = incoming_deadline()
        if until is not None:
            try:
                timeout = within(timeout)
            except CallError as error:
                raise translated(error, self._target.name, method.path, until) from None
        attached = current_attachments()
        if metadata is None and not attached:
            metadata, headers = method.metadata, method.headers
        else:
            metadata, headers = outgoing(
                metadata, attached, method.headers, persistent_attachments(), method.metadata
            )
        snapshot = self._router.snapshot
        picked = None
        if snapshot is not None:
            try:
                destination = snapshot.route(method.path, headers)
                cluster = destination.cluster
                endpoint = cluster.pick()
            except CallError as error:
                if not (wait_for_ready and isinstance(error, Unavailable)):
                    raise translated(error, self._target.name, method.path) from error
            else:
                connection: Connection = endpoint.connection
                call = connection.calls.get(method.key)
                try:
                    if call is not None and connection.state(False) == READY:
                        if connection.failing:
                            connection.failing = False
                            endpoint.succeeded()
                        return call, shorter(destination, timeout), metadata
                except ValueError as error:  # of state: closed since the snapshot was read
                    raise self._refused(error) from None
                picked = destination, cluster, endpoint
        return Start(
            self._target, method, timeout, metadata, headers, bool(wait_for_ready), picked, self._over
        )

    def _over(self) -> bool:
        return self._closed

    def _begin_blocking(
        self, method: Method, timeout: float | None, metadata: Metadata | None, wait_for_ready: bool | None
    ) -> _Ready:
        begun = self._begin(method, timeout, metadata, wait_for_ready)
        return self._started(begun) if isinstance(begun, Start) else begun

    def _started(self, start: Start) -> _Ready:
        while True:
            connection, seconds = run_blocking(start)
            call = connection.usable(start.method.key)
            if call is not None:
                return call, seconds, start.metadata

    def _begin_later(
        self,
        method: Method,
        timeout: float | None,
        metadata: Metadata | None,
        wait_for_ready: bool | None,
        make: Callable[[_Ready], Any],
    ) -> Any:
        """A future or stream: made now if nothing has to be waited for, else on a thread."""
        try:
            begun = self._begin(method, timeout, metadata, wait_for_ready)
        except TripleError as error:
            return PendingCall.failed(error)

        def made(ready: _Ready) -> Any:
            try:
                return make(ready)
            except ValueError as refused:
                raise self._refused(refused) from None

        if isinstance(begun, Start):
            start = begun

            def prepare(cancelled: Callable[[], bool]) -> _Ready:
                start.over = lambda: self._closed or cancelled()
                return self._started(start)

            call = PendingCall.begin(prepare, made, timeout, self._targets.threads)
        else:
            call = made(begun)
        self._running.add(call)
        return call


class _MultiCallable:
    __slots__ = ("_channel", "_method")

    def __init__(self, channel: TripleChannel, method: Method) -> None:
        self._channel = channel
        self._method = method


class UnaryUnary(_MultiCallable, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One unary method; see :class:`grpc.UnaryUnaryMultiCallable`."""

    __slots__ = ()

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Call and wait for the response.

        :param timeout: seconds.
        :raises grpc.RpcError: the call failed; a :class:`.errors.TripleError` if it never reached a server.
        """
        call, timeout, metadata = self._channel._begin_blocking(
            self._method, timeout, metadata, wait_for_ready
        )
        try:
            return call(request, timeout, metadata, credentials, None, compression)
        except grpc.RpcError as error:
            raise surfaced(error, incoming_deadline()) from None
        except ValueError as error:
            raise self._channel._refused(error) from None

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """As calling it, with the :class:`grpc.Call` beside the response."""
        call, timeout, metadata = self._channel._begin_blocking(
            self._method, timeout, metadata, wait_for_ready
        )
        try:
            return call.with_call(request, timeout, metadata, credentials, None, compression)
        except grpc.RpcError as error:
            raise surfaced(error, incoming_deadline()) from None
        except ValueError as error:
            raise self._channel._refused(error) from None

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call; returns its :class:`grpc.Future` and :class:`grpc.Call` at once."""

        def make(ready: _Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call.future(request, seconds, sent, credentials, None, compression))

        return self._channel._begin_later(self._method, timeout, metadata, wait_for_ready, make)


class UnaryStream(_MultiCallable, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """One method with a response stream; see :class:`grpc.UnaryStreamMultiCallable`."""

    __slots__ = ()

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call; returns its response iterator and :class:`grpc.Call` at once."""

        def make(ready: _Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call(request, seconds, sent, credentials, None, compression))

        return self._channel._begin_later(self._method, timeout, metadata, wait_for_ready, make)


class StreamUnary(_MultiCallable, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """One method with a request stream; see :class:`grpc.StreamUnaryMultiCallable`."""

    __slots__ = ()

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Call and wait for the response; as :meth:`UnaryUnary.__call__`."""
        call, timeout, metadata = self._channel._begin_blocking(
            self._method, timeout, metadata, wait_for_ready
        )
        try:
            return call(request_iterator, timeout, metadata, credentials, None, compression)
        except grpc.RpcError as error:
            raise surfaced(error, incoming_deadline()) from None
        except ValueError as error:
            raise self._channel._refused(error) from None

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """As calling it, with the :class:`grpc.Call` beside the response."""
        call, timeout, metadata = self._channel._begin_blocking(
            self._method, timeout, metadata, wait_for_ready
        )
        try:
            return call.with_call(request_iterator, timeout, metadata, credentials, None, compression)
        except grpc.RpcError as error:
            raise surfaced(error, incoming_deadline()) from None
        except ValueError as error:
            raise self._channel._refused(error) from None

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call; returns its :class:`grpc.Future` and :class:`grpc.Call` at once."""

        def make(ready: _Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call.future(request_iterator, seconds, sent, credentials, None, compression))

        return self._channel._begin_later(self._method, timeout, metadata, wait_for_ready, make)


class StreamStream(_MultiCallable, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """One method with both streams; see :class:`grpc.StreamStreamMultiCallable`."""

    __slots__ = ()

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call; returns its response iterator and :class:`grpc.Call` at once."""

        def make(ready: _Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call(request_iterator, seconds, sent, credentials, None, compression))

        return self._channel._begin_later(self._method, timeout, metadata, wait_for_ready, make)
