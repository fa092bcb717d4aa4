"""The multicallables of a :class:`.channel.TripleChannel`: what a stub calls, one class a kind.

A call goes to grpcio's multicallable at once where nothing has to be waited for. Otherwise the thread of a blocking
caller waits; a future or stream is a :class:`.pending.PendingCall`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from .business import BusinessAware
from .metadata import Metadata
from .method import REFUSALS, Method

if TYPE_CHECKING:
    from .channel import TripleChannel

#: A call ready to be made: grpcio's multicallable, the seconds it may take, the metadata to send.
Ready = tuple[Any, float | None, Metadata | None]


class _MultiCallable:
    __slots__ = ("_channel", "_method")

    def __init__(self, channel: TripleChannel, method: Method) -> None:
        self._channel = channel
        self._method = method


class _UnaryResponse(_MultiCallable):
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
        :raises UsageError: ``timeout`` is no number.
        """
        channel = self._channel
        call, timeout, metadata = channel._ready(self._method, timeout, metadata, wait_for_ready)
        try:
            return call(request, timeout, metadata, credentials, None, compression)
        except (grpc.RpcError, *REFUSALS) as error:
            raise channel._failed(error, self._method, timeout) from None

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
        channel = self._channel
        call, timeout, metadata = channel._ready(self._method, timeout, metadata, wait_for_ready)
        try:
            return call.with_call(request, timeout, metadata, credentials, None, compression)
        except (grpc.RpcError, *REFUSALS) as error:
            raise channel._failed(error, self._method, timeout) from None

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

        def make(ready: Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call.future(request, seconds, sent, credentials, None, compression))

        return self._channel._later(self._method, timeout, metadata, wait_for_ready, make)


class _StreamResponse(_MultiCallable):
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

        def make(ready: Ready) -> Any:
            call, seconds, sent = ready
            return BusinessAware(call(request, seconds, sent, credentials, None, compression))

        return self._channel._later(self._method, timeout, metadata, wait_for_ready, make)


class UnaryUnary(_UnaryResponse, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One unary method; see :class:`grpc.UnaryUnaryMultiCallable`."""

    __slots__ = ()


class UnaryStream(_StreamResponse, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """One method with a response stream; see :class:`grpc.UnaryStreamMultiCallable`."""

    __slots__ = ()


# With request streams the first argument has another name, as with grpcio; everything else is the same.


class StreamUnary(_UnaryResponse, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """One method with a request stream; see :class:`grpc.StreamUnaryMultiCallable`."""

    __slots__ = ()

    def __call__(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        """Call and wait for the response; arguments and errors as of :class:`UnaryUnary`."""
        return super().__call__(request_iterator, *rest, **named)

    def with_call(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        """As calling it, with the :class:`grpc.Call` beside the response."""
        return super().with_call(request_iterator, *rest, **named)

    def future(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        """Begin the call; returns its :class:`grpc.Future` and :class:`grpc.Call` at once."""
        return super().future(request_iterator, *rest, **named)


class StreamStream(_StreamResponse, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """One method with both streams; see :class:`grpc.StreamStreamMultiCallable`."""

    __slots__ = ()

    def __call__(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        """Begin the call; arguments as of :class:`UnaryStream`."""
        return super().__call__(request_iterator, *rest, **named)


MULTICALLABLES: dict[str, type[_MultiCallable]] = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}
