"""The connection to the control plane: one ADS stream after another, with a pause in between, to the first server of
the bootstrap or one that it falls back to (:mod:`.servers`, :mod:`.backoff`).

Sans-IO: what opens a stream is an argument, and so is the clock. Everything is called on the driver's thread, except
where a comment says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ..bootstrap import Server
from ..errors import NodeRefused, StreamError
from .backoff import BackOff
from .decode.envelope import DiscoveryRequest, decode_response, encode_request
from .servers import RETURN_AFTER, Servers
from .session import Session
from .stream import KEEPALIVE_TIME_MS, RARE_KEEPALIVE_TIME_MS, TOO_MANY_PINGS, AdsStream

_log = logging.getLogger("pyrpc_xds.xds")

_LARGE = 8192  # bytes of a response above which callers are let in between the steps of applying it


class AdsConnection:
    """The stream in use, and when the next one is tried.

    :param session: told of every stream that opens and ends, and of what it brings.
    :param servers: which server is current.
    :param backoff: delays between streams.
    :param open_stream: opens a stream to a server, given milliseconds between keepalive pings and the time. What it
        raises counts as a stream that ended at once.
    :param breathe: lets other threads have the interpreter for a moment.
    :param user_agent_version: told to the server.
    :ivar stream: the one in use; ``None``: there is none.
    :ivar failure: when and why there was none last, until one brings a response again; replaced as a whole, read by
        any thread.
    :ivar refusal: that the control plane answers no node like this one, and why; likewise.
    """

    def __init__(
        self,
        session: Session,
        servers: Servers,
        backoff: BackOff,
        open_stream: Callable[[Server, int, float], AdsStream],
        breathe: Callable[[], None],
        user_agent_version: str = "",
    ) -> None:
        self._session = session
        self._servers = servers
        self._backoff = backoff
        self._open_stream = open_stream
        self._breathe = breathe
        self._version = user_agent_version
        self.stream: AdsStream | None = None
        self.failure: tuple[float, str] | None = None
        self.refusal: str | None = None
        self.keepalive_ms = KEEPALIVE_TIME_MS
        self._retry_at: float | None = None
        self._probe: AdsStream | None = None  # to the first server, while another one is in use
        self._probe_at: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the control plane has taken a request on the stream in use. Any thread."""
        stream = self.stream
        return stream is not None and stream.taken > 0

    # ---- what time does

    def next_timer(self) -> float | None:
        """When :meth:`expire` has something to do; ``None``: never."""
        return min((at for at in (self._retry_at, self._probe_at) if at is not None), default=None)

    def expire(self, now: float) -> None:
        """End the pause before the next stream, and ask the first server again, where it is time to."""
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
        if self._probe_at is not None and self._probe_at <= now:
            self._probe_at = None
            self._ask_the_first(now)

    # ---- the stream in use

    @property
    def due(self) -> bool:
        """Whether a stream is to be opened, if anything is watched."""
        return self.stream is None and self._retry_at is None

    def open(self, now: float) -> bool:
        """Open a stream to the current server.

        :returns: there is one. If not, the session has news of it.
        """
        self._session.opened(now)
        try:
            self.stream = self._open_stream(self._servers.current, self.keepalive_ms, now)
        except Exception as error:
            # Unreadable certificates, a target that grpc refuses: they may be put right, so keep trying.
            self._ended(StreamError(f"{type(error).__name__}: {error}"), now, now)
        return self.stream is not None

    def send(self, requests: Iterable[DiscoveryRequest]) -> None:
        """Send ``requests``; there must be a stream."""
        assert self.stream is not None
        for request in requests:
            self.stream.send(encode_request(request, self._version))

    def heard(self, stream: AdsStream, message: bytes | None, error: StreamError | None, now: float) -> bool:
        """A stream says something, see :class:`.stream.AdsStream`.

        :returns: it was a response, and ``stream`` waits for it to be dealt with.
        """
        if stream is self._probe:
            self._probed(message, error, now)
        elif stream is not self.stream:
            pass  # the last words of a stream that was given up
        elif message is not None:
            self._received(message, now)
            return stream is self.stream
        elif error is not None:
            self.lost(error, now)
        else:
            stream.taken += 1
            if stream.taken == stream.handed:
                self._session.sent(now)
        return False

    def lost(self, error: StreamError, now: float) -> None:
        """Give the stream up, if there is one, and have another opened later."""
        stream = self.stream
        if stream is not None:
            self._end_stream()
            self._ended(error, stream.opened_at, now)

    def close(self) -> None:
        """End every stream, without a word to the session."""
        self._end_probe()
        self._end_stream()

    def _received(self, message: bytes, now: float) -> None:
        try:
            response = decode_response(message)
            if len(message) > _LARGE:
                self._breathe()
            self._session.received(response, now)
            if len(message) > _LARGE:
                self._breathe()
        except StreamError as error:
            self.lost(error, now)
            return
        if self._session.answered:
            self.failure = self.refusal = None
            if not self._servers.fallen_back:
                self._end_probe()

    def _ended(self, error: StreamError, opened_at: float, now: float) -> None:
        answered = self._session.answered
        if TOO_MANY_PINGS in str(error).lower():
            self.keepalive_ms = RARE_KEEPALIVE_TIME_MS
        server = self._servers.current
        text = f"control plane {server.uri}: {error}"
        at_once = not answered and self._servers.failed(needed=self._session.lacking)
        delay = 0.0 if at_once else self._backoff.delay(answered=answered, lifetime=now - opened_at)
        if self._servers.current is not server:
            self._session.switched()
        if at_once:
            self._look_for_the_first(now)
        self.failure = (now, text)
        self.refusal = text if isinstance(error, NodeRefused) else self.refusal
        _log.log(logging.INFO if answered else logging.WARNING, "%s; next attempt in %.1f s", text, delay)
        told = None if at_once else StreamError(f"{text} (node {self._session.node.id!r})")
        self._session.closed(now, told)
        self._retry_at = now + delay

    def _end_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.end()

    # ---- back to the first server

    def _look_for_the_first(self, now: float) -> None:
        if self._probe_at is None:
            self._probe_at = now + RETURN_AFTER

    def _ask_the_first(self, now: float) -> None:
        """Ask the first server something, and return to it once it answers.

        A connection proves nothing: what accepts it may be a load balancer before a control plane that is gone.
        """
        if not self._servers.fallen_back or self._probe is not None:
            return
        question = self._session.question()
        if question is None:
            self._look_for_the_first(now)
            return
        try:
            self._probe = self._open_stream(self._servers.first, self.keepalive_ms, now)
            self._probe.send(encode_request(question, self._version))
        except Exception as error:  # unreadable certificates: they may be put right
            _log.info("control plane %s: %s: %s", self._servers.first.uri, type(error).__name__, error)
            self._look_for_the_first(now)

    def _probed(self, message: bytes | None, error: StreamError | None, now: float) -> None:
        if message is None and error is None:
            return
        self._end_probe()
        if error is not None:
            self._look_for_the_first(now)
        elif self._servers.fallen_back:
            _log.info("control plane %s answers again", self._servers.first.uri)
            self._servers.back()
            self._session.switched()
            self._end_stream()
            self._retry_at = None

    def _end_probe(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.end()
