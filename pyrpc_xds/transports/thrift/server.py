"""The server for threads: one thread watches connections (:mod:`.reactor`), workers run handlers (:mod:`.workers`)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from time import monotonic

from ...errors import UsageError, started_before
from .address import format_address, listen
from .goodbye import LEAVING
from .limits import ServerLimits, grace_period
from .processor import Processor
from .reactor import Reactor
from .signals import counted_signals
from .tally import Tally
from .wire import Accepted
from .workers import shutdown

# How often serve() looks for signals, in seconds.
_POLL = 0.2


class ThriftServer:
    """A Thrift server in every form that a client may speak (:mod:`.wire`).

    :ivar address: where it listens, with the port it was given; empty before :meth:`start`.
    :ivar labels: of this workload, such as its version.
    """

    def __init__(
        self,
        processor: Processor,
        address: str,
        accepted: Accepted,
        labels: Mapping[str, str],
        workers: int,
        limits: ServerLimits,
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers={workers}: 1 or more")
        self.address = ""
        self.labels = dict(labels)
        self._bind_to = address
        self._processor = processor
        self._accepted = accepted
        self._limits = limits
        self._most_workers = workers
        self._tally = Tally()
        self._stopped = threading.Event()
        # Set by start.
        self._listener: socket.socket | None = None
        self._reactor: Reactor | None = None

    def __repr__(self) -> str:
        if self._stopped.is_set():
            state = "stopped"
        elif self._tally.stopping:
            state = "stopping"
        else:
            state = "serving" if self._listener is not None else "not started"
        return f"<ThriftServer {self._processor.service.name} at {self.address or self._bind_to} {state}>"

    def start(self) -> ThriftServer:
        """Bind, listen and serve in the background; returns when clients can connect.

        :raises PortNotBound: the address cannot be listened on.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._listener is not None or self._tally.stopping:
            raise started_before(self.address or self._bind_to, self._tally.stopping)
        self._listener = listen(self._bind_to, self._limits.backlog)
        self.address = format_address(self._listener.family, self._listener.getsockname())

        reactor = Reactor(
            self,
            self._listener,
            self.address,
            self._processor,
            self._accepted,
            self._limits,
            self._most_workers,
            self._tally,
            self._stopped,
        )
        reactor.start()
        # Not before: a stop at this moment would wait for a thread that has not begun. One that comes now finds no
        # reactor, and the reactor finds itself stopped.
        self._reactor = reactor
        return self

    def serve(self, grace: float = 30.0, drain: float = 0.0) -> None:
        """Serve until :meth:`stop` is called or, on the main thread, SIGTERM or SIGINT comes; then stop with grace.

        A second signal cuts off what still runs.

        :param grace: seconds for running calls.
        :param drain: seconds for which it goes on as before after the signal, so that the news that this endpoint is
            leaving reaches every client first. Before the grace; in Kubernetes both together stay below
            terminationGracePeriodSeconds.
        :raises PortNotBound: the address cannot be listened on.
        :raises UsageError: grace or drain is no time.
        """
        grace, drain = grace_period(grace), grace_period(drain)
        if self._listener is None:
            self.start()
        with counted_signals() as signals:
            while not signals and not self._stopped.wait(_POLL):
                pass
            if not signals:
                return
            until = monotonic() + drain
            while len(signals) == 1 and (left := until - monotonic()) > 0:
                if self._stopped.wait(min(_POLL, left)):
                    return
            # This thread is needed for the second signal.
            ending = threading.Thread(target=self.stop, args=(grace,), name=f"thrift stop {self.address}")
            ending.start()
            while ending.is_alive():
                ending.join(_POLL)
                if len(signals) > 1:
                    self.stop(0.0)

    def stop(self, grace: float = 30.0) -> None:
        """Stop accepting, tell clients to go, answer what they have sent, then close (docs/thrift.md). Calling it
        again waits as well, and may shorten the grace.

        :param grace: seconds for all of that, ``math.inf``: no limit; what still runs after it is cut off. Where
            nothing runs it takes twice :data:`.goodbye.LEAVING`, or less where all clients close their end sooner.
        :raises UsageError: it is no time.
        """
        deadline = monotonic() + grace_period(grace)
        first = self._tally.stop(deadline)
        reactor = self._reactor
        if reactor is None:
            self._stopped.set()
            return
        if not first:
            self._stopped.wait(max(0.0, deadline - monotonic()))
            return
        reactor.wake()
        running = self._tally.wait_until_quiet()
        if not running:
            self._tally.wait_until_closed(LEAVING)
        for peer in running:
            shutdown(peer.sock)
        reactor.end()
        reactor.join(5.0)
        # Not before: it may be about to hand a message over.
        for thread in reactor.workers.end():
            if thread is not threading.current_thread():
                # A handler that outlives the grace keeps its thread, which is a daemon.
                thread.join(0.0 if running else 5.0)

    close = stop

    def __enter__(self) -> ThriftServer:
        return self if self._listener is not None else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
