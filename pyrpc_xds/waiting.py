"""Waiting in a way that a signal ends."""

from __future__ import annotations

import queue
import threading
from time import monotonic

# How late a signal may be noticed that came just before a wait.
_SLICE_SECONDS = 0.5


class Bell:
    """An event that a signal handler may set, and that one may end the wait for.

    :class:`threading.Event` is neither: a handler that sets it, or raises (KeyboardInterrupt), between two of its
    Python instructions leaves its lock held for good. A :class:`queue.SimpleQueue` is one C function.

    In CPython a signal that comes while the main thread hands the GIL to another, just before it sleeps, does not wake
    it: Ctrl-C or SIGTERM would go unnoticed until the wait is over. So it is in slices, as grpcio's own waits are.
    """

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End this wait and all later ones."""
        self._rung.put(None)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until it rings.

        :param seconds: the longest wait; ``None``: without limit.
        :returns: whether it has rung.
        """
        until = None if seconds is None else monotonic() + seconds
        while True:
            left = _SLICE_SECONDS if until is None else until - monotonic()
            try:
                self._rung.get(timeout=max(min(left, _SLICE_SECONDS), 0.0))
            except queue.Empty:
                if left <= 0.0:
                    return False
            else:
                self._rung.put(None)
                return True


def wait(event: threading.Event, seconds: float | None = None) -> bool:
    """:meth:`threading.Event.wait` in slices, for the reason that :class:`Bell` gives."""
    until = None if seconds is None else monotonic() + seconds
    while True:
        left = _SLICE_SECONDS if until is None else until - monotonic()
        if event.wait(max(min(left, _SLICE_SECONDS), 0.0)):
            return True
        if left <= 0.0:
            return False
