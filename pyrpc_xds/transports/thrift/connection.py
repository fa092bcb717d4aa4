"""One connection of a client: send, receive, each within a deadline.

The kernel's socket never blocks. Python's timeout waits for an answer, within one call and through signals; it
is changed only where it differs by more than a millisecond, which calls of one deadline do not.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from .dial import LONGEST_WAIT, dial
from .foreign import ended
from .frames import inbox_for
from .header import Header
from .limits import Limits
from .wire import Wire

_RECEIVE = 65536
# What Python's timeout is moved by at least; seconds.
_TIMEOUT_STEP = 0.001
_READABLE = select.POLLIN | getattr(select, "POLLRDHUP", 0)


def reading(fd: int) -> Callable[[float], list[tuple[int, int]]]:
    """What tells whether there is something to read of a socket, or its end, within so many milliseconds."""
    poller = select.poll()
    poller.register(fd, _READABLE)
    return poller.poll


class NotSent(OSError):
    """The connection broke before the kernel took a byte of the request: the call has not begun."""


class Expired(TimeoutError):
    """The deadline has passed and nothing of the request was sent; the connection is as it was."""

    def __init__(self) -> None:
        super().__init__("not sent: the deadline had passed")


class Connection:
    """An open connection. Owned by one call at a time; closed on any doubt about where messages begin.

    :ivar in_step: nothing has come after the last answer, and the server has not said goodbye.
    :ivar since: :func:`time.monotonic` of becoming idle.
    """

    __slots__ = ("_fd", "_poll", "_sock", "_timeout", "codec", "in_step", "inbox", "since")

    def __init__(self, sock: socket.socket, wire: Wire, limits: Limits) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._timeout = -1.0
        self._poll = reading(self._fd)
        self.inbox = inbox_for(wire, limits)
        self.codec = self.inbox.codec
        self.in_step = True
        self.since = 0.0

    @property
    def header(self) -> Header | None:
        """Of the last answer; ``None``: the transport has none."""
        return self.inbox.header

    @property
    def proven(self) -> bool:
        """An answer has come on it before."""
        return bool(self.since)

    def fresh(self) -> bool:
        """Whether an idle connection may be used: the server has not closed it, nor sent anything unasked."""
        return not self._poll(0)

    def fileno(self) -> int:
        """Of the socket."""
        return self._fd

    def readable(self, seconds: float = 0.0) -> bool:
        """Whether there is something to read, or the end of it, within ``seconds``."""
        return bool(self._poll(min(seconds, LONGEST_WAIT) * 1000))

    def exchange(
        self,
        request: bytes,
        deadline: float,
        schemas: Mapping[bytes, Any] | None,
        oneway: bool = False,
        seqid: int = 0,
    ) -> tuple[bytes, int]:
        """Send a request and receive one message (:meth:`Inbox.next`); for a oneway, nothing.

        :param deadline: of :func:`time.monotonic`.
        :param seqid: of the request; the connection has no other call, so nothing is made of it here.
        :raises NotSent: see there; :raises Expired: likewise.
        :raises TimeoutError: the deadline has passed.
        :raises OSError: the connection broke; ``EOFError``: the server closed it.
        :raises ThriftProtocolError: the bytes received are refused.
        """
        if monotonic() >= deadline:
            raise Expired
        try:
            # Not `send`: that would first wait until the socket is writable, which it nearly always is.
            sent = os.write(self._fd, request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise NotSent(error.errno, f"cannot send: {error.strerror}") from error
        if sent != len(request):
            self._send_rest(request, sent, deadline)
        if oneway:
            return b"", 0
        inbox = self.inbox
        while True:
            data = self.receive(deadline)
            if not data:
                raise EOFError(ended(inbox.head, self.codec.wire, self.proven))
            message = inbox.take(data, schemas)
            if message is not None:
                # Whatever follows the answer was not asked for: the next bytes would not be the next answer.
                self.in_step = not (inbox.pending or inbox.ended)
                return message

    def receive(self, deadline: float) -> bytes:
        """Wait for bytes; none: the server closed the connection.

        :param deadline: of :func:`time.monotonic`.
        :raises TimeoutError: it has passed.
        :raises OSError: the connection broke.
        """
        while True:
            left = deadline - monotonic()
            if not -_TIMEOUT_STEP < left - self._timeout < _TIMEOUT_STEP:
                if left <= 0:
                    raise TimeoutError("no answer in time")
                self._timeout = left if left < LONGEST_WAIT else LONGEST_WAIT
                self._sock.settimeout(self._timeout)
            try:
                return self._sock.recv(_RECEIVE)
            except TimeoutError as error:
                if error.errno is not None:
                    raise ConnectionError(error.errno, error.strerror) from error
                self._timeout = -1.0

    def _send_rest(self, request: bytes, sent: int, deadline: float) -> None:
        view = memoryview(request)
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLOUT)
        while sent < len(request):
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError(f"the server took {sent} of {len(request)} bytes in time")
            if not poller.poll(min(left, LONGEST_WAIT) * 1000):
                continue
            try:
                sent += os.write(self._fd, view[sent:])
            except BlockingIOError:
                continue

    def retire(self) -> None:
        """The server takes no more calls on it."""
        self.in_step = False

    def interrupt(self) -> None:
        """End the connection under a call that another thread is in; that thread closes it."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Close the socket; calling it again does nothing."""
        # Ends the connection also where a forked child still holds the socket.
        self.interrupt()
        self._sock.close()


def connect(address: str, wire: Wire, limits: Limits, deadline: float) -> Connection:
    """Open a connection; parameters and errors are those of :func:`.dial.dial`."""
    return Connection(dial(address, deadline), wire, limits)
