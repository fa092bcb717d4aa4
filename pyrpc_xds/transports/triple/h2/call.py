"""A unary method whose blocking calls take the short way; every other call of it is grpcio's."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from . import wire
from .outcome import CallFailed, FinishedCall

if TYPE_CHECKING:
    from .connection import ClientConnection
    from .endpoint import Endpoint

_NONE = grpc.Compression.NoCompression
# Of the largest header list that a session sends (ext/_h2.pyx).
_HEADER_BYTES = 65536


class UnaryUnary:
    """A multicallable of one endpoint, called as grpcio's.

    What the short way does not have goes to grpcio: futures, call credentials, compression, metadata that is not
    valid, is HTTP's own or more than a session sends, requests that do not serialize or are too large, timeouts
    beyond what a thread can wait. It answers as it always does.

    :param endpoint: where to.
    :param method: grpcio's multicallable for the same method of the same address, made when it is needed.
    :param held: a connection to keep open while this is there.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        method: Any,
        path: str,
        serializer: Any,
        deserializer: Any,
        held: ClientConnection | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._held = held
        self._most_sent = endpoint.most_sent if endpoint.most_sent >= 0 else sys.maxsize
        self._method = method
        self._serializer = serializer
        self._deserializer = deserializer
        pairs = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", endpoint.authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", endpoint.user_agent.encode()),
        ]
        self._block = endpoint.module.Block(pairs)
        self._room = _HEADER_BYTES - wire.listed((*pair, True) for pair in pairs)
        self._most_fields = endpoint.module.MAX_FIELDS - len(pairs) - 1  # the deadline's
        if self._room < 0:
            self._most_sent = -1  # every call is grpcio's

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """As :meth:`grpc.UnaryUnaryMultiCallable.__call__`."""
        stream = self._made(*arguments, **named)
        return self._method()(*arguments, **named) if stream is None else self._read(stream)

    def with_call(self, *arguments: Any, **named: Any) -> Any:
        """As :meth:`grpc.UnaryUnaryMultiCallable.with_call`."""
        stream = self._made(*arguments, **named)
        if stream is None:
            return self._method().with_call(*arguments, **named)
        return self._read(stream), FinishedCall(grpc.StatusCode.OK, _said(stream), stream)

    def future(self, *arguments: Any, **named: Any) -> Any:
        """As :meth:`grpc.UnaryUnaryMultiCallable.future`."""
        return self._method().future(*arguments, **named)

    def _made(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        """The stream of a call that went well; ``None``: this call is grpcio's."""
        if credentials is not None or wait_for_ready or not (compression is None or compression is _NONE):
            return None
        extra: tuple[wire.Field, ...] = ()
        if metadata is not None:
            metadata = tuple(metadata)
            fields = wire.sent(metadata)
            if fields is None or len(fields) > self._most_fields or wire.listed(fields) > self._room:
                return None
            extra = fields
        until = None
        if timeout is not None:
            if not timeout <= threading.TIMEOUT_MAX:  # nor NaN
                return None
            if timeout <= 0:
                raise CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            until = time.monotonic() + timeout
            extra += ((b"grpc-timeout", wire.timeout(timeout), False),)
        try:
            message = request if self._serializer is None else self._serializer(request)
        except Exception:
            return None
        if type(message) is not bytes or len(message) > self._most_sent:
            return None
        return self._endpoint.call(self._block, extra, message, until)

    def _read(self, stream: Any) -> Any:
        message = stream.message()
        if message is None:
            details = f"{self._endpoint.address} answered OK without one whole message"
            raise CallFailed(grpc.StatusCode.INTERNAL, details, stream)
        if self._deserializer is None:
            return message
        try:
            return self._deserializer(message)
        except Exception as error:
            details = f"Exception deserializing response! ({error})"
            cause = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
            raise CallFailed(grpc.StatusCode.INTERNAL, details, stream) from cause


def _said(stream: Any) -> str:
    return wire.text(dict(stream.trailers()).get("grpc-message", ""))
