"""The multicallables of an :class:`.aio_channel.AioTripleChannel`: the asyncio twin of :mod:`.multicallables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from .aio_interceptors import intercepted
from .aio_pending import RequestQueue
from .method import Method

if TYPE_CHECKING:
    from .aio_channel import AioTripleChannel


class _MultiCallable:
    def __init__(
        self, channel: AioTripleChannel, method: Method, interceptors: tuple[Callable[..., Any], ...]
    ) -> None:
        self._channel = channel
        self._method = method
        self._interceptors = interceptors

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """Begin the call; returns grpc.aio's call object of its kind.

        :param timeout: seconds.
        :raises UsageError: ``timeout`` is no number.
        """
        rest = (credentials, wait_for_ready, compression)
        if not self._interceptors:
            return self._channel._begin(self._method, timeout, metadata, (*rest, request))
        return self._intercept(request, timeout, metadata, *rest)

    def _intercept(
        self,
        requests: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait_for_ready: Any,
        compression: Any,
    ) -> Any:
        channel, method = self._channel, self._method
        method.check(timeout)
        _ = channel._router.snapshot  # a closed channel says so here, as without interceptors

        def begin(details: Any, requests: Any) -> Any:
            rest = (details.credentials, details.wait_for_ready, compression, requests)
            return channel._begin(method.renamed(details.method), details.timeout, details.metadata, rest)

        queue = None
        if requests is None and method.key[0].startswith("stream"):
            requests = queue = RequestQueue()
        details = grpc.aio.ClientCallDetails(
            method.path.encode(),  # type: ignore[arg-type]  # bytes is what grpc.aio gives
            timeout,
            metadata if isinstance(metadata, grpc.aio.Metadata) else grpc.aio.Metadata(*(metadata or ())),
            credentials,
            wait_for_ready,
        )
        call = channel._later(method, intercepted(self._interceptors, begin, details, requests), timeout)
        if queue is not None:
            call._requests = queue
        return call


class _ManyRequests(_MultiCallable):
    # The first argument has another name, as with grpcio, and may be left out.
    def __call__(self, request_iterator: Any = None, *rest: Any, **named: Any) -> Any:  # type: ignore[override]
        """Begin the call; returns grpc.aio's call object of its kind. Arguments are those of :class:`AioUnaryUnary`.

        :param request_iterator: without one, requests are written to the call.
        """
        return super().__call__(request_iterator, *rest, **named)


class AioUnaryUnary(_MultiCallable, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One unary method; see :class:`grpc.aio.UnaryUnaryMultiCallable`."""


class AioUnaryStream(_MultiCallable, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """One method with a response stream; see :class:`grpc.aio.UnaryStreamMultiCallable`."""


class AioStreamUnary(_ManyRequests, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """One method with a request stream; see :class:`grpc.aio.StreamUnaryMultiCallable`."""


class AioStreamStream(_ManyRequests, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """One method with both streams; see :class:`grpc.aio.StreamStreamMultiCallable`."""


MULTICALLABLES: dict[str, type[_MultiCallable]] = {
    "unary_unary": AioUnaryUnary,
    "unary_stream": AioUnaryStream,
    "stream_unary": AioStreamUnary,
    "stream_stream": AioStreamStream,
}
