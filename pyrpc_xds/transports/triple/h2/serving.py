"""One connection of a server on nghttp2."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any

from .lifetime import Lifetime
from .served import Served

if TYPE_CHECKING:
    from .answer import Answer
    from .server import Server

# Streams that a client may give up before their handlers have begun, or break: so many at once, and a second for good.
_GIVEN_UP = 1_000
_GIVEN_UP_A_SECOND = 100
# Frames that wait for a client to read, above which it is not waited for; bodies are not counted.
_UNSENT = 10_000
_ENHANCE_YOUR_CALM = 11
# What a client may send of one call before it is read.
WINDOW_BYTES = 1 << 20
# For a client to close a connection that nothing more comes on.
_PARTING_SECONDS = 1.0
# For a client to introduce itself.
_INTRODUCTION_SECONDS = 20.0


class ServerConnection:
    """A connection that calls come on.

    Life span: made when it is accepted; closed when the peer has closed it, or the server has said GOAWAY and its
    last call has ended.

    "Rapid reset" (CVE-2023-44487) and "MadeYouReset" (CVE-2025-8671) are calls that cost the server and nobody waits
    for. Counted are streams that the client resets before their handler has begun, and those that nghttp2 resets
    because the client broke the protocol in them: a thousand at once, and a hundred a second, are taken. Then new calls
    are refused (GOAWAY, ENHANCE_YOUR_CALM) and those that run go on, so an honest client loses none; the same again,
    and the connection is closed. Calls that run may be cancelled without limit: their handlers' threads are the limit.

    :ivar calls: those that somebody waits for.
    :ivar begun: how many calls have come.
    :ivar given_up: streams that the client has reset before their handler had begun.
    """

    def __init__(self, server: Server, accepted: socket.socket, address: Any) -> None:
        module = server.module
        self.server = server
        self.descriptor = accepted.fileno()
        self._broken = (OSError, EOFError, module.H2Error)
        options = server.options
        self.session: Any = module.Session(
            True, options.max_message, options.max_headers, WINDOW_BYTES, options.max_streams
        )
        self.peer = _peer(accepted, address)
        self.session.attach(accepted.detach())
        self.calls: set[Served] = set()
        self.closed = False
        self.going = False
        self.since = time.monotonic()
        self.begun = 0
        self.given_up = 0
        self._counted = 0
        self._counted_at = self.since
        self._allowance = float(_GIVEN_UP)
        # Clock time from which on only the end of what the peer sends is waited for.
        self._parted_at: float | None = None
        self._lifetime = Lifetime(options, self.since, random.random())

    def __repr__(self) -> str:
        return f"<ServerConnection {self.peer}{' closed' if self.closed else ''}>"

    def read(self) -> list[Served]:
        """Deal with what has come; the calls that are to be run."""
        session = self.session
        try:
            changed = session.fetch(0)
        except self._broken:
            self.flush()  # a GOAWAY that says what the peer did wrong
            self.lose()
            return []
        ready = []
        for stream in changed or ():
            call = stream.tag
            if call is None:
                call = self._begun(stream)
                if call is not None:
                    ready.append(call)
            elif call.changed():
                ready.append(call)
        if session.pending or session.stuck:
            self.flush()
        if self.given_up + session.broken != self._counted:
            self._count(self.given_up + session.broken)
        if session.unsent > _UNSENT:
            self.lose()
        elif session.over and session.written_out:
            self._part()  # the peer broke the protocol and was told, or all is done after a GOAWAY
        return [] if self.closed else ready

    def _begun(self, stream: Any) -> Served | None:
        if stream.closed:
            self.given_up += stream.reset_by_peer
            return None
        if not stream.head_done:
            return None
        fields = stream.head()
        said = dict(fields)
        kind = said.get("content-type", "")
        if said.get(":method") != "POST":
            self._refuse(stream, b"405", ((b"allow", b"POST", True),))
        elif not kind.startswith("application/grpc") or kind[16:17] not in {"", "+", ";"}:
            self._refuse(stream, b"415", ())
        else:
            call = Served(self, stream, fields)
            stream.tag = call
            self.begun += 1
            refusal = self.server.admit()
            if refusal is None:
                self.calls.add(call)
                return call
            call.refuse(refusal)
            stream.tag = _Refused(self, stream)
        return None

    def _refuse(self, stream: Any, status: bytes, extra: tuple[Any, ...]) -> None:
        stream.tag = _Refused(self, stream)
        self.session.refuse(stream, self.server.http, ((b":status", status, True), *extra))

    def _count(self, count: int) -> None:
        now = time.monotonic()
        regained = (now - self._counted_at) * _GIVEN_UP_A_SECOND
        self._allowance = min(self._allowance + regained, _GIVEN_UP) - (count - self._counted)
        self._counted, self._counted_at = count, now
        if self._allowance < 0:
            if self.going:
                self.lose()
            else:
                self.go_away(_ENHANCE_YOUR_CALM)

    def answer(self, call: Served, message: bytes) -> None:
        """The whole of a plain answer: headers, one message, the status OK."""
        session, stream, server = self.session, call.stream, self.server
        try:
            session.respond(stream, server.head, ())
            session.data(stream, message)
            session.end(stream, server.ok, ())
            self.flush()
        finally:
            call.finish()

    def end(self, call: Answer, fields: tuple[Any, ...], started: bool) -> None:
        """The end of an answer.

        :param fields: the status, and what goes with it.
        :param started: whether its headers were sent.
        """
        try:
            if started:
                self.session.end(call.stream, self.server.nothing, fields)
            else:
                self.session.refuse(call.stream, self.server.head, fields)
            self.flush()
        finally:
            call.finish()

    def flush(self) -> None:
        """Send what there is to send, and tell the calls that it has changed."""
        if self.closed or self._parted_at is not None:
            return
        session = self.session
        try:
            if not session.flush():
                self.server.watch(self)
        except self._broken:
            self.lose()
            return
        for stream in session.sent():
            if stream.tag is not None and stream.tag.changed():
                self.server.queue.add(stream.tag)  # cannot be: only what comes makes a call run
        if session.pending and session.written_out:
            self.flush()  # resets of streams that were answered before they were all there

    def go_away(self, code: int = 0) -> None:
        """Take no new calls; close when the last one has ended.

        :param code: what GOAWAY says.
        """
        if not self.going:
            self.going = True
            self._allowance = _GIVEN_UP  # for all that may be open
            self.session.shutdown(code)
            self.flush()
        if not self.calls and self.session.over and self.session.written_out:
            self._part()

    def _part(self) -> None:
        """Wait a moment for the peer to close. Closing first loses what it has not read yet, if it sends meanwhile: TCP
        then resets the connection.
        """
        if self._parted_at is None and not self.closed:
            self._parted_at = time.monotonic()
            self.session.close_sending()
            for call in list(self.calls):
                call.finish()  # after an error of the protocol none is answered any more

    def look_after(self, now: float) -> None:
        """Deadlines of calls, the life span of the connection, and a client that does not introduce itself or is gone.

        :param now: clock time.
        """
        session = self.session
        for call in list(self.calls):
            if call.until is not None and call.until <= now:
                call.expire()
        if not session.ready and now - self.since > _INTRODUCTION_SECONDS:
            self.lose()
        elif self._parted_at is not None:
            if now - self._parted_at > _PARTING_SECONDS:
                self.lose()
        elif session.over and session.written_out and not self.going:
            self._part()  # the protocol was broken while another thread was in the middle of sending
        else:
            self._lifetime.look_after(self, now)
        if self.going and not self.closed:
            self.go_away()

    def lose(self) -> None:
        """Close; the calls that run are cancelled."""
        if self.closed:
            return
        self.closed = True
        self.server.forget(self)
        self.session.close()
        for call in list(self.calls):
            call.finish()


class _Refused:
    """The tag of a stream that is not to be a call."""

    def __init__(self, connection: ServerConnection, stream: Any) -> None:
        self._connection, self._stream = connection, stream

    def changed(self) -> bool:
        """Nothing to do."""
        stream = self._stream
        if stream.closed:
            self._connection.given_up += stream.reset_by_peer
        elif stream.local_end and not stream.over:
            self._connection.session.reset(stream, 0)  # the rest is not wanted
        return False


def _peer(accepted: socket.socket, address: Any) -> str:
    """As grpcio writes it."""
    if accepted.family == socket.AF_UNIX:
        return "unix:"
    host, port = address[:2]
    if accepted.family == socket.AF_INET6:
        if host.startswith("::ffff:"):
            return f"ipv4:{host[7:]}:{port}"
        return f"ipv6:%5B{host}%5D:{port}"
    return f"ipv4:{host}:{port}"
