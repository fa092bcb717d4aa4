"""One HTTP/2 connection of a client, shared by blocking callers.

There is no thread that reads for everyone. One of the callers that wait reads (the leader): what comes for others
it gives to them, and when its own answer is there it wakes another, who reads on. A caller alone so does all of
its input and output itself, and no thread is switched to. While nobody calls, :mod:`.keeper` looks after the
connection.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from .outcome import CallFailed

# The leader looks up this often, in case another could not write all it had.
_LOOK_UP_SECONDS = 1.0
_LOOK_UP_MILLISECONDS = 1_000
# Of what a peer had said before it closed, 64 KiB each: it cannot make a caller read for ever.
_LAST_READS = 16
# While another thread is about to read what is there.
_PAUSE_SECONDS = 0.001


class Lost(Exception):
    """The connection takes the call no more, of which nothing was sent; says why."""


class ClientConnection:
    """A connection that calls are made on.

    Life span: made by :class:`.endpoint.Endpoint`; shut down when the peer has closed it, or when it is garbage: the
    endpoint holds it until it leaves the mesh, and every call while it runs.

    :param module: :mod:`pyrpc_xds._h2`, loaded.
    :param limits: bytes of a response message, bytes of its headers, bytes that the peer may send ahead.
    :ivar usable: whether new calls may begin here.
    :ivar closed: whether it is shut down.
    :ivar when_closed: is called then.
    """

    def __init__(
        self, module: Any, connected: socket.socket, peer: str, limits: tuple[int, int, int]
    ) -> None:
        self._broken = (OSError, EOFError, module.H2Error)
        self.peer = peer
        self.usable = False
        self.closed = True  # until there is something to close
        self.session: Any = module.Session(False, *limits, 0)
        self.session.attach(connected.detach())
        self.closed = False
        self.why = ""
        self._code = grpc.StatusCode.UNAVAILABLE  # of the calls that run when it is closed
        self._going = False
        # What the callers that do not read wait for; a stream's is released when it is over, or to make it read.
        self._waiting: dict[Any, threading.Lock] = {}
        self.when_closed: Callable[[], None] = _nothing
        self._pings = 0

    def __del__(self) -> None:
        # The results of calls keep the session, not this.
        if not self.closed:
            self.session.close()

    def __repr__(self) -> str:
        return f"<ClientConnection {self.peer}{' closed' if self.closed else ''}>"

    def introduce(self, seconds: float) -> None:
        """Exchange SETTINGS.

        :raises Lost: the peer does not speak HTTP/2; :class:`TimeoutError`: it says nothing for ``seconds``.
        """
        until = time.monotonic() + seconds
        self._flush()
        while not self.session.ready and not self.closed:
            left = until - time.monotonic()
            if left <= 0:
                self._lose("it does not answer as an HTTP/2 server")
                raise TimeoutError
            self._fetch(left)
        if self.closed:
            raise Lost(self.why)
        self._flush()
        self.usable = not self.session.goaway

    def ready(self) -> bool:
        """Whether a call can begin here, as far as the peer has said by now."""
        if self.session.rested:
            self.look()
        return self.usable

    def call(self, block: Any, extra: tuple[Any, ...], message: bytes, until: float | None) -> Any:
        """Send a request and wait for the answer; returns the stream, which is over.

        What ends it otherwise (its deadline, an exception) resets the stream.

        :param until: clock time.
        :raises Lost: the call cannot begin here any more; nothing was sent.
        :raises CallFailed: DEADLINE_EXCEEDED; UNAVAILABLE or CANCELLED: the connection was lost or closed.
        """
        if not self.usable:
            raise Lost(self.why)
        milliseconds = _LOOK_UP_MILLISECONDS
        if until is not None:
            milliseconds = min(milliseconds, max(math.ceil((until - time.monotonic()) * 1000), 0))
        try:
            stream = self.session.exchange(block, extra, message, milliseconds)
        except self._broken as error:
            self.usable = False  # all numbers of streams are used up
            self.why = self.why or str(error)
            raise Lost(self.why) from error
        if not stream.plain or self._waiting or self._going:
            self._wait(stream, until)
        return stream

    def _wait(self, stream: Any, until: float | None) -> None:
        session = self.session
        try:
            self._took(stream.news)
            while not stream.over:
                if self.closed or self._going:
                    self._check(stream)
                seconds = _LOOK_UP_SECONDS
                if until is not None:
                    left = until - time.monotonic()
                    if left <= 0:
                        raise CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", stream)
                    seconds = min(seconds, left)
                if session.stuck:
                    self._flush_when_possible(seconds)
                elif session.being_read:
                    self._follow(stream, seconds)
                else:
                    self._fetch(seconds)
        finally:
            if not stream.closed:
                session.reset(stream, 8)
                self._flush()
            if self._waiting:
                self._pass_on()
            self._let_go()

    def _check(self, stream: Any) -> None:
        """What becomes of a call on a connection that is closed, or goes away.

        :raises Lost: it waits for its turn, which does not come; :class:`CallFailed`: nobody answers it.
        """
        if stream.unsent and self._code is grpc.StatusCode.UNAVAILABLE:
            raise Lost(self.why)
        if self.closed:
            raise CallFailed(self._code, f"{self.peer}: {self.why}", stream)

    def _let_go(self) -> None:
        """Close a connection that takes no new calls, when it has none."""
        if self._going and not self.closed and self.session.close_idle():
            self._lose("it was let go")

    def _follow(self, stream: Any, seconds: float) -> None:
        """Wait until the leader has the answer, or leaves the reading to this caller."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting[stream] = waiter
        try:
            # Whoever stops reading from here on sees this waiter; one that had stopped before is seen here.
            if self.session.being_read and not stream.over:
                waiter.acquire(timeout=seconds)
        finally:
            self._waiting.pop(stream, None)

    def _pass_on(self) -> None:
        """Have another caller read, if nobody does."""
        while self._waiting and not self.session.being_read:
            try:
                waiter = next(iter(self._waiting.values()))
            except (StopIteration, RuntimeError):
                continue  # they come and go meanwhile
            _wake(waiter)
            return

    def _fetch(self, seconds: float) -> None:
        """Read once, if nobody else does."""
        try:
            changed = self.session.fetch(math.ceil(seconds * 1000))
        except self._broken as error:
            changed = error
        self._took(changed)

    def _took(self, changed: Any) -> None:
        """Deal with what was read.

        :param changed: the streams that it was about, ``None`` or an error (:mod:`pyrpc_xds._h2`).
        """
        if isinstance(changed, Exception):
            self._broke(changed)
            return
        if self.session.goaway:
            self._refused()
        if self.session.pending:
            self._flush()
            if self.session.over:
                self._lose(self.why or "the peer broke HTTP/2")
        if self._waiting and changed:
            for stream in changed:
                if stream.over:
                    waiter = self._waiting.get(stream)
                    if waiter is not None:
                        _wake(waiter)

    def _flush(self) -> None:
        try:
            if not self.closed:
                self.session.flush()
        except self._broken as error:
            self._broke(error)

    def _broke(self, error: Exception) -> None:
        """Lose the connection, unless who reads from it is still to notice."""
        if isinstance(error, OSError):
            # What cannot be written to can still be read from: a GOAWAY says which calls the peer has not begun.
            for _ in range(_LAST_READS):
                try:
                    changed = self.session.fetch(0)
                except self._broken:
                    break
                if changed is None:
                    return
                if self.session.goaway:
                    self._refused()
                if not changed:
                    break
        elif not isinstance(error, EOFError):
            with contextlib.suppress(*self._broken):
                self.session.flush()  # a GOAWAY that says what the peer did wrong
        self._lose(_reason(error))

    def _flush_when_possible(self, seconds: float) -> None:
        """The peer takes no more for now: wait until it does, or has something to say."""
        try:
            takes, has = self.session.wait_to_write(math.ceil(seconds * 1000))
        except EOFError:
            return
        if takes:
            self._flush()
        if has:
            if self.session.being_read:
                time.sleep(_PAUSE_SECONDS)  # another thread takes it; not before this one stops looking
            else:
                self._fetch(0)

    def _refused(self) -> None:
        """The peer has sent GOAWAY."""
        if not self._going:
            said = self.session.debug.decode("utf-8", "replace")
            self.why = (
                f"the peer is going away (HTTP/2 error {self.session.goaway_code}{said and ': ' + said})"
            )
            self.usable = False
            self._going = True
            for waiter in list(self._waiting.values()):
                _wake(waiter)  # those whose turn will not come

    def look(self) -> None:
        """Deal with what has come while nobody read; without waiting."""
        # Bounded: a peer that sends without end is left to the callers.
        for _ in range(16):
            before = self.session.received
            if self.closed or self.session.being_read:
                return
            self._fetch(0)
            if self.session.received == before:
                break
        self._flush()
        if self._waiting:
            self._pass_on()
        self._let_go()

    def ping(self) -> None:
        """Ask for a sign of life; :attr:`alive` says whether it has come."""
        self._pings += 1
        self.session.ping()
        self._flush()

    @property
    def alive(self) -> bool:
        """Whether every ping was answered."""
        return bool(self.session.pings >= self._pings)

    def close(self, why: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """End the running calls with ``code`` and close."""
        self.usable = False
        if not self.closed:
            self._code = code
            self.why = why
            self.session.terminate(0)
            self._flush()
        self._lose(why)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's socket, without a word to the peer."""
        self.usable = False
        self.closed = True
        self.session.close(True)

    def _lose(self, why: str) -> None:
        self.usable = False
        if self.closed:
            return
        self.why = self.why or why  # what the peer said when it went away says more
        self.closed = True
        self.session.close()
        for waiter in list(self._waiting.values()):
            _wake(waiter)
        self.when_closed()


def _nothing() -> None:
    pass


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the peer closed the connection"
    return f"the connection broke: {error}"


def _wake(waiter: threading.Lock) -> None:
    try:
        waiter.release()
    except RuntimeError:
        pass  # it was woken already
