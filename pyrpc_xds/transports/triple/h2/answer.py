"""What a call of the server on nghttp2 is answered: headers, responses, and the one end that it has.

What a call occupies it gives back as soon as nobody waits for it: its place in ``maximum_concurrent_rpcs``, and in the
queue while it waits for a thread or for its request; only when its handler has ended, where that runs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc

from ...raised import is_ctrl_c
from . import wire
from .context import Context, Signal

if TYPE_CHECKING:
    from .serving import ServerConnection

_LOG = logging.getLogger(__name__)


class Over(grpc.RpcError):
    """The caller does not wait any more, or the request is not one: the call has its end. As grpcio tells handlers."""


class Answer:
    """The side of a call that is sent. Any thread.

    :param stream: of :mod:`pyrpc_xds._h2`.
    :ivar active: whether the caller still waits.
    :ivar metadata: what came with it.
    :ivar until: clock time of the caller's deadline, or ``None``.
    """

    __slots__ = (
        "_context",
        "_ends",
        "_places",
        "_running",
        "_signal",
        "_started",
        "active",
        "connection",
        "metadata",
        "method",
        "stream",
        "until",
    )

    def __init__(self, connection: ServerConnection, stream: Any) -> None:
        self.connection = connection
        self.stream = stream
        self.method = ""
        self.metadata: tuple[wire.Metadatum, ...] = ()
        self.until: float | None = None
        self.active = True
        # Each is for the one thread that pops it: to end the call, and to give back its place among the calls at a
        # time.
        self._ends = [None]
        self._places = [None]
        # Whether a thread is about it.
        self._running = False
        self._started = False
        self._context = Context(self)
        # Of what has a thread that waits.
        self._signal: Signal | None = None

    def cancel(self) -> None:
        """End the call as CANCELLED, whatever its handler does."""
        if popped(self._ends):
            self.connection.session.reset(self.stream, 8)
            self.finish()
            self.connection.flush()

    def give_up(self) -> bool:
        """:meth:`cancel` from its handler, which the caller is told as a status; False: it is over already."""
        was = self.active
        self._end(grpc.StatusCode.CANCELLED, b"CANCELLED", None)
        return was

    def expire(self) -> None:
        """The caller's deadline has passed."""
        self._end(grpc.StatusCode.DEADLINE_EXCEEDED, b"Deadline Exceeded", None)

    def refuse(self, details: str) -> None:
        """End the call as one too many; it has no place."""
        self._places.clear()
        self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, details.encode(), None)

    def finish(self) -> None:
        """The call is over."""
        self.active = False
        if self._signal is not None:
            self._signal.wake()
        self.connection.calls.discard(self)
        self.stream.discard()  # stream and call refer to each other, and wait for the garbage collector
        if not self._running:
            self.connection.server.queue.discard(self)
            self._leave()
        for callback in self._context.over():
            try:
                callback()
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                _LOG.exception("a callback of %s failed", self.method)

    def _leave(self) -> None:
        """Give the place back; without effect the second time."""
        if popped(self._places):
            self.connection.server.dismiss()

    def start(self, metadata: Any) -> bool:
        """Send the headers of the answer; False: they were sent.

        Metadata that cannot travel ends the call.

        :raises TypeError: it is not metadata; :class:`grpc.RpcError`: the caller does not wait any more.
        """
        if self._started:
            return False
        if not self.active:
            raise Over
        server = self.connection.server
        try:
            fields = wire.answered(metadata)
        except ValueError as error:
            _LOG.error("%s: initial metadata: %s", self.method, error)
            self._end(grpc.StatusCode.INTERNAL, b"Invalid metadata", None)
            return True
        size = wire.listed(fields)
        if size + 200 > server.most_bytes or len(fields) + 2 > server.most_fields:
            said = f"the initial metadata ({len(fields)} fields, {size} bytes) is too large"
            self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, said.encode(), None)
            return True
        self._started = True
        self.connection.session.respond(self.stream, server.head, fields)
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

    def _done(self) -> None:
        """The end that the handler has come to. The caller may call again before this thread is done with it."""
        context = self._context
        self._leave()
        self._end(context.status, context.message or b"", context.trailers)

    def _fail(self, code: grpc.StatusCode, details: bytes) -> None:
        """An end that the handler has not come to, with what it has set of it: as in grpcio."""
        context = self._context
        self._leave()
        self._end(
            code if context.status is None else context.status,
            details if context.message is None else context.message,
            context.trailers,
        )

    def _end(self, code: Any, details: bytes, metadata: Any) -> None:
        if not self.active:
            return
        try:
            number = 0 if code is None else wire.CODES.get(code, 2)
            fields = wire.answered(metadata)
        except (ValueError, TypeError) as error:
            _LOG.error("%s: the status, or trailing metadata: %s", self.method, error)
            number, details, fields = 13, b"Invalid metadata", ()
        server = self.connection.server
        fields = wire.ending(number, details, fields, server.most_bytes, server.most_fields)
        if popped(self._ends):
            self.connection.end(self, fields, self._started)


def popped(claims: list[None]) -> bool:
    """Whether this thread is the one that takes what only one may."""
    try:
        claims.pop()
    except IndexError:
        return False
    return True
