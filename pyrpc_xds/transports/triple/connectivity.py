"""Connectivity of a channel to a mesh target, for ``subscribe`` and ``grpc.channel_ready_future``.

READY says that the target is configured, so that a call can be routed; the endpoints connect when they are
first called. Without a configuration the state is CONNECTING, or TRANSIENT_FAILURE while the control plane
says that there is no such target.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import grpc

from ...errors import DeadlineExceeded, PyrpcXdsError
from ..base import Router

#: The states of a channel as grpcio's core numbers them: what its channels tell without making an enum of it.
IDLE, CONNECTING, READY, TRANSIENT_FAILURE, SHUTDOWN = range(5)

_LOG = logging.getLogger(__name__)
_SLICE_SECONDS = 0.2

Callback = Callable[[grpc.ChannelConnectivity], None]


class Connectivity:
    """Tells subscribers the state of a router. A thread runs only while someone waits for a change."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._lock = threading.Lock()
        # Callback and the state it was last told.
        self._subscribers: list[tuple[Callback, list[grpc.ChannelConnectivity | None]]] = []
        self._watching = False
        self._closed = threading.Event()

    def after_fork(self) -> None:
        """In a forked child: the watching thread is the parent's; the next subscriber starts another."""
        closed = self._closed.is_set()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._watching = False
        if closed:
            self._closed.set()

    def subscribe(self, callback: Callback) -> None:
        """Call ``callback`` soon with the present state, and at each change."""
        with self._lock:
            if self._closed.is_set():
                return
            self._subscribers.append((callback, [None]))
            if not self._watching:
                self._watching = True
                threading.Thread(
                    target=self._watch, name="pyrpc-xds-triple-connectivity", daemon=True
                ).start()

    def unsubscribe(self, callback: Callback) -> None:
        """Call it no more."""
        with self._lock:
            self._subscribers = [each for each in self._subscribers if each[0] != callback]

    def close(self) -> None:
        """Forget all subscribers."""
        with self._lock:
            self._closed.set()
            self._subscribers = []

    def _watch(self) -> None:
        state = grpc.ChannelConnectivity.CONNECTING
        if self._router.snapshot is not None:
            state = grpc.ChannelConnectivity.READY
        while True:
            with self._lock:
                subscribers = self._subscribers
                # A router keeps its last configuration as a rule, so READY is taken for final: no thread
                # stays for the case that the control plane takes the target away.
                if not subscribers or (
                    state is grpc.ChannelConnectivity.READY
                    and all(told[0] is state for _, told in subscribers)
                ):
                    self._watching = False
                    return
            for callback, told in subscribers:
                if told[0] is not state:
                    told[0] = state
                    try:
                        callback(state)
                    except Exception:
                        _LOG.exception("a connectivity callback failed")
            if state is not grpc.ChannelConnectivity.READY:
                state = self._next()

    def _next(self) -> grpc.ChannelConnectivity:
        try:
            self._router.wait(_SLICE_SECONDS)
        except DeadlineExceeded:
            return grpc.ChannelConnectivity.CONNECTING
        except PyrpcXdsError:
            self._closed.wait(_SLICE_SECONDS)
            return grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return grpc.ChannelConnectivity.READY
