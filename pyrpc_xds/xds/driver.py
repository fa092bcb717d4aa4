"""The thread that runs the session: with its streams the only I/O of this folder.

One daemon thread owns the session, the timers and every call to a watcher; it starts with the first
subscription. Per stream there are two more: a reader, and the one in which grpc takes requests. Everything
reaches the driver thread through one inbox. The reader puts the next message there only after the last one
has been dealt with, watchers included: in a storm of updates HTTP/2 flow control holds them back, not our
memory.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import itertools
import logging
import os
import queue
import random as _random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..bootstrap import Bootstrap, Mode, Server
from ..errors import ClosedError, StreamError, UsageError
from .backoff import BackOff
from .connection import AdsConnection
from .decode.envelope import encode_node
from .servers import Servers
from .session import Session
from .stream import MAX_MESSAGE_BYTES, AdsStream, open_stream
from .types import TYPES, ResourceType
from .watch import Watcher

_log = logging.getLogger("pyrpc_xds.xds")

# Between turns that fail, which only a bug of ours can do.
_BUG_PAUSE = 0.1
# A turn of the loop ends after so many commands or rounds of news, so that no flood starves the rest.
_MAX_BATCH = 1000
_BREATH = 0.0001


def breathe() -> None:
    """Let other threads have the interpreter.

    A thread that computes keeps it for 5 ms (:func:`sys.setswitchinterval`, which is the program's), many times what
    a call takes; letting go of it for no time would give it to nobody.
    """
    time.sleep(_BREATH)


class AdsDriver:
    """Runs an ADS session against a server of a bootstrap: the first, or one that it falls back to (:mod:`.servers`).

    Every method may be called from any thread; watchers and callbacks always run on the driver's own.

    :param bootstrap: where and who. The features of the first server count for all.
    :param resource_timeout: seconds after which a resource that the server does not send does not exist;
        ``None``: 15, or what the server features say (gRFC A57, A88).
    :param max_message_bytes: longest response that is accepted.
    :param backoff: delays between streams.
    :param clock: monotonic seconds.
    :param user_agent_version: told to the server.
    :raises ConfigError: the node's metadata cannot be sent.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        *,
        resource_timeout: float | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        backoff: BackOff | None = None,
        clock: Callable[[], float] = time.monotonic,
        user_agent_version: str = "",
    ) -> None:
        # Set once.
        self.bootstrap = bootstrap
        self._servers = Servers(bootstrap.servers)
        self._resource_timeout = resource_timeout
        self._max_message_bytes = max_message_bytes
        self._clock = clock
        self._version = user_agent_version
        self._backoff = backoff or BackOff(_random.random)
        encode_node(bootstrap.node)  # what cannot be sent is the caller's error, here and now
        # Guarded by _lock: the life of the thread.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        # Replaced as a whole, read anywhere.
        self._settled: tuple[Callable[[], None], ...] = ()
        self._fresh()

    def _fresh(self) -> None:
        """State of the driver thread, as before its start."""
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._session = Session(
            self.bootstrap.node,
            types=self._types(),
            fail_on_data_errors=self._servers.first.fail_on_data_errors,
            resource_timeout=self._resource_timeout,
            timer_is_transient=self._servers.first.resource_timer_is_transient_error,
            breathe=breathe,
        )
        # Nothing in it refers to the driver, which may be dropped.
        self._connection = AdsConnection(
            self._session,
            self._servers,
            self._backoff,
            partial(open_stream, self._inbox, self._max_message_bytes),
            breathe,
            self._version,
        )
        self._later: list[tuple[float, int, Callable[[], None]]] = []  # a heap, by time
        self._order = itertools.count()
        self._stopping = False

    def _types(self) -> Mapping[str, ResourceType]:
        if self.bootstrap.mode is not Mode.SIDECAR:
            return TYPES
        from .sidecar_types import SIDECAR_TYPES  # most clients do without

        return SIDECAR_TYPES

    @property
    def server(self) -> Server:
        """The control plane in use."""
        return self._servers.current

    # ---- any thread

    def subscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Watch a resource. Returns at once; news come to ``watcher``.

        :raises ClosedError: the driver is closed.
        """
        self._do(lambda: self._session.subscribe(kind, name, watcher))

    def unsubscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Stop watching. On the driver's thread it takes effect at once, elsewhere shortly after.

        Does nothing on a closed driver.
        """
        with contextlib.suppress(UsageError):
            self._do(lambda: self._session.unsubscribe(kind, name, watcher))

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the driver's thread, soon. What it raises is logged.

        :raises ClosedError: the driver is closed.
        """
        self._start()
        self._inbox.put(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> None:
        """Run ``function`` on the driver's thread after ``delay`` seconds, unless closed before.

        What it raises is logged.

        :raises ClosedError: the driver is closed.
        """
        at = self._clock() + delay
        self.call(lambda: heapq.heappush(self._later, (at, next(self._order), function)))

    def on_settled(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` run after each turn: once all news of a response, a timer or a batch of commands
        are delivered. The place to compile a snapshot: once, and never half a response."""
        self._settled = (*self._settled, callback)

    @property
    def last_error(self) -> str | None:
        """Why the control plane cannot be reached, with server, node and age; ``None``: all is well."""
        failure = self._connection.failure
        if failure is None:
            return None
        age = max(0.0, self._clock() - failure[0])
        return f"{failure[1]} ({age:.0f} s ago, node {self.bootstrap.node.id!r})"

    @property
    def refusal(self) -> str | None:
        """Why the control plane answers no node like this one (:class:`NodeRefused`); ``None``: it has not said so."""
        return self._connection.refusal

    @property
    def connected(self) -> bool:
        """Whether the control plane has taken a request on the stream that is open."""
        return self._connection.connected

    @property
    def running(self) -> bool:
        """Whether the driver's thread has been started and the driver not closed."""
        return self._thread is not None and not self._closed

    def dump(self, timeout: float = 5.0) -> dict[str, Any]:
        """What the driver holds, as JSON values: server, node, last error and every resource with its state.

        :param timeout: seconds to wait for the driver's thread.
        :raises StreamError: it did not answer in time.
        """
        if not self.running or threading.current_thread() is self._thread:
            return self._dump()
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        try:
            self.call(lambda: answer.put(self._dump()))
            return answer.get(timeout=timeout)
        except UsageError:
            return self._dump()
        except queue.Empty:
            raise StreamError(f"the xDS thread is busy: no answer within {timeout} s") from None

    def close(self, timeout: float = 5.0) -> None:
        """Stop: no watcher is called after this returns, unless a watcher called it or ``timeout`` ran out.

        :param timeout: seconds to wait for the thread. Closing again does nothing.
        """
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None:
            return
        self._inbox.put(None)
        if thread is not threading.current_thread():
            thread.join(timeout)

    def abandon(self, last: Callable[[], None]) -> None:
        """:meth:`close` for a finalizer: takes no lock and waits for nothing.

        :param last: runs on the driver's thread, before it ends. ``SimpleQueue.put`` may be called by a finalizer
            that interrupts another ``put``.
        """
        self._closed = True
        self._inbox.put(last)
        self._inbox.put(None)

    def _do(self, command: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            if self._closed:
                raise ClosedError("the XdsClient is closed")
            command()
        else:
            self.call(command)

    def _start(self) -> None:
        if self._thread is not None and not self._closed:
            return
        with self._lock:
            if self._closed:
                raise ClosedError("the XdsClient is closed")
            if self._thread is None:
                _living.add(self)
                self._thread = threading.Thread(target=self._run, name="pyrpc-xds-ads", daemon=True)
                self._thread.start()

    def _dump(self) -> dict[str, Any]:
        node = self.bootstrap.node
        return {
            "source": self.bootstrap.source,
            "server": self.server.uri,
            "node": {"id": node.id, "cluster": node.cluster, "metadata": dict(node.metadata)},
            "connected": self.connected,
            "last_error": self.last_error,
            "resources": self._session.cache.dump(self._clock()),
        }

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._thread else "not started"
        return f"<AdsDriver {self.server.uri} {state}>"

    # ---- the driver's thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._turn()
                except Exception as error:
                    # A bug of ours must not end the updates for good: what is held stays, the stream starts anew.
                    _log.exception("a turn of the xDS thread failed")
                    failure = StreamError(f"internal error: {type(error).__name__}: {error}")
                    self._connection.lost(failure, self._clock())
                    time.sleep(_BUG_PAUSE)
        finally:
            self._connection.close()
            _living.discard(self)

    def _turn(self) -> None:
        connection = self._connection
        message_from = self._take()
        if self._stopping:
            return
        now = self._clock()
        self._session.expire(now)
        connection.expire(now)
        while self._later and self._later[0][0] <= now:
            self._guarded(heapq.heappop(self._later)[2])
        self._deliver()
        if connection.due and any(self._session.cache) and not connection.open(now):
            self._deliver()
        if connection.stream is not None:
            connection.send(self._session.requests())
        if message_from is not None:
            message_from.processed()

    def _take(self) -> AdsStream | None:
        """Wait for input and process what there is, at most one message.

        :returns: the stream that the message came from, its reader waiting.
        """
        later = self._later[0][0] if self._later else None
        times = (self._session.next_timer(), self._connection.next_timer(), later)
        timers = [at for at in times if at is not None]
        timeout = max(0.0, min(timers) - self._clock()) if timers else None
        for _ in range(_MAX_BATCH):
            try:
                item = self._inbox.get(timeout=timeout)
            except queue.Empty:
                return None
            timeout = 0.0
            if item is None:
                self._stopping = True
                return None
            if callable(item):
                self._guarded(item)
                continue
            stream: AdsStream = item[0]
            if self._connection.heard(stream, item[1], item[2], self._clock()):
                return stream
        return None

    def _deliver(self) -> None:
        for _ in range(_MAX_BATCH):
            while (news := self._session.next_notification()) is not None:
                self._guarded(news.deliver)
                if self._stopping:
                    return
            for callback in self._settled:
                self._guarded(callback)
            if not self._session.has_news:
                return
        _log.error("watchers and settled callbacks keep each other busy; the rest waits for the next turn")

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:
            _log.exception("a callback of the xDS thread failed")

    # ---- fork

    def _after_fork(self) -> None:
        """In the child: no thread of ours is left, and grpc's objects of the parent must not be touched.

        They are kept from being finalised; subscriptions are forgotten, the next one starts a new thread.
        """
        _abandoned.append((self._connection, self._thread, self._session, self._inbox))
        self._lock = threading.Lock()
        self._thread = None
        self._fresh()


# Running drivers: closed when the interpreter exits, restarted after a fork.
_living: weakref.WeakSet[AdsDriver] = weakref.WeakSet()
# What a forked child must never finalise; grows by one per fork and driver.
_abandoned: list[Sequence[object]] = []


@atexit.register
def _close_all() -> None:
    for driver in list(_living):
        driver.close(timeout=1.0)


def _fork_all() -> None:
    for driver in list(_living):
        driver._after_fork()
    _living.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fork_all)
