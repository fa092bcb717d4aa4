"""One accepted connection of the server for threads."""

from __future__ import annotations

import os
import socket

from .intake import Intake

# How long a worker stays with a connection that is silent, in seconds.
LINGER = 0.01
_RECEIVE = 65536


class Peer:
    """One accepted connection and what is known of it.

    ``deadline`` is :func:`time.monotonic` of when the reactor closes it; ``outgoing`` is what the client has
    not read yet of an answer.
    """

    __slots__ = ("_fd", "deadline", "intake", "name", "outgoing", "sock")

    def __init__(self, sock: socket.socket, name: str, intake: Intake, deadline: float) -> None:
        self.sock = sock
        self.name = name
        self.intake = intake
        self.deadline = deadline
        self.outgoing = memoryview(b"")
        self._fd = sock.fileno()

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

    def send(self, data: bytes | memoryview) -> None:
        """Send what the client takes now; the rest is in ``outgoing``."""
        try:
            # Not `send`: that would first wait until the socket is writable.
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        if sent != len(data) or self.outgoing:
            self.outgoing = memoryview(data)[sent:]
