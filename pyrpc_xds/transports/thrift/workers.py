"""The threads that run the calls of a server for threads.

A worker owns the connection whose message it has. It stays with it for a moment after the answer while there are
threads for other connections, so a busy client costs no hand-over.

Where the client takes answers in any order, others must be able to overtake a call that lasts. A worker runs such a
call itself and lends the connection meanwhile: the reactor takes it over when the call lasts for longer than
:data:`PATIENCE`, and calls of a method that usually lasts let go of the connection before they begin. Short calls,
however many share a connection, cost no hand-over either, and their answers go out together.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import queue
import socket
import threading
from time import monotonic
from typing import Protocol

from .codec import Codec, codec_for
from .errors import ThriftProtocolError
from .limits import ServerLimits
from .log import RateLimitedLog, logger
from .peer import Peer
from .processor import Processor, Request
from .tally import Tally
from .wire import Wire

PATIENCE = 0.005
"""Seconds that a connection stays lent."""
# A call above it is one that lasts; of a method's times, one in so many counts where it is longer than most.
_LONG = 0.001
_SLOWLY = 8

Message = tuple[bytes, int]
# What a handler returned, and what it raised instead.
Outcome = tuple[object, BaseException | None]


class Desk(Protocol):
    """Where workers leave connections: the reactor."""

    def give_back(self, peer: Peer) -> None:
        """The worker is done with the connection."""

    def look_again(self, peer: Peer) -> None:
        """A call beside the connection is over, and the server stops or the client reads too slowly."""

    def close(self, peer: Peer) -> None:
        """End the connection."""


class Workers:
    """Threads, made as they are needed.

    :param most: threads at a time.
    :param name: of the threads.
    """

    def __init__(
        self,
        processor: Processor,
        limits: ServerLimits,
        most: int,
        name: str,
        tally: Tally,
        log: RateLimitedLog,
        desk: Desk,
    ) -> None:
        self._processor = processor
        self._limits = limits
        self._most = most
        self._name = name
        self._tally = tally
        self._log = log
        self._desk = desk
        self._ready: queue.SimpleQueue[tuple[Peer, Message] | None] = queue.SimpleQueue()
        # What encodes the answers of calls that run beside their connection, for each worker.
        self._codecs = threading.local()
        # How long a method's calls take, in seconds, leaning to the short ones. Races lose a figure, no more.
        self._lasts: dict[object, float] = {}
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        # Threads that no message is for, and messages that no thread is for yet; counted as in
        # :class:`..daemons.DaemonExecutor`, for its reason.
        self._free = 0
        self._behind = 0

    def __len__(self) -> int:
        return len(self._threads)

    # Any thread.

    def hand_over(self, peer: Peer, message: Message) -> None:
        """Have a worker own the connection, beginning with a message.

        :raises OSError: there is no worker, and the system has no thread for one.
        """
        self._tally.owned(peer)
        with self._lock:
            if self._free:
                self._free -= 1
            elif len(self._threads) == self._most or not self._grow():
                self._behind += 1
            self._ready.put((peer, message))

    def _grow(self) -> bool:
        worker = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            worker.start()
        except RuntimeError as error:
            self._log.warning("%s: no thread for a further worker: %s", self._name, error)
            if not self._threads:
                raise OSError(errno.EAGAIN, "no thread for a worker") from error
            return False
        self._threads.add(worker)
        return True

    def take_over(self, peer: Peer, now: float) -> bool:
        """Take a lent connection from its worker, where its call lasts.

        :param now: of :func:`time.monotonic`.
        """
        lease = peer.lease
        if lease is None or now - lease[0] < PATIENCE or self._tally.over:
            return False
        if not self._tally.take_over(peer, lease, self._limits.in_flight):
            return False
        # Others of its kind that wait behind it need not be found out one by one.
        self._lasts[lease[1]] = _LONG * _SLOWLY
        return True

    def lost(self, peer: Peer, error: Exception) -> None:
        """Close a connection because of an error, which is logged unless the client just went away."""
        if isinstance(error, ThriftProtocolError):
            self._log.warning("closed %s: %s", peer.name, error)
            with contextlib.suppress(OSError):
                peer.release()
        elif not isinstance(error, (EOFError, OSError)):
            logger.error("closed %s: the server failed", peer.name, exc_info=error)
        self._desk.close(peer)

    def end(self) -> list[threading.Thread]:
        """Have the threads end after what they do; returns them."""
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._ready.put(None)
        return threads

    # The workers' threads.

    def _work(self) -> None:
        while True:
            work = self._ready.get()
            if work is None:
                break
            peer, message = work
            try:
                self._attend(peer, message)
            except Exception as error:
                self.lost(peer, error)
            with self._lock:
                if self._behind:
                    self._behind -= 1
                else:
                    self._free += 1
            # The next may be long in coming.
            del work, peer, message
        with self._lock:
            self._threads.discard(threading.current_thread())

    @property
    def _room(self) -> bool:
        """A thread is free for another connection, or can be made."""
        return self._free > 0 or len(self._threads) < self._most

    def _attend(self, peer: Peer, first: Message) -> None:
        """Answer one message after another for as long as the connection may stay with this worker."""
        message: Message | None = first
        intake, processor = peer.intake, self._processor
        while message is not None and not self._tally.over:
            inbox = intake.inbox
            assert inbox is not None
            codec = inbox.codec
            request = processor.request(codec, *message, inbox.header, peer.name, peer.arrived)
            if request.any_order:
                outcome = self._overtakable(peer, codec, request)
                if outcome is None:
                    return
                answer = processor.answer(codec, request, *outcome)
                if answer:
                    peer.hold(answer)
            else:
                outcome = self._run(request)
                leaving = processor.leaving
                answer = processor.answer(codec, request, *outcome)
                peer.told = leaving and bool(answer)
                if answer:
                    if peer.told and not inbox.pending:
                        peer.cork(True)
                    peer.send(answer)
            if peer.outgoing:
                break
            message = intake.next() if inbox.pending else None
            if message is None:
                peer.release()
                if peer.outgoing or self._tally.stopping or not self._room:
                    break
                message = peer.receive()
            elif not self._room and self._behind:
                # Others have waited longer than what this client has sent ahead.
                peer.release()
                self.hand_over(peer, message)
                return
        peer.release()
        self._desk.give_back(peer)

    def _run(self, request: Request) -> Outcome:
        if request.served is not None:
            try:
                # What a handler leaves in context variables is not for the next request.
                return contextvars.Context().run(self._processor.run, request), None
            except BaseException as raised:
                return None, raised
        return None, None

    def _overtakable(self, peer: Peer, codec: Codec, request: Request) -> Outcome | None:
        """Run a call that later ones may overtake.

        :returns: ``None``: it is answered, and the connection is this worker's no more.
        """
        kind = request.served
        # Where the reactor does not watch the connection, nobody would take it over.
        if (not peer.watched or self._lasts.get(kind, 0.0) > _LONG) and self._part(peer):
            self._run_beside(peer, codec.compact, request)
            return None
        peer.lease = lease = (monotonic(), kind)
        outcome = self._run(request)
        self._note(kind, monotonic() - lease[0])
        if self._tally.reclaim(peer, lease):
            return outcome
        self._answer_beside(peer, codec.compact, request, outcome)
        return None

    def _note(self, kind: object, seconds: float) -> None:
        """Threads that wait for the interpreter make any call long now and then, but not most of them."""
        usual = self._lasts.get(kind, 0.0)
        self._lasts[kind] = seconds if seconds < usual else usual + (seconds - usual) / _SLOWLY

    def _part(self, peer: Peer) -> bool:
        """Let go of the connection, and not of the call: others read what the client sends next.

        :returns: ``False``: too many calls of the connection run.
        """
        peer.any_order = True
        peer.release()
        if not self._tally.begin_beside(peer, self._limits.in_flight):
            return False
        try:
            following = None if self._tally.over else peer.intake.next()
        except ThriftProtocolError:
            self._tally.end_beside(peer, False)
            raise
        if following is None:
            self._desk.give_back(peer)
        else:
            self.hand_over(peer, following)
        return True

    def _run_beside(self, peer: Peer, compact: bool, request: Request) -> None:
        """Run a call without owning its connection."""
        start = monotonic()
        outcome = self._run(request)
        self._note(request.served, monotonic() - start)
        self._answer_beside(peer, compact, request, outcome)

    def _answer_beside(self, peer: Peer, compact: bool, request: Request, outcome: Outcome) -> None:
        try:
            answer = self._processor.answer(self._codec(compact), request, *outcome)
            if answer:
                peer.send(answer)
        except OSError:
            # The reactor sees the end of the connection.
            shutdown(peer.sock)
        except Exception:
            logger.exception("closed %s: the server failed", peer.name)
            shutdown(peer.sock)
        finally:
            outgoing = peer.outgoing
            self._tally.end_beside(peer, outgoing)
            if outgoing or self._tally.stopping:
                self._desk.look_again(peer)

    def _codec(self, compact: bool) -> Codec:
        """This worker's own: that of the connection may be in use."""
        codecs: dict[str, Codec] = self._codecs.__dict__
        name = "compact" if compact else "binary"
        codec = codecs.get(name)
        if codec is None:
            codec = codecs[name] = codec_for(Wire(framed=False, compact=compact), self._limits.message)
        return codec


def shutdown(sock: socket.socket) -> None:
    """End a connection under whoever is in a system call on it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
