"""News: what watchers are still to be told about their resources."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..errors import XdsError
from ..frozen import frozen
from .cache import CacheEntry
from .watch import Watcher


@frozen
class Notify:
    """News for one watcher; :meth:`deliver` calls it.

    :param resource: the version that this is about.
    :param error: ``None``: the resource changed.
    :param ambient: the resource stays usable despite ``error``.
    """

    entry: CacheEntry
    watcher: Watcher
    resource: Any = None
    error: XdsError | None = None
    ambient: bool = False

    def deliver(self) -> None:
        """Tell the watcher. Its exceptions are the caller's to handle."""
        if self.error is None:
            self.watcher.on_changed(self.entry.name, self.resource)
        elif self.ambient:
            self.watcher.on_ambient_error(self.entry.name, self.error)
        else:
            self.watcher.on_error(self.entry.name, self.error)


class News:
    """What is not delivered yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Notify] = deque()

    def changed(self, entry: CacheEntry) -> None:
        """Every watcher of ``entry`` is to be told its model."""
        self._waiting.extend(Notify(entry, watcher, entry.model) for watcher in entry.watchers)

    def failed(self, entry: CacheEntry, error: XdsError, *, ambient: bool = False) -> None:
        """Every watcher of ``entry`` is to be told ``error``.

        :param ambient: the model stays usable.
        """
        self._waiting.extend(Notify(entry, watcher, None, error, ambient) for watcher in entry.watchers)

    def known(self, entry: CacheEntry, watcher: Watcher) -> None:
        """One watcher, a new one, is to be told what is known about ``entry`` already."""
        if entry.model is not None:
            self._waiting.append(Notify(entry, watcher, entry.model))
        if entry.error is not None:
            self._waiting.append(Notify(entry, watcher, None, entry.error, entry.model is not None))

    def next(self) -> Notify | None:
        """The oldest, taken out; ``None``: there is none. Those of watchers that have left are dropped."""
        while self._waiting:
            news = self._waiting.popleft()
            if news.entry.watched_by(news.watcher):
                return news
        return None

    def __bool__(self) -> bool:
        return bool(self._waiting)
