"""Router: the newest compiled snapshot of one target, and the wait for the first one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import DeadlineExceeded, Unavailable
from ..waiting import Bell
from .snapshot import CompiledSnapshot


class Router:
    """What a transport asks for decisions (:class:`pyrpc_xds.transports.base.Router`).

    ``snapshot`` is replaced by one attribute store, from the driver's thread. A target that the control plane
    does not know has no snapshot but a failure, until a snapshot comes after all.

    :ivar failure: why there is no snapshot and none is on its way; empty otherwise.
    :ivar awaited: what a connected control plane has not sent, for an error text; ``None``: that is not known.
    :ivar closed: for good; a snapshot that is published after it is not seen.
    :param authority: ``host:port``.
    :param ready_timeout: seconds that :meth:`wait` takes where the caller gives no timeout.
    :param note: what to add to an error text about the state of the control plane; nothing where all is well.
    """

    __slots__ = (
        "_follow",
        "_lock",
        "_note",
        "_on_close",
        "_parents",
        "_ready_timeout",
        "_waiters",
        "authority",
        "awaited",
        "closed",
        "failure",
        "snapshot",
    )

    def __init__(self, authority: str, ready_timeout: float, note: Callable[[], str | None]) -> None:
        self.authority = authority
        self.snapshot: CompiledSnapshot | None = None
        self._ready_timeout = ready_timeout
        self._note = note
        self.awaited: Callable[[], str | None] = _unknown
        self._on_close: Callable[[], None] | None = None
        self._parents: CompiledSnapshot | None = None
        self._lock = threading.Lock()
        self.failure = ""
        # Guarded by _lock.
        self.closed = False
        self._follow: Callable[[], None] | None = None
        self._waiters: set[Callable[[], Any]] = set()

    def publish(self, snapshot: CompiledSnapshot) -> None:
        """Make ``snapshot`` the one that new calls see, unless :meth:`close` came first, on another thread."""
        with self._lock:
            if self.closed:
                return
            self.snapshot = snapshot
            self.failure = ""
        self._wake()

    def fail(self, reason: str) -> None:
        """There is nothing to decide by: waiting and later calls fail with ``reason``."""
        self.snapshot = None
        self.failure = reason
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, set()
        for wake in waiters:
            wake()

    def _wait_with(self, wake: Callable[[], Any]) -> bool:
        """Whether there is something to wait for; ``wake`` is then called once."""
        with self._lock:
            if self.snapshot is None and not self.failure:
                self._waiters.add(wake)
                return True
            return False

    def wait(self, timeout: float | None = None) -> CompiledSnapshot:
        """Block for the first snapshot; see :class:`pyrpc_xds.transports.base.Router`."""
        self._revive()
        if self.snapshot is None:
            bell = Bell()
            if self._wait_with(bell.ring):
                bell.wait(self._ready_timeout if timeout is None else timeout)
                with self._lock:
                    self._waiters.discard(bell.ring)
        return self.snapshot or self._raise(timeout)

    async def wait_async(self, timeout: float | None = None) -> CompiledSnapshot:
        """:meth:`wait` for a running event loop."""
        self._revive()
        if self.snapshot is None:
            loop = asyncio.get_running_loop()
            ready = asyncio.Event()

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(ready.set)
                except RuntimeError:
                    pass  # that loop is closed, nobody waits on it any more

            if self._wait_with(wake):
                try:
                    async with asyncio.timeout(self._ready_timeout if timeout is None else timeout):
                        await ready.wait()
                except TimeoutError:
                    pass
                finally:
                    with self._lock:
                        self._waiters.discard(wake)
        return self.snapshot or self._raise(timeout)

    def _raise(self, timeout: float | None) -> NoReturn:
        note = self._note()
        if self.failure:
            said = note if note and self.failure in note else f"{self.failure}{'; ' + note if note else ''}"
            raise Unavailable(f"{self.authority}: {said}")
        waited = self._ready_timeout if timeout is None else timeout
        reason = note or self.awaited() or "the control plane has not answered yet"
        text = f"{self.authority}: no configuration within {waited:.3g} s; {reason}"
        raise Unavailable(text) if timeout is None else DeadlineExceeded(text)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` at the first :meth:`close`."""
        self._on_close = callback

    def after_fork(self, follow: Callable[[], None] | None) -> None:
        """In a forked child: the parent's snapshot serves until the child has its own.

        :param follow: follows the target anew; called at the first use, because a fork must not start threads.
        """
        self._lock = threading.Lock()
        self._waiters = set()
        if follow is not None:
            self._parents, self.snapshot = self.snapshot, None
            self._follow = follow

    def _revive(self) -> None:
        with self._lock:
            follow, self._follow = self._follow, None
        if follow is not None:
            parents, self._parents = self._parents, None
            if parents is not None:
                self.publish(parents)  # before the child's own can come
            follow()

    def close(self) -> None:
        """Stop following the target. Calling it again does nothing."""
        with self._lock:
            self.closed = True
            callback, self._on_close = self._on_close, None
        if callback is not None:
            callback()
        self.fail("the client is closed")

    def __repr__(self) -> str:
        return f"<Router {self.authority} {'ready' if self.snapshot else self.failure or 'waiting'}>"


def _unknown() -> None:
    return None
