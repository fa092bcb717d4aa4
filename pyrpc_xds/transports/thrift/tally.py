"""What a server for threads has at a moment: its connections, and those of them on which calls run."""

from __future__ import annotations

import math
import threading
from time import monotonic

from .peer import Lease, Peer


class Tally:
    """Counts connections and running calls; any thread.

    Guarded by ``_lock``: everything that changes, :attr:`.Peer.owned`, ``in_flight`` and ``lease`` included.

    :ivar stopping: clients are told to go; a connection that carries one call at a time is closed with its next answer.
    :ivar closing: every connection is closed once what it held at that moment is answered.
    :ivar over: no further message is to be begun.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._open = 0
        self._running: set[Peer] = set()
        self._stop_by = math.inf
        self._all_read = False
        self.stopping = False
        self.closing = False
        self.over = False

    @property
    def stop_by(self) -> float:
        """The deadline of :meth:`stop`."""
        return self._stop_by

    @property
    def open(self) -> int:
        """Connections that are open."""
        return self._open

    def opened(self) -> None:
        """One connection more."""
        with self._lock:
            self._open += 1

    def closed(self) -> None:
        """One connection less."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self._quiet.notify_all()

    def owned(self, peer: Peer) -> None:
        """A message of the connection is a worker's."""
        with self._lock:
            self._running.add(peer)
            peer.owned = True

    def returned(self, peer: Peer) -> None:
        """No worker has the connection any more; calls may still run beside it."""
        with self._lock:
            peer.owned = False
            if not peer.in_flight:
                self._running.discard(peer)
            if not self._running:
                self._quiet.notify_all()

    def begin_beside(self, peer: Peer, most: int) -> bool:
        """One call more runs without the connection; ``False``: there are ``most``."""
        with self._lock:
            if peer.in_flight >= most:
                return False
            peer.in_flight += 1
            return True

    def take_over(self, peer: Peer, lease: Lease, most: int) -> bool:
        """Take a connection from the worker that lent it, whose call runs beside it from now on.

        :returns: ``False``: the call is over, or too many run beside.
        """
        with self._lock:
            if peer.lease is not lease or peer.in_flight >= most:
                return False
            peer.lease = None
            peer.in_flight += 1
            return True

    def reclaim(self, peer: Peer, lease: Lease) -> bool:
        """The call for which the connection was lent is over; ``False``: it was taken over."""
        with self._lock:
            if peer.lease is not lease:
                return False
            peer.lease = None
            return True

    def end_beside(self, peer: Peer, outgoing: bool) -> None:
        """A call that ran beside its connection is over.

        :param outgoing: the client has not read all answers, so the connection is not quiet.
        """
        with self._lock:
            peer.in_flight -= 1
            # One that is closed counts as returned, or is about to.
            if outgoing and not peer.closed:
                self._running.add(peer)
            elif not peer.in_flight and not peer.owned:
                self._running.discard(peer)
                if not self._running:
                    self._quiet.notify_all()

    def stop(self, deadline: float) -> bool:
        """Begin to stop; a second call may bring the deadline forward.

        :param deadline: of :func:`time.monotonic`, for the waits.
        :returns: whether this is the first call.
        """
        with self._lock:
            first, self.stopping = not self.stopping, True
            self._stop_by = min(self._stop_by, deadline)
            self._quiet.notify_all()
            return first

    def all_read(self) -> None:
        """After :meth:`stop`: each connection that no worker has was read for the last time."""
        with self._lock:
            self._all_read = True
            self._quiet.notify_all()

    def wait_until_quiet(self) -> list[Peer]:
        """Wait until all is read and nothing runs, or the deadline of :meth:`stop`.

        :returns: the connections on which calls still run.
        """
        with self._lock:
            while (self._running or not self._all_read) and (left := self._stop_by - monotonic()) > 0:
                self._quiet.wait(left)
            self.over = True
            return list(self._running)

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until all connections are closed, so many seconds, or the deadline of :meth:`stop`."""
        with self._lock:
            until = monotonic() + seconds
            while self._open and (left := min(until, self._stop_by) - monotonic()) > 0:
                self._quiet.wait(left)
