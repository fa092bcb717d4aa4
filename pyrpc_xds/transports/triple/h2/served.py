"""One call of a server on nghttp2: from its headers to its status, for all four kinds of methods.

A unary call runs once its request is there in full, on the thread that read it, if that can be spared. A stream
occupies a thread: its handler takes the requests as they come, and is held up when the caller does not take the
responses.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from . import wire
from .compressed import Unreadable, inflated
from .context import Aborted, Context, Signal

if TYPE_CHECKING:
    from .serving import ServerConnection

# Bytes of responses that wait to be framed, above which a handler waits, and below which it goes on.
_QUEUED_BYTES = 262_144
# Waits are looked up at least this often; they are woken when there is something.
_LOOK_UP_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


class HandlerCallDetails(NamedTuple):
    """As :class:`grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[wire.Metadatum, ...]


class _Over(Exception):
    """The caller does not wait any more, or the request is not one: the call has its end."""


class Served:
    """A call that is being served.

    :param stream: of :mod:`pyrpc_xds._h2`; this is its tag.
    :param fields: its headers.
    :ivar active: whether the caller still waits.
    :ivar until: clock time of the caller's deadline, or ``None``.
    """

    __slots__ = (
        "_context",
        "_encoding",
        "_handler",
        "_parked",
        "_signal",
        "_started",
        "_variables",
        "active",
        "connection",
        "counted",
        "metadata",
        "method",
        "stream",
        "until",
    )

    def __init__(self, connection: ServerConnection, stream: Any, fields: list[tuple[str, str]]) -> None:
        self.connection = connection
        self.stream = stream
        self.metadata = wire.received(fields)
        self.method = ""
        self.until: float | None = None
        self._encoding = "identity"
        for name, value in fields:
            if name == ":path":
                self.method = value
            elif name == "grpc-timeout":
                seconds = wire.seconds_of(value)
                if seconds is not None:
                    self.until = time.monotonic() + seconds
            elif name == "grpc-encoding":
                self._encoding = value
        self.active = True
        self.counted = True
        self._started = False
        self._context = Context(self)
        self._handler: Any = None
        # Interceptors and handler share one, as in grpcio.
        self._variables = contextvars.Context()
        self._parked = False
        # Of what has a thread that waits.
        self._signal: Signal | None = None

    # What the connection tells; on the thread that reads or writes.

    def changed(self) -> bool:
        """Something has happened to the stream. Returns whether the call is to be run now."""
        stream = self.stream
        if stream.closed and self.active:
            self.finish()
        if self._signal is not None:
            self._signal.wake()
        if self._parked and stream.over:
            self._parked = False
            return self.active
        if not self.active and not stream.over and not stream.queued:
            # It was answered before it was all there: the rest is not wanted.
            self.connection.session.reset(stream, 0)
        return False

    def cancel(self) -> None:
        """End the call as CANCELLED, whatever its handler does."""
        if self.active:
            self.connection.session.reset(self.stream, 8)
            self.finish()
            self.connection.flush()

    def expire(self) -> None:
        """The caller's deadline has passed."""
        if self.active:
            self._end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())

    def finish(self) -> None:
        """The call is over."""
        self.active = False
        if self._signal is not None:
            self._signal.wake()
        self.connection.ended(self)
        for callback in self._context.over():
            try:
                callback()
            except Exception:
                _LOG.exception("a callback of %s failed", self.method)

    # The call; on a thread that may wait.

    def run(self) -> None:
        """Find the handler and run it."""
        self._variables.run(self._run)

    def _run(self) -> None:
        try:
            if self._handler is None and not self._found():
                return
            handler = self._handler
            if handler.request_streaming:
                self._answer(handler, self._requests(handler.request_deserializer))
            elif self.stream.over or not self._park():
                self._answer(handler, self._request(handler.request_deserializer))
        except _Over:
            pass
        except Exception:
            _LOG.exception("serving %s failed", self.method)
            self._end(grpc.StatusCode.INTERNAL, "Internal error of the server", ())

    def _found(self) -> bool:
        details = HandlerCallDetails(self.method, self.metadata)
        try:
            self._handler = self.connection.server.handler(details)
        except Exception as error:
            _LOG.exception("Exception servicing handler: %s", error)
            self._end(grpc.StatusCode.UNKNOWN, f"Error in service handler: {error}", ())
            return False
        if self._handler is None:
            self._end(grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {self.method}", ())
            return False
        if self._handler.request_streaming or self._handler.response_streaming:
            self._signal = Signal()
        if not self._handler.request_streaming:
            self.stream.let_all_come()
            if self.connection.session.pending:
                self.connection.flush()
        return True

    def _park(self) -> bool:
        """Leave the thread until the request is there. False: it has just come."""
        self._parked = True
        if self.stream.over and self._parked:
            self._parked = False
            return False
        return True

    def _request(self, deserializer: Any) -> Any:
        stream = self.stream
        message = stream.message()
        if message is None:
            if stream.too_large:
                self._refuse(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is larger than this server takes"
                )
            try:
                whole = stream.take()
            except OverflowError as error:
                self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the request is too large: {error}")
            if whole is None or stream.unread:
                self._refuse(grpc.StatusCode.INTERNAL, "the request is not one whole message")
            message = self._plain(whole)
        return self._deserialized(message, deserializer)

    def _requests(self, deserializer: Any) -> Iterator[Any]:
        stream = self.stream
        while True:
            ended = (
                stream.remote_end
            )  # before taking: another thread may read the rest while this one flushes
            try:
                whole = stream.take()
            except OverflowError as error:
                self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a request is too large: {error}")
            self.connection.flush()
            if whole is not None:
                if not self.active:
                    raise _Over
                yield self._deserialized(self._plain(whole), deserializer)
            elif not self.active:
                raise _Over
            elif ended:
                if stream.too_large:
                    self._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "the request's trailers are too large")
                if stream.unread:
                    self._refuse(grpc.StatusCode.INTERNAL, "the last request is not a whole message")
                return
            elif not stream.remote_end:
                self._wait()

    def _wait(self) -> None:
        seconds = _LOOK_UP_SECONDS
        if self.until is not None:
            seconds = min(seconds, self.until - time.monotonic())
            if seconds <= 0:
                self.expire()
        assert self._signal is not None
        self._signal.wait(seconds)

    def _plain(self, whole: bytes) -> bytes:
        if not whole[0]:
            return whole[5:]
        try:
            return inflated(whole, self._encoding, self.connection.server.max_message)
        except Unreadable as error:
            return self._refuse(error.code, error.details)  # type: ignore[no-any-return]

    def _deserialized(self, message: bytes, deserializer: Any) -> Any:
        if deserializer is None:
            return message
        try:
            return deserializer(message)
        except Exception as error:
            _LOG.exception("Exception deserializing message!")
            self._refuse(grpc.StatusCode.INTERNAL, f"Exception deserializing request! ({error})")

    def _refuse(self, code: grpc.StatusCode, details: str) -> Any:
        self._end(code, details, ())
        raise _Over

    def _answer(self, handler: Any, request: Any) -> None:
        if not self.active:
            return
        name = "stream_" if handler.request_streaming else "unary_"
        behavior = getattr(handler, name + ("stream" if handler.response_streaming else "unary"))
        serializer = handler.response_serializer
        pool = getattr(behavior, "experimental_thread_pool", None)
        if getattr(behavior, "experimental_non_blocking", False):
            self._guarded(behavior, request, self._context, lambda response: self._sent(response, serializer))
        elif pool is not None:
            kind = self._stream if handler.response_streaming else self._unary
            pool.submit(self._variables.copy().run, kind, behavior, request, serializer)
        elif handler.response_streaming:
            self._stream(behavior, request, serializer)
        else:
            self._unary(behavior, request, serializer)

    def _guarded(self, behavior: Any, *arguments: Any) -> Any:
        """What the application's code gives. Its exceptions end the call.

        :raises _Over: it did.
        """
        context = self._context
        try:
            return behavior(*arguments)
        except StopIteration:
            raise
        except _Over:
            raise
        except Exception as error:
            if not isinstance(error, Aborted) and not context.aborted:
                if self.active:
                    _LOG.exception("Exception calling application: %s", error)
                self._end(
                    grpc.StatusCode.UNKNOWN, f"Exception calling application: {error}", context.trailers
                )
            else:
                self._end(context.status, context.message, context.trailers)
            raise _Over from None

    def _unary(self, behavior: Any, request: Any, serializer: Any) -> None:
        try:
            response = self._guarded(behavior, request, self._context)
            context = self._context
            message = self._serialized(response, serializer)
            if context.status is None and not context.trailers and not self._started and self.active:
                self.connection.answer(self, message)
                return
            if self._send(message):
                self._end(context.status, context.message, context.trailers)
        except _Over:
            pass

    def _stream(self, behavior: Any, request: Any, serializer: Any) -> None:
        responses = None
        try:
            responses = iter(self._guarded(behavior, request, self._context))
            while True:
                try:
                    response = self._guarded(next, responses)
                except StopIteration:
                    break
                if not self._send(self._serialized(response, serializer)):
                    return
                while self.active and self.stream.queued > _QUEUED_BYTES:
                    self._wait()
            context = self._context
            self._end(context.status, context.message, context.trailers)
        except _Over:
            pass
        finally:
            close = getattr(responses, "close", None)
            if close is not None:
                try:
                    close()
                except Exception:
                    _LOG.exception("the responses of %s could not be closed", self.method)

    def _sent(self, response: Any, serializer: Any) -> None:
        """For handlers that answer by a callback: a response, or ``None`` for the end."""
        if response is None:
            context = self._context
            self._end(context.status, context.message, context.trailers)
        elif self.active:
            self._send(self._serialized(response, serializer))

    def _serialized(self, response: Any, serializer: Any) -> bytes:
        try:
            message = response if serializer is None else serializer(response)
            if type(message) is bytes:
                return message
        except Exception:
            _LOG.exception("Exception serializing message!")
        self._end(grpc.StatusCode.INTERNAL, "Failed to serialize response!", ())
        raise _Over

    def start(self, metadata: Any) -> bool:
        """Send the headers of the answer; False: they were sent."""
        if self._started or not self.active:
            return False
        fields = wire.answered(metadata)
        self._started = True
        self.connection.session.respond(self.stream, self.connection.server.head, fields)
        self.connection.flush()
        return True

    def _send(self, message: bytes) -> bool:
        """Send a response; False: nobody waits for it."""
        if not self.active:
            return False
        session = self.connection.session
        if not self._started:
            self._started = True
            session.respond(self.stream, self.connection.server.head, ())
        session.data(self.stream, message)
        self.connection.flush()
        return self.active

    def _end(self, code: Any, details: Any, metadata: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if code is None:
            number, told = 0, details
        else:
            number = wire.CODES.get(code, code if type(code) is int and 0 <= code < 1 << 31 else 2)
            told = details
        fields: tuple[wire.Field, ...] = ((b"grpc-status", b"%d" % number, True),)
        if told:
            text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
            fields += ((b"grpc-message", wire.message(text), False),)
        try:
            fields += wire.answered(metadata)
        except (ValueError, TypeError, IndexError) as error:
            _LOG.error("%s: %s", self.method, error)
            fields = ((b"grpc-status", b"13", True), (b"grpc-message", b"Invalid trailing metadata", True))
        self.connection.end(self, fields, self._started)
