"""The multicallables of a :class:`.channel.TripleChannel`: what a stub calls, one class a kind.

A call goes to grpcio's multicallable at once where nothing has to be waited for. Otherwise the thread of a blocking
caller waits; a future or stream is a :class:`.pending.PendingCall`. One that its endpoint did not begin is made again,
as :mod:`.start` would have done had it known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from .business import BusinessAware
from .errors import NotBegun
from .metadata import Metadata
from .method import REFUSALS, Method
from .start import MAX_ENDPOINTS

if TYPE_CHECKING:
    from .channel import TripleChannel

#: A call ready to be made: grpcio's multicallable, the seconds it may take, the metadata to send.
Ready = tuple[Any, float | None, Metadata | None]


class _MultiCallable:
    __slots__ = ("_channel", "_method")

    def __init__(self, channel: TripleChannel, method: Method) -> None:
        self._channel = channel
        self._method = method


def _blocking(form: str, doc: str) -> Callable[..., Any]:
    """A method of a multicallable whose caller waits for the response.

    :param form: which method of grpcio's multicallable it is.
    """

    def call(
        self: Any,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        channel, left = self._channel, MAX_ENDPOINTS
        while True:
            ready, timeout, metadata = channel._ready(self._method, timeout, metadata, wait_for_ready)
            try:
                return getattr(ready, form)(request, timeout, metadata, credentials, None, compression)
            except (grpc.RpcError, *REFUSALS) as error:
                left -= 1
                if not left or not isinstance(error, NotBegun):
                    ready = None  # which an error that is kept would keep, with its connection
                    raise channel._failed(error, self._method, timeout) from None
                timeout = error.seconds_left()

    call.__name__, call.__doc__ = form, doc
    return call


def _begun(form: str, doc: str) -> Callable[..., Any]:
    """A method of a multicallable that returns what stands for the call, at once; ``form`` as for
    :func:`_blocking`.
    """

    def call(
        self: Any,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        def make(ready: Ready) -> Any:
            method, seconds, sent = ready
            return BusinessAware(
                getattr(method, form)(request, seconds, sent, credentials, None, compression)
            )

        return self._channel._later(self._method, timeout, metadata, wait_for_ready, make)

    call.__name__, call.__doc__ = form, doc
    return call


class _UnaryResponse(_MultiCallable):
    __slots__ = ()

    __call__ = _blocking(
        "__call__",
        """Call and wait for the response.

        :param timeout: seconds.
        :raises grpc.RpcError: the call failed; a :class:`.errors.TripleError` if it never reached a server.
        :raises UsageError: ``timeout`` is no number.
        """,
    )
    with_call = _blocking("with_call", "As calling it, with the :class:`grpc.Call` beside the response.")
    future = _begun(
        "future", "Begin the call; returns its :class:`grpc.Future` and :class:`grpc.Call` at once."
    )


class _StreamResponse(_MultiCallable):
    __slots__ = ()

    __call__ = _begun(
        "__call__", "Begin the call; returns its response iterator and :class:`grpc.Call` at once."
    )


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

    def __call__(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:
        """Call and wait for the response; arguments and errors as of :class:`UnaryUnary`."""
        return super().__call__(request_iterator, *rest, **named)

    def with_call(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:
        """As calling it, with the :class:`grpc.Call` beside the response."""
        return super().with_call(request_iterator, *rest, **named)

    def future(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:
        """Begin the call; returns its :class:`grpc.Future` and :class:`grpc.Call` at once."""
        return super().future(request_iterator, *rest, **named)


class StreamStream(_StreamResponse, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """One method with both streams; see :class:`grpc.StreamStreamMultiCallable`."""

    __slots__ = ()

    def __call__(self, request_iterator: Any, *rest: Any, **named: Any) -> Any:
        """Begin the call; arguments as of :class:`UnaryStream`."""
        return super().__call__(request_iterator, *rest, **named)


MULTICALLABLES: dict[str, type[_MultiCallable]] = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}
