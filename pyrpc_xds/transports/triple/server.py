"""TripleServer: a :class:`grpc.Server` with version labels and an orderly stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import grpc

from ...errors import PortNotBound, UsageError
from .concurrency import Concurrency, Counted, CountedByGrpcio
from .handling import CallContext
from .http.ports import SyncPorts
from .options import chosen
from .registration import Registration

# A port that is taken is an error here; with SO_REUSEPORT, grpcio's default, two servers would share it
# unnoticed.
DEFAULT_OPTIONS = {"grpc.so_reuseport": 0}
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.1
_AFTER_GRACE_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


def server_options(options: Iterable[tuple[str, Any]] | None) -> tuple[tuple[str, Any], ...]:
    """The defaults with the caller's options on top."""
    return tuple({**DEFAULT_OPTIONS, **dict(options or ())}.items())


class TripleServer(Registration, grpc.Server):
    """A server of Triple and gRPC calls. Made by :meth:`.transport.TripleTransport.server`, which documents
    the parameters.

    :param registered: what :class:`.registration.Registration` takes.
    :ivar labels: its version labels, for example ``{"dubbogoAppVersion": "v1"}``.
    :ivar port: the port that was bound last, ``None`` before.
    :ivar health: sets what the health service says; ``None`` before the start, where it is left out, and where
        the application has added its own. Where it is not installed, setting is a :class:`ConfigError`.
    """

    def __init__(
        self,
        *,
        options: Iterable[tuple[str, Any]] | None,
        interceptors: Sequence[Any],
        max_workers: int | None,
        maximum_concurrent_rpcs: int | None,
        compression: grpc.Compression | None,
        grace: float,
        drain: float,
        codec: str | None,
        address: str | None,
        **registered: Any,
    ) -> None:
        super().__init__(asyncio=False, address=address, **registered)
        self._grace = grace
        self._drain = drain
        workers = max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="pyrpc-xds-triple-server")
        self._stopped: threading.Event | None = None
        around = [CallContext(), *interceptors]
        options = server_options(options)
        concurrency: Concurrency | None = None
        if chosen(codec) is None:
            self._server = grpc.server(
                self._executor,
                handlers=[self._services],
                interceptors=around,
                options=options,
                maximum_concurrent_rpcs=maximum_concurrent_rpcs,
                compression=compression,
            )
            if maximum_concurrent_rpcs is not None:
                concurrency = CountedByGrpcio(self._server)
        else:
            from .h2.server import Server

            if compression not in {None, grpc.Compression.NoCompression}:
                raise UsageError(
                    f"compression={compression}: a server with codec='nghttp2' does not compress; use 'grpcio'"
                )
            if maximum_concurrent_rpcs is not None:
                concurrency = Counted(maximum_concurrent_rpcs)
            self._server = Server(self._executor, workers, [self._services], around, options, concurrency)
        self._http = SyncPorts(self._services, around, self._executor, options, concurrency)
        if address is not None:
            try:
                self.add_insecure_port(address)
            except PortNotBound:
                # grpcio frees the pollers of a server only if it was started once.
                self._server.start()
                self._server.stop(0)
                raise

    def start(self) -> None:
        """Begin to serve. Services are added before.

        :raises ConfigError: health or reflection is asked for and not installed.
        :raises UsageError: it has no port.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        self._close_registration()
        self._server.start()
        self._http.start()

    @property
    def _has_stopped(self) -> bool:
        return self._stopped is not None

    def stop(self, grace: float | None = None) -> threading.Event:
        """Stop: new calls are refused at once, running ones have ``grace`` seconds, then they are aborted.

        Whoever watches the health service hears NOT_SERVING first.

        :param grace: seconds; ``None``: what the server was made with (30), unlike grpcio's immediate abort.
        :returns: an event that is set when the server has stopped.
        """
        if self.health is not None:
            self.health.end()
        grace = self._grace if grace is None else grace
        self._http.stop(grace)
        ended: threading.Event = self._server.stop(grace)
        if self._stopped is None:
            # grpcio leaves the workers to the garbage collector. They may be told to end only when no call
            # can come any more, which is when grpcio's event is set.
            self._stopped = threading.Event()
            threading.Thread(
                target=self._finish, args=(ended, self._stopped), name="pyrpc-xds-triple-stop"
            ).start()
        return self._stopped

    def _finish(self, ended: threading.Event, stopped: threading.Event) -> None:
        ended.wait()
        self._http.join()
        self._executor.shutdown()
        stopped.set()

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Block until the server has stopped (False) or ``timeout`` seconds have passed (True)."""
        return bool(self._server.wait_for_termination(timeout))

    def serve(self) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, then stop with grace and return. For the main thread
        of a program. Starts the server, unless :meth:`start` has.

        After the signal it drains for the seconds it was made with (:meth:`drain`), then stops. A second signal
        ends that, and aborts what still runs.

        Returns at the latest a second after the grace period, handlers that do not end notwithstanding.

        :raises ValueError: called on another thread (Python sets signal handlers on the main thread only).
        """
        # The handlers only count: anything that locks could meet its own lock, held by the code it
        # interrupts.
        signals: list[int] = []

        def on_signal(number: int, _frame: FrameType | None) -> None:
            signals.append(number)

        previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            if not self._started:
                self.start()
            while not signals and self.wait_for_termination(_POLL_SECONDS):
                pass
            if signals:
                self.drain()
                until = time.monotonic() + self._drain
                while len(signals) == 1 and time.monotonic() < until:
                    if not self.wait_for_termination(min(_POLL_SECONDS, self._drain)):
                        break
            stopped = self.stop()
            # grpcio aborts calls, but cannot stop the threads of handlers that do not end.
            until = time.monotonic() + self._grace + _AFTER_GRACE_SECONDS
            while not stopped.wait(_POLL_SECONDS) and time.monotonic() < until:
                if len(signals) > 1:
                    self.stop(0)
                    until = min(until, time.monotonic() + _AFTER_GRACE_SECONDS)
                    signals.clear()
            if not stopped.is_set():
                _LOG.warning("handlers still run %g seconds after the grace period", _AFTER_GRACE_SECONDS)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
