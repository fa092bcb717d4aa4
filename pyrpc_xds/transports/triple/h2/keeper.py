"""What looks after client connections that nobody is reading: one thread a process, while there are any.

It answers the peers' pings, notices GOAWAY and closed sockets, and sends keepalive pings while calls run (gRFC A8).
Callers that wait read for themselves; it leaves their connections alone.
"""

from __future__ import annotations

import os
import threading
import time
import weakref

from .connection import ClientConnection

_EVERY_SECONDS = 1.0


class Keeper:
    """The thread and what it looks after."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._kept: weakref.WeakKeyDictionary[ClientConnection, _Watch] = weakref.WeakKeyDictionary()
        self._running = False
        self._closed = threading.Event()

    def keep(self, connection: ClientConnection, keepalive: tuple[float, float]) -> None:
        """Look after a connection until it is closed or dropped.

        :param keepalive: seconds of silence after which a running call has the peer pinged; seconds for the answer.
        """
        connection.when_closed = self._closed.set
        with self._lock:
            self._kept[connection] = _Watch(keepalive)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="pyrpc-xds-h2-keeper", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._closed.wait(_EVERY_SECONDS)
            self._closed.clear()
            with self._lock:
                kept = [
                    (connection, watch) for connection, watch in self._kept.items() if not connection.closed
                ]
                if not kept:
                    self._running = False
                    return
            while kept:
                connection, watch = kept.pop()
                watch.look(connection, time.monotonic())
                del connection  # so that a dropped one is closed


class _Watch:
    """What is known of one connection."""

    __slots__ = ("_after", "_asked", "_heard", "_received", "_within")

    def __init__(self, keepalive: tuple[float, float]) -> None:
        self._after, self._within = keepalive
        self._received = -1
        self._heard = self._asked = 0.0

    def look(self, connection: ClientConnection, now: float) -> None:
        """Deal with what has come; ping after a silence; give up a peer that does not answer."""
        connection.look()
        received = connection.session.received
        if received != self._received:
            self._received = received
            self._heard = now
        if connection.closed:
            return
        if not connection.alive:
            if now - max(self._asked, self._heard) > self._within:
                connection.close("it did not answer a keepalive ping")
        elif connection.session.streams and now - self._heard > self._after:
            self._asked = now
            connection.ping()


KEEPER = Keeper()

if hasattr(os, "register_at_fork"):
    # The child has neither the thread nor the connections.
    os.register_at_fork(after_in_child=KEEPER.__init__)  # type: ignore[misc]
