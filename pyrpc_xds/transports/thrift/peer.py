"""One accepted connection of the server for threads."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections import deque
from time import monotonic

from .goodbye import GOODBYE
from .intake import Intake
from .sockets import cork

# How long a worker stays with a connection that is silent, in seconds; and the same as the kernel takes it.
LINGER = 0.01
_LINGER = struct.pack("ll", 0, int(LINGER * 1_000_000))
_RECEIVE = 65536
# Bytes that are taken of what a client has sent when the server stops.
_LAST = 1 << 20
# Bytes of answers that are kept back for those that follow.
_TOGETHER = 16384

# When a connection was lent (:func:`time.monotonic`), and what runs meanwhile. Told apart by identity.
Lease = tuple[float, object]


class Peer:
    """One accepted connection and what is known of it.

    Whoever owns it, the reactor or one worker, reads. Workers that run calls whose answers may come in any order
    write at any time.

    ``deadline`` is :func:`time.monotonic` of when the reactor closes it; ``events`` is what the reactor's selector
    watches it for; ``any_order``: its client takes answers in any order. ``arrived``: when bytes of it were read last.
    ``watched``: it is with a worker, and the
    reactor will take it over when the worker has lent it for too long. Guarded by :class:`.tally.Tally`: ``owned``,
    by a worker; ``in_flight``, calls that run beside; ``lease``, while the owner runs a call.
    """

    __slots__ = (
        "_closed",
        "_corked",
        "_held",
        "_held_size",
        "_lock",
        "_outgoing",
        "_read_last",
        "_said_goodbye",
        "any_order",
        "arrived",
        "deadline",
        "events",
        "finished",
        "in_flight",
        "intake",
        "lease",
        "name",
        "owned",
        "sock",
        "told",
        "watched",
    )

    def __init__(self, sock: socket.socket, name: str, intake: Intake, deadline: float) -> None:
        # The kernel's timeout costs one system call a message; Python's would cost two.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LINGER)
        sock.setblocking(True)
        self.sock = sock
        self.name = name
        self.intake = intake
        self.deadline = deadline
        self.events = 0
        self.any_order = False
        self.arrived = 0.0
        # All that it will get has been sent.
        self.finished = False
        # The client, which makes one call at a time, has had its last answer: the server was stopping. A oneway tells
        # it nothing.
        self.told = False
        self.watched = False
        self.owned = False
        self.in_flight = 0
        self.lease: Lease | None = None
        # The owner's: answers that go out together.
        self._held: list[bytes] = []
        self._held_size = 0
        self._read_last = False
        self._said_goodbye = False
        self._corked = False
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._outgoing: deque[memoryview] = deque()
        self._closed = False

    @property
    def outgoing(self) -> bool:
        """The client has not read all of the answers yet."""
        return bool(self._outgoing)

    @property
    def closed(self) -> bool:
        """:meth:`close` was called."""
        return self._closed

    def receive(self) -> tuple[bytes, int] | None:
        """Read once, waiting for :data:`LINGER` at most, and return the next message if it is whole.

        :raises ThriftProtocolError: the bytes are refused.
        :raises EOFError: the client closed the connection; ``OSError``: it broke.
        """
        try:
            data = self.sock.recv(_RECEIVE)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError
        self.arrived = monotonic()
        return self.intake.take(data)

    def receive_last(self) -> tuple[bytes, int] | None:
        """As :meth:`receive`, of what is there already; ``None`` from the second time on."""
        if self._read_last:
            return None
        self._read_last = True
        try:
            data = self.sock.recv(_LAST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError
        self.arrived = monotonic()
        return self.intake.take(data)

    def say_goodbye(self) -> None:
        """Ask a client that takes answers in any order (over TTHeader, then) to make no more calls here, once.

        :raises OSError: as :meth:`send`.
        """
        if not self._said_goodbye:
            self._said_goodbye = True
            self.send(GOODBYE)

    def cork(self, on: bool) -> None:
        """Have the kernel keep back what is sent, for :meth:`finish` may follow; or no more. For the owner."""
        if on is not self._corked:
            self._corked = on
            cork(self.sock, on)

    def finish(self) -> None:
        """End the sending side: nothing more will come. What the client still sends is for :meth:`drop`: bytes that
        nobody reads would break the connection, and with it answers that are on their way.

        :raises OSError: the connection broke.
        """
        self.finished = True
        self.sock.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Read once, for nothing.

        :raises EOFError: the client closed the connection; ``OSError``: it broke.
        """
        if not self.sock.recv(_RECEIVE):
            raise EOFError

    def hold(self, answer: bytes) -> None:
        """Send an answer together with those that follow. For the owner, which calls :meth:`release` soon.

        :raises OSError: as :meth:`send`.
        """
        self._held.append(answer)
        self._held_size += len(answer)
        if self._held_size >= _TOGETHER:
            self.release()

    def release(self) -> None:
        """Send what is held back.

        :raises OSError: as :meth:`send`.
        """
        held = self._held
        if held:
            data = held[0] if len(held) == 1 else b"".join(held)
            held.clear()
            self._held_size = 0
            self.send(data)

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
            return self.sock.send(data, socket.MSG_DONTWAIT)
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
