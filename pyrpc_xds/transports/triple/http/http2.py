"""One connection of HTTP/2, on h2: many requests at once."""

from __future__ import annotations

from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .bodies import FIRST_WINDOW, Bodies, Body, Windows, no_room
from .form import Code, Refused, Request, Response
from .http1 import Wire

# Streams that a peer may reset beyond those it lets finish (rapid reset, CVE-2023-44487).
_RESETS = 100
# What a peer may send of all its streams before it hears that there is room for more (RFC 9113, 6.9.2). It is given
# back at once: what the connection holds is bounded by the windows of its streams.
_WINDOW = 1 << 20
_LINGER_SECONDS = 2.0


class _Stream:
    """A request, and then what is left to send of its response."""

    __slots__ = ("body", "end_timer", "give_up", "request", "rest")

    def __init__(self, request: Request, bodies: Bodies) -> None:
        self.request = request
        self.body = Body(bodies)
        self.give_up: Callable[[], None] | None = None
        self.rest: memoryview | None = None
        self.end_timer: Callable[[], None] | None = None


class Http2:
    """The state of a connection.

    :param later: runs a function after so many seconds; what takes that back.
    """

    def __init__(self, wire: Wire, later: Callable[[float, Callable[[], None]], Callable[[], None]]) -> None:
        self._wire = wire
        self._later = later
        self._streams: dict[int, _Stream] = {}
        self._windows = Windows(wire.calls.limit, self._turn)
        # Of the connection's window, bytes that the peer does not know to be free again.
        self._used = 0
        self._resets = 0
        self._closed = False
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        options = wire.options
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: options.max_streams,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: options.max_head,
            },
        )
        self._h2.decoder.max_header_list_size = options.max_head
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self._flush()
        self._idle()

    def received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._end()  # h2 has written the GOAWAY
            return
        for event in events:
            self._take(event)
            if self._closed:
                return
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._head(event)
        elif isinstance(event, h2.events.DataReceived):
            self._data(event)
        elif isinstance(event, h2.events.StreamEnded):
            self._whole(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            for stream_id in [event.stream_id] if event.stream_id else list(self._streams):
                self._send_rest(stream_id)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            for stream_id in list(self._streams):
                self._send_rest(stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._resets += 1
            self._forget(event.stream_id)
            if self._resets > _RESETS:
                self._end(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        elif isinstance(event, h2.events.ConnectionTerminated) and not self._streams:
            self._end()

    def _head(self, event: h2.events.RequestReceived) -> None:
        pairs = [(_text(name), _text(value)) for name, value in event.headers or ()]
        fields = dict(pairs)
        headers = tuple((name, value) for name, value in pairs if not name.startswith(":"))
        if ":authority" in fields:
            headers = (("host", fields[":authority"]), *headers)
        stream_id = event.stream_id
        if self._wire.stopping:
            self._reset(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        request = Request(fields.get(":method", ""), fields.get(":path", ""), headers, peer=self._wire.peer)
        self._streams[stream_id] = stream = _Stream(request, self._wire.bodies)
        self._wire.expect(None)
        refused = self._wire.calls.admit(request)
        if refused is not None:
            self._answer(stream_id, refused)
            return
        self._limit_time(stream_id, stream)
        length = request.header("content-length")
        if length.isdecimal():
            self._windows.ask(stream_id, int(length[:19]))

    def _limit_time(self, stream_id: int, stream: _Stream) -> None:
        self._take_back(stream)
        stream.end_timer = self._later(self._wire.options.body_timeout, lambda: self._late(stream_id))

    def _turn(self, stream_id: int, size: int) -> None:
        """A stream may send on."""
        if self._closed:
            return
        self._widen(stream_id, size)
        self._limit_time(stream_id, self._streams[stream_id])
        self._flush()

    def _widen(self, stream_id: int | None, size: int) -> None:
        """Let the peer send so much more of a stream, or (``None``) of all together."""
        try:
            self._h2.increment_flow_control_window(size, stream_id)
        except h2.exceptions.ProtocolError:
            pass  # it is closed

    def _data(self, event: h2.events.DataReceived) -> None:
        stream_id, data = event.stream_id, event.data or b""
        size = event.flow_controlled_length or 0
        self._used += size
        if self._used >= _WINDOW // 2:
            self._widen(None, self._used)
            self._used = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.rest is not None or stream.give_up is not None:
            kept = 0  # answered already
        else:
            kept = len(data)
            try:
                stream.body.add(data)
            except Refused as refused:
                self._refuse(stream_id, stream, refused)
            else:
                if len(stream.body) > FIRST_WINDOW // 2:
                    self._windows.ask(stream_id, None)
        if size > kept:
            self._widen(stream_id, size - kept)  # padding, and what nobody listens to

    def _whole(self, stream_id: int | None) -> None:
        stream = self._streams.get(stream_id or 0)
        if stream is None or stream_id is None:
            return
        if stream.rest is not None:
            if not stream.rest:
                self._forget(stream_id)  # it was answered before its end
            return
        self._take_back(stream)
        request = stream.request
        whole = Request(request.method, request.target, request.headers, stream.body.take(), request.peer)
        self._windows.end(stream_id)
        stream.give_up = self._wire.start(whole, lambda response: self._answered(stream_id, response))

    def _answered(self, stream_id: int, response: Response) -> None:
        if stream_id in self._streams and not self._closed:
            self._answer(stream_id, response)
            self._flush()

    def _refuse(self, stream_id: int, stream: _Stream, refused: Refused) -> None:
        self._answer(stream_id, self._wire.calls.refuse(stream.request, refused))

    def _answer(self, stream_id: int, response: Response) -> None:
        stream = self._streams[stream_id]
        stream.give_up = None
        stream.body.drop()
        self._windows.end(stream_id)
        headers = [(":status", str(response.status)), *response.headers]
        if response.status != 204:
            headers.append(("content-length", str(len(response.body))))
        empty = not response.body or stream.request.method == "HEAD"
        stream.rest = memoryview(b"" if empty else response.body)
        try:
            self._h2.send_headers(stream_id, headers, end_stream=empty)
        except h2.exceptions.ProtocolError:
            self._reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)  # or the peer has given it up
            return
        if empty:
            self._sent(stream_id)
        else:
            self._send_rest(stream_id)

    def _send_rest(self, stream_id: int) -> None:
        """Send as much as the peer's windows have room for."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.rest:
            return
        try:
            while stream.rest and not self._wire.full:
                room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
                if room <= 0:
                    break
                chunk, stream.rest = stream.rest[:room], stream.rest[room:]
                self._h2.send_data(stream_id, bytes(chunk), end_stream=not stream.rest)
        except h2.exceptions.ProtocolError:
            self._forget(stream_id)
            return
        if not stream.rest:
            self._sent(stream_id)
        elif stream.end_timer is None:
            stream.end_timer = self._later(
                self._wire.options.body_timeout, lambda: self._reset(stream_id, h2.errors.ErrorCodes.CANCEL)
            )

    def _sent(self, stream_id: int) -> None:
        """The response is out. What is left of a request that was refused early is thrown away for a while:
        curl (7.88) takes a reset at once (RFC 9113, 8.1) for a failure.
        """
        self._resets = max(self._resets - 1, 0)
        state = self._h2.streams.get(stream_id)
        if state is None or state.closed:
            self._forget(stream_id)
            return
        self._widen(stream_id, FIRST_WINDOW)
        stream = self._streams[stream_id]
        self._take_back(stream)
        stream.end_timer = self._later(
            _LINGER_SECONDS, lambda: self._reset(stream_id, h2.errors.ErrorCodes.NO_ERROR)
        )

    def _late(self, stream_id: int) -> None:
        """The request did not come to its end."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.end_timer = None
            if self._windows.waits(stream_id):
                refused = no_room(f"{self._wire.peer} sends too many large ones at once")
            else:
                refused = Refused(Code.DEADLINE_EXCEEDED, "the request did not come to its end in time")
            self._refuse(stream_id, stream, refused)
            self._flush()

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        try:
            self._h2.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            pass
        self._forget(stream_id)
        self._flush()

    def _forget(self, stream_id: int | None) -> None:
        stream = self._streams.pop(stream_id or 0, None)
        if stream is None:
            return
        self._take_back(stream)
        stream.body.drop()
        self._windows.end(stream_id or 0)
        if stream.give_up is not None:
            stream.give_up()
        if not self._streams:
            if self._wire.stopping:
                self._end()
            else:
                self._idle()

    @staticmethod
    def _take_back(stream: _Stream) -> None:
        if stream.end_timer is not None:
            stream.end_timer()
            stream.end_timer = None

    def _idle(self) -> None:
        self._wire.expect(self._wire.options.idle_timeout, self._end)

    def _end(self, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.NO_ERROR) -> None:
        """Say goodbye and close."""
        if self._closed:
            return
        self._closed = True
        try:
            self._h2.close_connection(code)
        except h2.exceptions.ProtocolError:
            pass
        self._flush()
        self._wire.close()

    def resumed(self) -> None:
        """The peer reads again."""
        for stream_id in list(self._streams):
            self._send_rest(stream_id)
            self._flush()

    def stop(self) -> None:
        """Take no new request; close when none runs any more.

        The GOAWAY comes then. Until then new streams are REFUSED_STREAM, which peers may try elsewhere: h2, on
        either side, is done with a connection after the first GOAWAY.
        """
        if not self._streams:
            self._end()

    def lost(self) -> None:
        """The connection is gone."""
        self._closed = True
        for stream_id in list(self._streams):
            self._forget(stream_id)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._wire.send(data)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
