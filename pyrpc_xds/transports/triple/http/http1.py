"""One connection of HTTP/1.1, on h11: one request after the other."""

from __future__ import annotations

import http
import re
from collections.abc import Callable
from typing import Any, Protocol

import h11

from .bodies import Bodies, Body
from .form import Refused, Request, Response
from .options import HttpOptions

# A refused request is read to its end, and its connection kept, if it promises to be no longer.
_WORTH_READING = 64 * 1024
# How a method begins (RFC 9110, 5.6.2), or the empty line before it. h11 waits for the end of the line, which a peer
# that speaks Thrift never sends.
_METHOD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~\r\n-]")
# What an absolute-form target, which proxies are sent, has before its path (RFC 9112, 3.2.2).
_BEFORE_PATH = re.compile(r"\Ahttps?://[^/?]*", re.IGNORECASE)


class Wire(Protocol):
    """The connection below: what :mod:`.http1` and :mod:`.http2` ask of :class:`.port.Connection`."""

    @property
    def options(self) -> HttpOptions:
        """The limits."""

    @property
    def calls(self) -> Any:
        """The :class:`.calls.Calls`."""

    @property
    def bodies(self) -> Bodies:
        """What the port holds of requests that are not whole."""

    @property
    def peer(self) -> str:
        """The other side."""

    @property
    def stopping(self) -> bool:
        """No request that comes now is taken."""

    @property
    def full(self) -> bool:
        """The peer does not read: write no more than what is begun, until ``resumed`` is called."""

    def send(self, data: bytes) -> None:
        """Write."""

    def close(self, linger: bool = False) -> None:
        """Close when everything is written.

        :param linger: the peer still sends: read and forget that for :data:`.port.LINGER_SECONDS`, for what is closed
            upon unread bytes is reset, and the peer then may not see the answer.
        """

    def expect(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        """Call ``late`` (by default: close) unless asked anew within ``seconds``; ``None``: wait for nothing."""

    def hold(self, held: bool) -> None:
        """Read no more for now; False: go on."""

    def start(self, request: Request, done: Callable[[Response], None]) -> Callable[[], None]:
        """Have a request answered; what gives it up."""


_TIMEOUT = Response(408, (("content-type", "text/plain"),), b"the request did not come to its end in time\n")


class Http1:
    """The state of a connection: reading a head, reading a body, waiting for the answer."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=wire.options.max_head)
        self._request: Request | None = None
        # What the request is answered at its end, whatever its body is.
        self._refusal: Response | None = None
        self._body = Body(wire.bodies)
        self._give_up: Callable[[], None] | None = None
        self._reading_head = False

    def received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError:
            self._wire.close()
            return
        self._advance()

    def _advance(self) -> None:
        # Requests sent ahead wait while their answers would only pile up.
        while not self._wire.full:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                self._bad(error)
                return
            if event is h11.NEED_DATA:
                head = self._h11.trailing_data[0]
                if self._request is None and not self._reading_head and head:
                    if not _METHOD.match(head):
                        self._bad(h11.RemoteProtocolError("this is no HTTP: is the port the right one?", 400))
                        return
                    self._reading_head = True
                    self._wire.expect(self._wire.options.head_timeout, self._late)
                return
            if event is h11.PAUSED:
                # What comes before the answer waits in here, and then in the peer.
                self._wire.hold(len(self._h11.trailing_data[0]) > self._wire.options.max_head)
                return
            if isinstance(event, h11.Request):
                if not self._head(event):
                    return
            elif isinstance(event, h11.Data):
                if not self._data(bytes(event.data)):
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._whole()
            elif isinstance(event, h11.ConnectionClosed):
                self._wire.close()
                return

    def _head(self, event: h11.Request) -> bool:
        self._reading_head = False
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
        target = _BEFORE_PATH.sub("", event.target.decode("latin-1"))
        self._request = Request(event.method.decode("ascii"), target, headers, peer=self._wire.peer)
        waiting = self._h11.they_are_waiting_for_100_continue
        self._refusal = self._wire.calls.admit(self._request)
        if self._refusal is not None:
            length = self._request.header("content-length") or "0"
            chunked = self._request.header("transfer-encoding")
            if waiting or chunked or not length.isdigit() or int(length[:19]) > _WORTH_READING:
                self._answer(self._refusal)
                return False
        elif waiting:
            self._write(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
        self._wire.expect(self._wire.options.body_timeout, self._late)
        return True

    def _data(self, data: bytes) -> bool:
        if self._refusal is not None:
            return True
        try:
            self._body.add(data)
        except Refused as refused:
            self._refuse(refused)
            return False
        return True

    def _whole(self) -> None:
        if self._request is None:
            return
        request = self._request
        whole = Request(request.method, request.target, request.headers, self._body.take(), request.peer)
        self._wire.expect(None)
        if self._refusal is None:
            self._give_up = self._wire.start(whole, self._answered)
        else:
            self._answer(self._refusal)

    def _refuse(self, refused: Refused) -> None:
        if self._request is not None:
            self._answer(self._wire.calls.refuse(self._request, refused))

    def _answered(self, response: Response) -> None:
        if self._answer(response):
            self._advance()

    def _answer(self, response: Response) -> bool:
        """Send it. Before the end of the request, that is the end of the connection.

        :returns: whether the next request may come.
        """
        self._give_up = None
        self._body.drop()
        self._wire.hold(False)
        if self._h11.states[h11.SERVER] not in (h11.IDLE, h11.SEND_RESPONSE):
            self._wire.close()
            return False
        whole = self._h11.their_state in (h11.DONE, h11.MUST_CLOSE)
        headers = [*response.headers]
        if response.status != 204:
            headers.append(("content-length", str(len(response.body))))
        if not whole or self._wire.stopping:
            headers.append(("connection", "close"))
        reason = http.HTTPStatus(response.status).phrase
        self._write(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if response.body and (self._request is None or self._request.method != "HEAD"):
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        self._request = None
        if (self._h11.states[h11.SERVER], self._h11.states[h11.CLIENT]) != (h11.DONE, h11.DONE):
            self._wire.close(linger=not whole)
            return False
        self._h11.start_next_cycle()
        self._wire.expect(self._wire.options.idle_timeout)
        return True

    def _bad(self, error: h11.RemoteProtocolError) -> None:
        """What came is not HTTP."""
        self._answer(
            Response(error.error_status_hint, (("content-type", "text/plain"),), f"{error}\n".encode())
        )

    def _late(self) -> None:
        self._answer(_TIMEOUT)

    def _write(self, event: Any) -> None:
        data = self._h11.send(event)
        if data:
            self._wire.send(data)

    def resumed(self) -> None:
        """The peer reads again."""
        self._advance()

    def stop(self) -> None:
        """Take no new request; close where none runs."""
        if self._give_up is None:
            self._wire.close()

    def lost(self) -> None:
        """The connection is gone."""
        self._body.drop()
        if self._give_up is not None:
            self._give_up()
            self._give_up = None
