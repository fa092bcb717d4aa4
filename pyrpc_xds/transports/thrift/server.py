"""The server for threads.

One thread, the reactor, accepts and watches every connection that has nothing to do; workers run handlers. A
connection is owned by exactly one of them at a time. A worker that has answered stays with its connection for
a moment while other workers are free, so a busy client costs no hand-over; a connection that is silent, that
sends half a message or that does not read its answers is the reactor's and costs no worker.
"""

from __future__ import annotations

import contextvars
import errno
import math
import os
import queue
import selectors
import socket
import threading
from collections.abc import Mapping
from time import monotonic

from ...errors import UsageError, started_before
from .address import format_address, listen
from .codec import Codec, codec_for
from .errors import ThriftProtocolError
from .intake import Intake
from .limits import ServerLimits
from .log import RateLimitedLog, logger
from .peer import LINGER, Peer
from .processor import Processor, Request
from .signals import counted_signals
from .wire import Wire

# How often the reactor looks for expired connections, in seconds.
_TICK = 0.5
# How often serve() looks for signals, in seconds.
_POLL = 0.2


class ThriftServer:
    """A Thrift server over framed and buffered, binary and compact.

    :ivar address: where it listens, with the port it was given; empty before :meth:`start`.
    :ivar labels: of this workload, such as its version.
    """

    def __init__(
        self,
        processor: Processor,
        address: str,
        wire: Wire | None,
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
        self._wire = wire
        self._limits = limits
        self._max_workers = workers
        self._log = RateLimitedLog()
        # Set by start.
        self._listener: socket.socket | None = None
        self._reactor: threading.Thread | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        # Owned by the reactor: connections that no worker has.
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._parked: set[Peer] = set()
        self._accept_again = 0.0
        # Handed over: to workers, and back to the reactor.
        self._ready: queue.SimpleQueue[tuple[Peer, tuple[bytes, int]] | None] = queue.SimpleQueue()
        self._returned: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        # Parked connections on which a call that ran beside has ended.
        self._settled: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        # What encodes the answers of such calls, for each worker.
        self._codecs = threading.local()
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._workers: set[threading.Thread] = set()
        self._free = 0
        self._held = 0
        self._running: set[Peer] = set()
        self._stopping = False
        self._stop_by = math.inf
        self._stopped = threading.Event()

    def __repr__(self) -> str:
        if self._stopped.is_set():
            state = "stopped"
        elif self._stopping:
            state = "stopping"
        else:
            state = "serving" if self._listener is not None else "not started"
        return f"<ThriftServer {self._processor.service.name} at {self.address or self._bind_to} {state}>"

    def start(self) -> ThriftServer:
        """Bind, listen and serve in the background; returns when clients can connect.

        :raises PortNotBound: the address cannot be listened on.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._listener is not None or self._stopping:
            raise started_before(self.address or self._bind_to, self._stopping)
        self._listener = listen(self._bind_to, self._limits.backlog)
        self.address = format_address(self._listener.family, self._listener.getsockname())
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        reactor = threading.Thread(target=self._react, name=f"thrift {self.address}", daemon=True)
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
        """
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
        """Stop accepting, let running calls finish and be answered, then close. Calling it again waits as
        well, and may shorten the grace.

        :param grace: seconds for running calls; their connections are closed after it.
        """
        deadline = monotonic() + grace
        with self._lock:
            first, self._stopping = not self._stopping, True
            self._stop_by = min(self._stop_by, deadline)
            self._quiet.notify_all()
        reactor = self._reactor
        if reactor is None:
            self._stopped.set()
            return
        if not first:
            self._stopped.wait(max(0.0, deadline - monotonic()))
            return
        self._wake_up()
        with self._lock:
            while self._running and (left := self._stop_by - monotonic()) > 0:
                self._quiet.wait(left)
            running, workers = list(self._running), list(self._workers)
        for peer in running:
            _shutdown(peer.sock)
        self._stopped.set()
        self._wake_up()
        for _ in workers:
            self._ready.put(None)
        for thread in (reactor, *workers):
            if thread is not threading.current_thread():
                # A handler that outlives the grace keeps its thread, which is a daemon.
                thread.join(0.0 if running and thread is not reactor else 5.0)

    close = stop

    def __enter__(self) -> ThriftServer:
        return self if self._listener is not None else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _wake_up(self) -> None:
        assert self._wake is not None
        try:
            self._wake[1].send(b"x")
        except OSError:
            # Full: the reactor is about to wake; closed: it is over.
            pass

    # The reactor's thread.

    def _react(self) -> None:
        assert self._listener is not None and self._wake is not None
        selector = self._selector
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._wake[0], selectors.EVENT_READ)
        accepting = True
        look_at = monotonic() + _TICK
        try:
            while not self._stopped.is_set():
                for key, events in selector.select(_TICK):
                    if key.data is not None:
                        self._turn(key.data, events)
                    elif key.fileobj is self._listener:
                        self._accept()
                    else:
                        try:
                            self._wake[0].recv(4096)
                        except BlockingIOError:
                            pass
                while True:
                    try:
                        self._park(self._returned.get_nowait())
                    except queue.Empty:
                        break
                self._settle()
                now = monotonic()
                if self._stopping and accepting:
                    accepting = False
                    self._unlisten()
                    for peer in [each for each in self._parked if not each.outgoing]:
                        self._unpark(peer)
                        self._park(peer)
                if now >= look_at:
                    look_at = now + _TICK
                    self._expire(now)
                    if accepting and self._accept_again and now >= self._accept_again:
                        self._accept_again = 0.0
                        selector.register(self._listener, selectors.EVENT_READ)
        except Exception:
            logger.exception("the reactor of %r failed", self)
        finally:
            self._unlisten()
            for peer in list(self._parked):
                self._unpark(peer)
                self._close(peer)
            self._close_returned()
            selector.close()
            for end in self._wake:
                end.close()
            self._stopped.set()

    def _unlisten(self) -> None:
        listener = self._listener
        assert listener is not None
        if listener.fileno() >= 0:
            try:
                self._selector.unregister(listener)
            except KeyError:
                pass
            listener.close()
            if self.address.startswith("unix:"):
                try:
                    os.unlink(self.address[5:])
                except OSError:
                    pass

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(64):
            try:
                sock, name = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The connection stays in the backlog and would wake the reactor without end.
                    self._log.warning("%r cannot accept: %s; again in a second", self, error.strerror)
                    self._accept_again = monotonic() + 1.0
                    self._selector.unregister(self._listener)
                return
            with self._lock:
                held = self._held
            if held >= self._limits.connections:
                sock.close()
                self._log.warning("%r closed a new connection: %d are open, the limit", self, held)
                continue
            try:
                sock.settimeout(LINGER)
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            except OSError:
                sock.close()
                continue
            intake = Intake(self._processor.requests, self._wire, self._limits.message)
            deadline = monotonic() + self._limits.handshake_timeout
            peer = Peer(sock, format_address(sock.family, name), intake, deadline)
            with self._lock:
                self._held += 1
            self._watch(peer, selectors.EVENT_READ)

    def _watch(self, peer: Peer, events: int) -> None:
        """:param events: 0: none, but the connection is the reactor's."""
        if events:
            self._selector.register(peer.sock, events, peer)
        peer.events = events
        self._parked.add(peer)

    def _unpark(self, peer: Peer) -> None:
        if peer.events:
            self._selector.unregister(peer.sock)
        self._parked.discard(peer)

    def _settle(self) -> None:
        """Look at parked connections anew on which calls have ended."""
        while True:
            try:
                peer = self._settled.get_nowait()
            except queue.Empty:
                return
            # Where it is not parked, whoever has it will park it.
            if peer in self._parked:
                self._unpark(peer)
                self._park(peer)

    def _park(self, peer: Peer) -> None:
        """Take a connection back from a worker: it waits for the client."""
        now = monotonic()
        if peer.outgoing:
            peer.deadline = now + self._limits.frame_timeout
            self._watch(peer, selectors.EVENT_WRITE)
            return
        self._finished(peer)
        if self._stopping:
            if peer.in_flight:
                self._watch(peer, 0)
            else:
                self._close(peer)
            return
        peer.deadline = now + (self._limits.frame_timeout if peer.intake.busy else self._limits.idle_timeout)
        self._watch(peer, selectors.EVENT_READ)

    def _turn(self, peer: Peer, events: int) -> None:
        """Something happened to a parked connection."""
        try:
            if events & selectors.EVENT_WRITE:
                peer.flush()
                if not peer.outgoing:
                    self._unpark(peer)
                    message = None if self._stopping else peer.intake.next()
                    if message is None:
                        self._park(peer)
                    else:
                        self._hand_over(peer, message)
                return
            began = peer.intake.busy
            message = peer.receive()
            if message is not None:
                self._unpark(peer)
                self._hand_over(peer, message)
            elif not began and peer.intake.busy:
                # Not renewed by later bytes: a message has this long, however it trickles.
                peer.deadline = monotonic() + self._limits.frame_timeout
        except Exception as error:
            if peer in self._parked:
                self._unpark(peer)
            self._lost(peer, error)

    def _hand_over(self, peer: Peer, message: tuple[bytes, int]) -> None:
        with self._lock:
            self._running.add(peer)
            peer.owned = True
            grow = self._free <= self._ready.qsize() and len(self._workers) < self._max_workers
            if grow:
                worker = threading.Thread(
                    target=self._work, name=f"thrift worker {self.address}", daemon=True
                )
                self._workers.add(worker)
        self._ready.put((peer, message))
        if grow:
            worker.start()

    def _expire(self, now: float) -> None:
        for peer in [each for each in self._parked if each.deadline < now]:
            if peer.in_flight and not peer.intake.busy and not peer.outgoing:
                peer.deadline = now + self._limits.idle_timeout
                continue
            if peer.intake.busy or peer.outgoing:
                doing = "reading an answer" if peer.outgoing else "sending a message"
                self._log.warning("closed %s: too slow %s", peer.name, doing)
            self._unpark(peer)
            self._close(peer)

    # The workers' threads.

    def _work(self) -> None:
        while True:
            with self._lock:
                self._free += 1
            work = self._ready.get()
            with self._lock:
                self._free -= 1
            if work is None:
                break
            peer, message = work
            try:
                self._attend(peer, message)
            except Exception as error:
                self._lost(peer, error)
        with self._lock:
            self._workers.discard(threading.current_thread())

    def _attend(self, peer: Peer, first: tuple[bytes, int]) -> None:
        """Answer one message after another for as long as the connection may stay with this worker."""
        message: tuple[bytes, int] | None = first
        while message is not None:
            codec = peer.intake.codec
            request = self._processor.request(codec, *message, peer.intake.header, peer.name)
            if request.call.header is not None and request.any_order and self._part(peer):
                self._run_beside(peer, request, codec.compact)
                return
            answer = self._run(codec, request)
            if answer:
                peer.send(answer)
            if peer.outgoing or self._stopping:
                break
            message = peer.intake.next()
            if message is None:
                if not self._free:
                    break
                message = peer.receive()
            elif not self._free and self._ready.qsize():
                # Others have waited longer than what this client has sent ahead.
                self._ready.put((peer, message))
                return
        self._return(peer)

    def _return(self, peer: Peer) -> None:
        self._returned.put(peer)
        if self._stopped.is_set():
            self._close_returned()  # the reactor may have looked for the last time
        else:
            self._wake_up()

    def _part(self, peer: Peer) -> bool:
        """Let go of the connection, and not of the call: others read what the client sends next.

        :returns: ``False``: too many calls of the connection run.
        """
        with self._lock:
            if peer.in_flight >= self._limits.in_flight:
                return False
            peer.in_flight += 1
        try:
            following = None if self._stopping else peer.intake.next()
        except ThriftProtocolError:
            with self._lock:
                peer.in_flight -= 1
            raise
        if following is None:
            self._return(peer)
        else:
            self._hand_over(peer, following)
        return True

    def _run_beside(self, peer: Peer, request: Request, compact: bool) -> None:
        """Run a call without owning its connection."""
        try:
            codecs: dict[str, Codec] = self._codecs.__dict__
            name = "compact" if compact else "binary"
            codec = codecs.get(name)
            if codec is None:
                codec = codecs[name] = codec_for(Wire(framed=False, compact=compact), self._limits.message)
            answer = self._run(codec, request)
            if answer:
                peer.send(answer)
        except OSError:
            # The reactor sees the end of the connection.
            _shutdown(peer.sock)
        except Exception:
            logger.exception("closed %s: the server failed", peer.name)
            _shutdown(peer.sock)
        finally:
            with self._lock:
                peer.in_flight -= 1
                outgoing = peer.outgoing
                if outgoing:
                    self._running.add(peer)
                elif not peer.in_flight and not peer.owned:
                    self._running.discard(peer)
                    if not self._running:
                        self._quiet.notify_all()
            if outgoing or self._stopping:
                self._settled.put(peer)
                self._wake_up()

    def _run(self, codec: Codec, request: Request) -> bytes:
        value = error = None
        if request.served is not None:
            try:
                # What a handler leaves in context variables is not for the next request.
                value = contextvars.Context().run(self._processor.run, request)
            except BaseException as raised:
                error = raised
        return self._processor.answer(codec, request, value, error)

    # Both.

    def _close_returned(self) -> None:
        while True:
            try:
                self._close(self._returned.get_nowait())
            except queue.Empty:
                return

    def _finished(self, peer: Peer) -> None:
        with self._lock:
            peer.owned = False
            if not peer.in_flight:
                self._running.discard(peer)
            if not self._running:
                self._quiet.notify_all()

    def _close(self, peer: Peer) -> None:
        if peer.close():
            with self._lock:
                self._held -= 1
        self._finished(peer)

    def _lost(self, peer: Peer, error: Exception) -> None:
        if isinstance(error, ThriftProtocolError):
            self._log.warning("closed %s: %s", peer.name, error)
        elif not isinstance(error, (EOFError, OSError)):
            logger.error("closed %s: the server failed", peer.name, exc_info=error)
        self._close(peer)


def _shutdown(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
