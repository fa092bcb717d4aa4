"""One connection of a server on nghttp2."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from .served import Served

if TYPE_CHECKING:
    from .server import Server

# Streams that a client may reset: so many at once, and so many a second for good (nghttp2's own figures). More is
# an attack ("rapid reset", CVE-2023-44487).
_RESETS = 1_000
_RESETS_A_SECOND = 33
_READS = 16


class ServerConnection:
    """A connection that calls come on.

    Life span: made when it is accepted; closed when the peer has closed it, or the server has said GOAWAY and its
    last call has ended.

    :ivar calls: those that are being served.
    """

    def __init__(self, server: Server, accepted: socket.socket, address: Any) -> None:
        module = server.module
        self.server = server
        self.descriptor = accepted.fileno()
        self._broken = (OSError, EOFError, module.H2Error)
        self.session: Any = module.Session(True, *server.limits)
        self.peer = _peer(accepted, address)
        self.session.attach(accepted.detach())
        self.calls: set[Served] = set()
        self.closed = False
        self.going = False
        self.since = time.monotonic()
        self._resets = 0
        self._allowance = float(_RESETS)
        self._counted = self.since

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
        if session.resets != self._resets:
            self._check_resets(session.resets)
        if session.pending or session.stuck:
            self.flush()
        if session.over:
            self.lose()  # the peer broke the protocol and was told, or all is done after a GOAWAY
        return ready

    def _begun(self, stream: Any) -> Served | None:
        if stream.closed or not stream.head_done:
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
            refusal = self.server.admit()
            if refusal is None:
                self.calls.add(call)
                return call
            call.counted = False
            message = refusal.encode()
            fields = ((b"grpc-status", b"8", True), (b"grpc-message", message, True))
            self.end(call, fields, False)
        return None

    def _refuse(self, stream: Any, status: bytes, extra: tuple[Any, ...]) -> None:
        stream.tag = _Refused()
        self.session.refuse(stream, self.server.http, ((b":status", status, True), *extra))

    def _check_resets(self, resets: int) -> None:
        now = time.monotonic()
        self._allowance = min(self._allowance + (now - self._counted) * _RESETS_A_SECOND, _RESETS)
        self._allowance -= resets - self._resets
        self._counted, self._resets = now, resets
        if self._allowance < 0:
            self.session.terminate(11)
            self.flush()
            self.lose()

    def answer(self, call: Served, message: bytes) -> None:
        """The whole of a plain answer: headers, one message, the status OK."""
        session, stream, server = self.session, call.stream, self.server
        session.respond(stream, server.head, ())
        session.data(stream, message)
        session.end(stream, server.ok, ())
        self.flush()
        call.finish()

    def end(self, call: Served, fields: tuple[Any, ...], started: bool) -> None:
        """The end of an answer.

        :param fields: the status, and what goes with it.
        :param started: whether its headers were sent.
        """
        if started:
            self.session.end(call.stream, self.server.nothing, fields)
        else:
            self.session.refuse(call.stream, self.server.head, fields)
        self.flush()
        call.finish()

    def ended(self, call: Served) -> None:
        """A call is over."""
        if call.counted:
            call.counted = False
            self.calls.discard(call)
            self.server.dismiss()

    def flush(self) -> None:
        """Send what there is to send, and tell the calls that it has changed."""
        if self.closed:
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
                self.server.submit(stream.tag)  # cannot be: only what comes makes a call run

    def go_away(self) -> None:
        """Take no new calls; close when the last one has ended."""
        if not self.going:
            self.going = True
            self.session.shutdown()
            self.flush()
        session = self.session
        if not (self.calls or session.streams or session.pending or session.stuck):
            self.lose()

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
    """The tag of a stream that is no gRPC call."""

    def changed(self) -> bool:
        """Nothing to do."""
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
