"""One accepted connection of the server for threads."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import deque

from .intake import Intake

# How long a worker stays with a connection that is silent, in seconds.
LINGER = 0.01
_RECEIVE = 65536


class Peer:
    """One accepted connection and what is known of it.

    Whoever owns it, the reactor or one worker, reads. Workers that run calls whose answers may come in any order
    write at any time.

    ``deadline`` is :func:`time.monotonic` of when the reactor closes it; ``events`` is what the reactor's selector
    watches it for. Guarded by the server's lock: ``owned``, by a worker; ``in_flight``, calls that run beside.
    """

    __slots__ = (
        "_closed",
        "_fd",
        "_lock",
        "_outgoing",
        "deadline",
        "events",
        "in_flight",
        "intake",
        "name",
        "owned",
        "sock",
    )

    def __init__(self, sock: socket.socket, name: str, intake: Intake, deadline: float) -> None:
        self.sock = sock
        self.name = name
        self.intake = intake
        self.deadline = deadline
        self.events = 0
        self.owned = False
        self.in_flight = 0
        self._fd = sock.fileno()
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._outgoing: deque[memoryview] = deque()
        self._closed = False

    @property
    def outgoing(self) -> bool:
        """The client has not read all of the answers yet."""
        return bool(self._outgoing)

    def receive(self) -> tuple[bytes, int] | None:
        """Read once, waiting for :data:`LINGER` at most, and return the next message if it is whole.

        :raises ThriftProtocolError: the bytes are refused.
        :raises EOFError: the client closed the connection; ``OSError``: it broke.
        """
        try:
            data = self.sock.recv(_RECEIVE)
        except TimeoutError as error:
            if error.errno is not None:
                raise
            return None
        if not data:
            raise EOFError
        return self.intake.take(data)

    def send(self, data: bytes) -> None:
        """Send what the client takes now; the rest is kept for :meth:`flush`.

        :raises OSError: the connection broke, or is closed.
        """
        with self._lock:
            sent = 0
            # Behind what is kept, not before it.
            if not self._outgoing:
                sent = self._write(data)
            if sent != len(data):
                self._outgoing.append(memoryview(data)[sent:])

    def flush(self) -> None:
        """Send what the client takes now of what is kept.

        :raises OSError: the connection broke, or is closed.
        """
        with self._lock:
            while self._outgoing:
                data = self._outgoing[0]
                sent = self._write(data)
                if sent != len(data):
                    self._outgoing[0] = data[sent:]
                    return
                self._outgoing.popleft()

    def _write(self, data: bytes | memoryview) -> int:
        if self._closed:
            raise OSError(errno.EBADF, "the connection is closed")
        try:
            # Not `send`: that would first wait until the socket is writable.
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def close(self) -> bool:
        """Close the socket. No worker writes to its number afterwards, which may be another's by then.

        :returns: whether it was open.
        """
        with self._lock:
            was_open, self._closed = not self._closed, True
            self._outgoing.clear()
            self.sock.close()
        return was_open
