"""The one thread of a server for threads that accepts, and watches every connection that has nothing to do.

A connection is owned by the reactor or by exactly one worker at a time. One that is silent, that sends half a
message or that does not read its answers is the reactor's and costs no worker.
"""

from __future__ import annotations

import math
import queue
import selectors
import socket
import threading
from time import monotonic

from .address import format_address
from .errors import ThriftProtocolError
from .goodbye import LEAVING
from .intake import Intake
from .limits import ServerLimits
from .listener import AT_ONCE, Listener
from .log import RateLimitedLog, logger
from .peer import Peer
from .processor import Processor
from .sockets import reset_on_close
from .tally import Tally
from .wire import Accepted
from .workers import PATIENCE, Workers

# How often expired connections are looked for, in seconds.
_TICK = 0.5


class Reactor(threading.Thread):
    """Watches what no worker has.

    :param server: whose it is, for the log.
    :param listener: bound and listening; closed by the reactor.
    :param address: where it listens.
    :param most_workers: threads for handlers.
    :param over: set when all is over; by the reactor as well, should it fail.
    """

    def __init__(
        self,
        server: object,
        listener: socket.socket,
        address: str,
        processor: Processor,
        accepted: Accepted,
        limits: ServerLimits,
        most_workers: int,
        tally: Tally,
        over: threading.Event,
    ) -> None:
        super().__init__(name=f"thrift {address}", daemon=True)
        self._server = server
        self._processor = processor
        self._accepted = accepted
        self._limits = limits
        self._tally = tally
        self._log = log = RateLimitedLog()
        self._over = over
        name = f"thrift worker {address}"
        self.workers = Workers(processor, limits, most_workers, name, tally, log, self)
        # Given by others; `_awake`: the reactor will look at them without being woken.
        self._returned: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._settled: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._awake = False
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        # The reactor's own.
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._parked: set[Peer] = set()
        # With workers, which may lend them.
        self._lent: set[Peer] = set()
        self._listener = Listener(listener, self._selector, server, log)
        # The server stops, and the listener is closed; when clients have had the time that they have then.
        self._leaving = False
        self._leave_by = math.inf

    def __len__(self) -> int:
        return len(self._parked)

    # Any thread.

    def give_back(self, peer: Peer) -> None:
        """See :class:`.workers.Desk`."""
        self._returned.put(peer)
        if self._over.is_set():
            self._close_returned()  # the reactor may have looked for the last time
        else:
            self.wake()

    def look_again(self, peer: Peer) -> None:
        """See :class:`.workers.Desk`."""
        self._settled.put(peer)
        self.wake()

    def close(self, peer: Peer) -> None:
        """See :class:`.workers.Desk`."""
        if peer.close():
            self._tally.closed()
        self._tally.returned(peer)

    def end(self) -> None:
        """Close what is parked, and end."""
        self._over.set()
        self._awake = False
        self.wake()

    def wake(self) -> None:
        """Have the reactor look at what others gave it."""
        if not self._awake:
            self._awake = True
            try:
                self._wake[1].send(b"x")
            except OSError:
                # Full: the reactor is about to wake; closed: it is over.
                pass

    # The reactor's thread.

    def run(self) -> None:
        """See the class."""
        selector = self._selector
        selector.register(self._wake[0], selectors.EVENT_READ)
        look_at = monotonic() + _TICK
        try:
            while not self._over.is_set():
                for key, events in selector.select(self._patience()):
                    if key.data is not None:
                        self._turn(key.data, events)
                    elif key.fileobj is self._listener.sock:
                        self._accept()
                    else:
                        try:
                            self._wake[0].recv(4096)
                        except BlockingIOError:
                            pass
                # Before the looks: who gives something afterwards wakes the reactor again.
                self._awake = False
                self._take_back()
                self._settle()
                now = monotonic()
                self._take_over(now)
                if self._tally.stopping and not self._tally.closing:
                    self._leave(now)
                if now >= look_at:
                    look_at = now + _TICK
                    self._expire(now)
                    self._listener.look_again(now)
        except Exception:
            logger.exception("the reactor of %r failed", self._server)
        finally:
            self._over.set()
            self._tally.all_read()
            self._listener.close()
            for peer in list(self._parked):
                self._unpark(peer)
                self.close(peer)
            self._close_returned()
            selector.close()
            for end in self._wake:
                end.close()

    def _patience(self) -> float:
        """Seconds for which the reactor may sleep."""
        if self._lent:
            return PATIENCE
        return max(0.0, min(_TICK, self._leave_by - monotonic()))

    def _leave(self, now: float) -> None:
        """The server is stopping: say so, let clients that are between two calls make the next one, and have the rest.

        A client that finds a connection closed learns it before its next call, not with it.
        """
        if not self._leaving:
            self._accept(socket.SOMAXCONN)
            self._listener.close()
            # Not before: a client that is told to go would come again.
            self._leaving = self._processor.leaving = True
            self._leave_by = now + LEAVING
            self._park_anew()
        if now >= min(self._leave_by, self._tally.stop_by) or not self._tally.open:
            self._leave_by = math.inf
            self._tally.closing = True
            self._park_anew()
            self._tally.all_read()

    def _park_anew(self) -> None:
        for peer in [each for each in self._parked if not each.outgoing]:
            self._unpark(peer)
            self._park(peer)

    def _accept(self, most: int = AT_ONCE) -> None:
        for sock, name in self._listener.accept(most):
            held = self._tally.open
            if held >= self._limits.connections:
                sock.close()
                self._log.warning("%r closed a new connection: %d are open, the limit", self._server, held)
                continue
            intake = Intake(self._processor.requests, self._accepted, self._limits.message)
            deadline = monotonic() + self._limits.handshake_timeout
            try:
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                peer = Peer(sock, format_address(sock.family, name), intake, deadline)
            except OSError:
                sock.close()
                continue
            self._tally.opened()
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

    def _take_back(self) -> None:
        while True:
            try:
                peer = self._returned.get_nowait()
            except queue.Empty:
                return
            self._park(peer)

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
        """Take a connection back: it waits for the client."""
        peer.watched = False
        self._lent.discard(peer)
        if self._leaving and self._see_off(peer):
            return
        now = monotonic()
        if peer.outgoing:
            peer.deadline = now + self._limits.frame_timeout
            self._watch(peer, selectors.EVENT_WRITE)
            return
        self._tally.returned(peer)
        if peer.finished:
            peer.deadline = now + LEAVING
        else:
            peer.deadline = now + (
                self._limits.frame_timeout if peer.intake.busy else self._limits.idle_timeout
            )
        self._watch(peer, selectors.EVENT_READ)

    def _see_off(self, peer: Peer) -> bool:
        """What else there is to do with a connection that is to be parked while the server stops.

        :returns: it is not to be parked.
        """
        try:
            if peer.any_order:
                peer.say_goodbye()
            if peer.finished or peer.outgoing or not (self._tally.closing or self._may_go(peer)):
                peer.cork(False)
                return False
            message = None if self._tally.over else peer.receive_last()
            if message is not None:
                peer.cork(False)
                self._hand_over(peer, message)
                return True
            # Before the look at what is outgoing: an answer is sent first, and its call over then.
            if peer.in_flight:
                self._tally.returned(peer)
                self._watch(peer, 0)
                return True
            if not peer.outgoing:
                peer.finish()
            return False
        except Exception as error:
            self.workers.lost(peer, error)
            return True

    @staticmethod
    def _may_go(peer: Peer) -> bool:
        """The client waits for nothing, and has just had its last answer."""
        return peer.told and not (peer.any_order or peer.intake.busy)

    def _turn(self, peer: Peer, events: int) -> None:
        """Something happened to a parked connection."""
        try:
            if events & selectors.EVENT_WRITE:
                peer.flush()
                if not peer.outgoing:
                    self._unpark(peer)
                    self._go_on(peer)
                return
            if peer.finished:
                peer.drop()
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
            self.workers.lost(peer, error)

    def _go_on(self, peer: Peer) -> None:
        """With what the client has sent already, if that is a message.

        :raises ThriftProtocolError: the bytes are refused.
        """
        message = None if self._tally.over else peer.intake.next()
        if message is None:
            self._park(peer)
        else:
            self._hand_over(peer, message)

    def _hand_over(self, peer: Peer, message: tuple[bytes, int]) -> None:
        if peer.any_order:
            peer.watched = True
            self._lent.add(peer)
        self.workers.hand_over(peer, message)

    def _take_over(self, now: float) -> None:
        """Take back connections that calls hold up."""
        for peer in [each for each in self._lent if each.closed or each.lease is not None]:
            if peer.closed:
                # By its worker.
                self._lent.discard(peer)
                continue
            if not self.workers.take_over(peer, now):
                continue
            self._lent.discard(peer)
            try:
                peer.release()
                self._go_on(peer)
            except (ThriftProtocolError, OSError) as error:
                self.workers.lost(peer, error)

    def _expire(self, now: float) -> None:
        for peer in [each for each in self._parked if each.deadline < now]:
            if peer.in_flight and not peer.intake.busy and not peer.outgoing:
                peer.deadline = now + self._limits.idle_timeout
                continue
            if (peer.intake.busy or peer.outgoing) and not peer.finished:
                doing = "reading an answer" if peer.outgoing else "sending a message"
                self._log.warning("closed %s: too slow %s", peer.name, doing)
            if peer.outgoing:
                reset_on_close(peer.sock)
            self._unpark(peer)
            self.close(peer)

    def _close_returned(self) -> None:
        while True:
            try:
                self.close(self._returned.get_nowait())
            except queue.Empty:
                return
