"""Resource timers: how long a request may stay unanswered (gRFC A57, A88). Sans-IO.

They run while a stream is open, from the moment that the transport has taken the request.
"""

from __future__ import annotations

from collections.abc import Iterable

from .cache import CacheEntry, ResourceState

RESOURCE_TIMEOUT = 15.0
"""Seconds without an answer after which a resource does not exist (gRFC A57)."""
TRANSIENT_RESOURCE_TIMEOUT = 30.0
"""The same where the server features make it a transient error (gRFC A88)."""
ABSENCE_GRACE = 5.0
"""Seconds that an unanswered name may be absent from its type's responses.

The response in hand may be older than the request that named it; an answer to that request follows at once or
not at all, so the full resource timer would only delay a clear error.
"""


class ResourceTimers:
    """The entries that an answer is awaited for.

    Anybody may stop a timer, or move it forward, by :attr:`.cache.CacheEntry.deadline`.

    :param timeout: seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # Entries with a deadline, and some that have none any more.
        self._timed: list[CacheEntry] = []

    def start(self, entries: Iterable[CacheEntry], now: float) -> None:
        """The request for ``entries`` is on its way. Those of which something is known need no timer."""
        for entry in entries:
            if entry.state is ResourceState.REQUESTED and entry.deadline is None:
                entry.deadline = now + self._timeout
                self._timed.append(entry)

    def resume(self, entry: CacheEntry) -> None:
        """``entry`` was left, and is watched again: its timer, if it has one, goes on."""
        self._timed.append(entry)

    def stop(self) -> None:
        """The stream is gone."""
        for entry in self._timed:
            entry.deadline = None
        self._timed.clear()

    def next(self) -> float | None:
        """When the first of them expires; ``None``: none runs."""
        self._timed = [entry for entry in self._timed if entry.deadline is not None and entry.watchers]
        return min((entry.deadline for entry in self._timed if entry.deadline is not None), default=None)

    def expired(self, now: float) -> list[CacheEntry]:
        """The entries whose time has run out. Each is returned once."""
        late = []
        for entry in self._timed:
            if entry.deadline is not None and entry.deadline <= now and entry.watchers:
                entry.deadline = None
                late.append(entry)
        return late
