"""Targets: what the channels to one target share, for as long as one of them is open."""

from __future__ import annotations

import collections
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ..base import Mesh, Router
from .connector import TripleConnector
from .fork import reset_in_child
from .options import Options
from .start_threads import StartThreads


class Target:
    """One target with its router and connections, shared by the channels that were opened to it alike.

    :ivar name: as the caller wrote it.
    :ivar authority: ``host:port``, the ``:authority`` of the calls: what virtual hosts are matched against.
    :ivar threads: where futures and streams wait to begin.
    """

    def __init__(self, mesh: Mesh, name: str, connector: TripleConnector) -> None:
        self.name = name
        self.connector = connector
        self.router: Router = mesh.router(name, connector)
        self.authority = self.router.authority
        connector.serve(self.authority)
        self.threads = StartThreads()
        self.users = 0


class Targets:
    """The targets in use of one transport, and how many channels use each."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._lock = threading.Lock()
        self._targets: dict[tuple[Any, ...], Target] = {}
        # Of channels that were dropped without being closed. A finalizer may run wherever memory is allocated,
        # under any lock: it only appends here.
        self._dropped: collections.deque[tuple[Target, Callable[[], None] | None]] = collections.deque()
        reset_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: no thread of the parent begins a call here or opens a target."""
        self._lock = threading.Lock()
        for target in list(self._targets.values()):
            target.threads = StartThreads()

    def open(self, name: str, options: Options, compression: Any) -> Target:
        """The target for a new channel.

        :raises UsageError: the name has no form that the mesh knows, or the client is closed.
        """
        self._forget_dropped()
        connector = TripleConnector(name, options, compression)
        with self._lock:
            target = self._targets.get(connector.key)
            if target is None:
                target = self._targets[connector.key] = Target(self._mesh, name, connector)
            target.users += 1
            return target

    def when_dropped(
        self, channel: object, target: Target, close: Callable[[], None] | None = None
    ) -> weakref.finalize[..., object]:
        """Have the target given up, and ``close`` called, some time after ``channel`` is garbage.

        Its connections are drained, not closed: a call keeps no reference to the channel that it began on.

        :returns: to be detached when the channel is closed.
        """
        finalizer = weakref.finalize(channel, self._dropped.append, (target, close))
        finalizer.atexit = False
        return finalizer

    def _forget_dropped(self) -> None:
        while True:
            try:
                target, close = self._dropped.popleft()
            except IndexError:
                return
            if close is not None:
                close()
            if self.leave(target):
                target.router.close()

    def release(self, target: Target) -> None:
        """A channel to the target was closed; with the last one, its connections and running calls end."""
        self._forget_dropped()
        if self.leave(target):
            target.connector.close()
            target.router.close()

    def leave(self, target: Target) -> bool:
        """As :meth:`release`, but the caller does the rest if this is True."""
        with self._lock:
            target.users -= 1
            if target.users == 0:
                self._targets.pop(target.connector.key, None)
            return target.users == 0
