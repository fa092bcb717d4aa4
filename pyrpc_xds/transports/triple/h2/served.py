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

from ..compressed import Unreadable, inflated
from . import wire
from .answer import Answer, Over, popped
from .context import Signal

if TYPE_CHECKING:
    from .serving import ServerConnection

# Bytes of responses that wait to be framed, above which a handler waits, and below which it goes on.
_QUEUED_BYTES = 262_144
# Waits are looked up at least this often; they are woken when there is something.
_LOOK_UP_SECONDS = 1.0
# As grpcio words what fails.
_CALLING = "Exception calling application: "
_ITERATING = "Exception iterating responses: "
_LOG = logging.getLogger(__name__)


class HandlerCallDetails(NamedTuple):
    """As :class:`grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[wire.Metadatum, ...]


class Served(Answer):
    """A call that is being served.

    :param stream: of :mod:`pyrpc_xds._h2`; this is its tag.
    :param fields: its headers.
    :ivar begun: whether its handler has.
    """

    __slots__ = (
        "_encoding",
        "_handler",
        "_parked",
        "_variables",
        "begun",
    )

    def __init__(self, connection: ServerConnection, stream: Any, fields: list[tuple[str, str]]) -> None:
        super().__init__(connection, stream)
        self.metadata = wire.received(fields)
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
        self.begun = False
        self._handler: Any = None
        # Popped by the one thread that goes on with the call when its request is there.
        self._parked: list[None] = []
        # Interceptors and handler share one, as in grpcio.
        self._variables = contextvars.Context()

    # What the connection tells; on the thread that reads or writes.

    def changed(self) -> bool:
        """Something has happened to the stream. Returns whether the call is to be run now."""
        stream = self.stream
        if stream.closed and self.active:
            if not self.begun:
                self.connection.given_up += stream.reset_by_peer
            self.finish()
        if self._signal is not None:
            self._signal.wake()
        if self._parked and stream.over:
            return popped(self._parked) and self.active
        if stream.local_end and not stream.over:
            # It was answered before it was all there: the rest is not wanted.
            self.connection.session.reset(stream, 0)
        return False

    # The call; on a thread that may wait.

    def run(self) -> None:
        """Find the handler and run it."""
        self._running = True
        try:
            while self._variables.run(self._run):
                # Not before the context has been left: another thread may be in it from here on.
                self._running = False
                self._parked.append(None)
                if not (self.stream.over and popped(self._parked)):
                    if not self.active:
                        self._leave()
                    return
                self._running = True
        except BaseException:  # of this package: the session does not take the answer
            self._leave()
            self.cancel()
            raise
        self._running = False
        if not self.active:
            self._leave()

    def _run(self) -> bool:
        """Whether the call is to be run again when its request is there."""
        if not self.active:
            return False
        try:
            if self._handler is None and not self._found():
                return False
            handler = self._handler
            if handler.request_streaming:
                self._answer(handler, self._requests(handler.request_deserializer))
            elif self.stream.over:
                self._answer(handler, self._request(handler.request_deserializer))
            else:
                return True
        except Over:
            pass
        except BaseException:  # of application code; on no thread is it Ctrl-C
            _LOG.exception("serving %s failed", self.method)
            self._fail(grpc.StatusCode.INTERNAL, b"Internal error of the server")
        return False

    def _found(self) -> bool:
        details = HandlerCallDetails(self.method, self.metadata)
        try:
            self._handler = self.connection.server.handler(details)
        except BaseException as error:
            _LOG.exception("Exception servicing handler: %s", error)
            self._fail(grpc.StatusCode.UNKNOWN, _said("Error in service handler: ", error))
            return False
        if self._handler is None:
            self._fail(grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {self.method}".encode())
            return False
        if self._handler.request_streaming or self._handler.response_streaming:
            self._signal = Signal()
        if not self._handler.request_streaming:
            self.stream.let_all_come()
            if self.connection.session.pending:
                self.connection.flush()
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
                    raise Over
                yield self._deserialized(self._plain(whole), deserializer)
            elif not self.active:
                raise Over
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
            return inflated(whole, self._encoding, self.connection.server.options.max_message)
        except Unreadable as error:
            return self._refuse(error.code, error.details)  # type: ignore[no-any-return]

    def _deserialized(self, message: bytes, deserializer: Any) -> Any:
        if deserializer is None:
            return message
        try:
            return deserializer(message)
        except BaseException:
            _LOG.exception("Exception deserializing message!")
            self._refuse(grpc.StatusCode.INTERNAL, "Exception deserializing request!")

    def _refuse(self, code: grpc.StatusCode, details: str) -> Any:
        self._fail(code, details.encode())
        raise Over

    def _answer(self, handler: Any, request: Any) -> None:
        if not self.active:
            return
        self.begun = True
        name = "stream_" if handler.request_streaming else "unary_"
        behavior = getattr(handler, name + ("stream" if handler.response_streaming else "unary"))
        serializer = handler.response_serializer
        pool = getattr(behavior, "experimental_thread_pool", None)
        if getattr(behavior, "experimental_non_blocking", False):
            self._guarded(
                _CALLING, behavior, request, self._context, lambda response: self._sent(response, serializer)
            )
        elif pool is not None:
            kind = self._stream if handler.response_streaming else self._unary
            pool.submit(self._variables.copy().run, kind, behavior, request, serializer)
        elif handler.response_streaming:
            self._stream(behavior, request, serializer)
        else:
            self._unary(behavior, request, serializer)

    def _guarded(self, doing: str, behavior: Any, *arguments: Any) -> Any:
        """What the application's code gives. Its exceptions end the call.

        :raises Over: it did.
        """
        context = self._context
        try:
            return behavior(*arguments)
        except Over:
            raise
        except BaseException as error:
            if isinstance(error, StopIteration) and behavior is next:
                raise
            if context.aborted:
                self._fail(grpc.StatusCode.UNKNOWN, b"RPC Aborted")
            else:
                if self.active:
                    _LOG.exception("%s%s", doing, error)
                self._fail(grpc.StatusCode.UNKNOWN, _said(doing, error))
            raise Over from None

    def _unary(self, behavior: Any, request: Any, serializer: Any) -> None:
        try:
            response = self._guarded(_CALLING, behavior, request, self._context)
            context = self._context
            message = self._serialized(response, serializer)
            if context.status is None and not context.trailers and not self._started and self.active:
                self._leave()
                if popped(self._ends):
                    self.connection.answer(self, message)
                return
            if self._send(message):
                self._done()
        except Over:
            pass

    def _stream(self, behavior: Any, request: Any, serializer: Any) -> None:
        responses = None
        try:
            responses = self._guarded(_CALLING, behavior, request, self._context)
            responses = self._guarded(_ITERATING, iter, responses)
            while True:
                try:
                    response = self._guarded(_ITERATING, next, responses)
                except StopIteration:
                    break
                if response is None:
                    break  # as in grpcio
                if not self._send(self._serialized(response, serializer)):
                    return
                while self.active and self.stream.queued > _QUEUED_BYTES:
                    self._wait()
            self._done()
        except Over:
            pass
        finally:
            close = getattr(responses, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException:
                    _LOG.exception("the responses of %s could not be closed", self.method)

    def _sent(self, response: Any, serializer: Any) -> None:
        """For handlers that answer by a callback: a response, or ``None`` for the end."""
        if response is None:
            self._done()
        elif self.active:
            self._send(self._serialized(response, serializer))

    def _serialized(self, response: Any, serializer: Any) -> bytes:
        try:
            message = response if serializer is None else serializer(response)
        except BaseException:
            _LOG.exception("Exception serializing message!")
            message = None
        if type(message) is not bytes:
            self._refuse(grpc.StatusCode.INTERNAL, "Failed to serialize response!")
        most = self.connection.server.options.max_sent
        if len(message) > most:
            said = f"SERVER: Sent message larger than max ({len(message)} vs. {most})"
            self._leave()
            self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, said.encode(), None)
            raise Over
        return message  # type: ignore[no-any-return]


def _said(doing: str, error: BaseException) -> bytes:
    try:
        text = f"{doing}{error if isinstance(error, Exception) else repr(error)}"
    except Exception:
        text = "Calling application raised unprintable Exception!"
    return text.encode("utf-8", "replace")
