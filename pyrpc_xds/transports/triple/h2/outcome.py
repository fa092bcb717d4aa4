"""What a call has come to, in grpcio's shapes: the :class:`grpc.Call` beside a response, or the error."""

from __future__ import annotations

from typing import Any

import grpc

from ..ended import EndedCall, FailedFuture
from . import wire


class FinishedCall(EndedCall, grpc.Call):
    """A call that is over.

    :param stream: of :mod:`pyrpc_xds._h2`; ``None``: it came to nothing before the server answered.
    """

    def __init__(self, code: grpc.StatusCode, details: str, stream: Any = None) -> None:
        self._status = code
        self._text = details
        self._stream = stream

    def initial_metadata(self) -> tuple[wire.Metadatum, ...]:
        """As :meth:`grpc.Call.initial_metadata`."""
        stream = self._stream
        if stream is None or not stream.head_done or _trailers_only(stream):
            return ()
        return wire.received(stream.head())

    def trailing_metadata(self) -> tuple[wire.Metadatum, ...]:
        """As :meth:`grpc.Call.trailing_metadata`."""
        stream = self._stream
        if stream is None:
            return ()
        return wire.received(stream.head() if _trailers_only(stream) else stream.trailers())

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._status

    def details(self) -> str:
        """The status message."""
        return self._text

    def debug_error_string(self) -> str:
        """As :meth:`details`."""
        return self._text


class CallFailed(FailedFuture, FinishedCall, grpc.RpcError, grpc.Future):  # type: ignore[misc, type-arg]
    """A call that ended with another status than OK."""

    def __init__(self, code: grpc.StatusCode, details: str, stream: Any = None) -> None:
        FinishedCall.__init__(self, code, details, stream)
        Exception.__init__(self, code, details)

    def __str__(self) -> str:
        return f"{self._status.name}: {self._text}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._status, self._text)

    def cancelled(self) -> bool:
        """As :meth:`grpc.Future.cancelled`."""
        return self._status is grpc.StatusCode.CANCELLED


def _trailers_only(stream: Any) -> bool:
    """Whether the one block of headers was the whole answer: gRPC's Trailers-Only."""
    return (
        stream.remote_end
        and not stream.trailers()
        and any(name == "grpc-status" for name, _ in stream.head())
    )


def failed(stream: Any, peer: str) -> CallFailed:
    """The error of a stream that is over and has not brought a response.

    :param peer: named where the peer gives no message.
    """
    status, http = stream.grpc_status, stream.http_status
    if stream.too_large:
        return CallFailed(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"{peer} answered with more than this channel takes", stream
        )
    if status == 0 and http == 200 and stream.remote_end:
        return CallFailed(grpc.StatusCode.INTERNAL, f"{peer} answered OK without one whole message", stream)
    if status > 0:
        told = dict([*stream.head(), *stream.trailers()]).get("grpc-message", "")
        code = wire.STATUS.get(status, grpc.StatusCode.UNKNOWN)
        return CallFailed(code, wire.text(told), stream)
    if http not in (0, 200):
        return CallFailed(wire.of_http(http), f"{peer} answered HTTP {http}, which is not gRPC", stream)
    if stream.closed and stream.error_code:
        code = wire.of_reset(stream.error_code)
        how = "reset the call" if stream.reset_by_peer else "answered with what HTTP/2 does not allow"
        return CallFailed(code, f"{peer} {how} (HTTP/2 error {stream.error_code})", stream)
    kind = dict(stream.head()).get("content-type", "none")
    return CallFailed(
        grpc.StatusCode.UNKNOWN, f"{peer} answered without a status (content-type: {kind})", stream
    )
