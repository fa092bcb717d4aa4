"""Many calls of threads at a time on one connection, told apart by sequence id (TTHeader).

There is no thread for it: of the callers that wait, one reads and hands the others their answers (the leader);
when it has its own, another one takes over. A waiter takes the header and the message apart itself, so the leader
only looks at sequence ids.
"""

from __future__ import annotations

import os
import select
import threading
from time import monotonic

from .connection import Connection, NotSent
from .errors import ThriftProtocolError
from .frames import Frames
from .limits import Limits

_RECEIVE = 65536
# Calls given up whose answers may still come. A server that owes more is not answering.
ABANDONED = 4096


class Broken(ConnectionError):
    """The connection ended with calls in flight."""


class _Waiter:
    """A call in flight. Guarded by the connection's lock, but for ``wake``.

    :ivar wake: held while ``asleep``; released exactly once to end that.
    """

    __slots__ = ("asleep", "frame", "wake")

    def __init__(self) -> None:
        self.frame: tuple[bytes, int] | None = None
        self.asleep = False
        self.wake = threading.Lock()
        self.wake.acquire()

    def rouse(self) -> None:
        if self.asleep:
            self.asleep = False
            self.wake.release()


def sequence_id(frame: bytes, start: int) -> int:
    """Of a frame with a header."""
    return int.from_bytes(frame[start + 4 : start + 8], "big")


class MuxConnection:
    """An open connection that calls share.

    :ivar late: answers that came after their callers had gone.
    :ivar since: :func:`time.monotonic` of the last call's end.
    """

    def __init__(self, plain: Connection, limits: Limits) -> None:
        self._plain = plain
        self._fd = plain.fileno()
        self._frames = Frames(limits)
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        # Guarded by _lock.
        self._waiting: dict[int, _Waiter] = {}
        self._abandoned: set[int] = set()
        self._reading = False
        self._error: Exception | None = None
        self._users = 0
        self._leaving = False
        self._closed = False
        self.late = 0
        self.since = monotonic()

    @property
    def users(self) -> int:
        """Calls that have the connection."""
        return self._users

    @property
    def usable(self) -> bool:
        """Neither broken nor leaving."""
        return self._error is None and not self._leaving

    def join(self) -> bool:
        """Begin to use it; the answer says whether that is possible. :meth:`leave` must follow where it is."""
        with self._lock:
            if self._error is not None or self._leaving:
                return False
            self._users += 1
            alone = self._users == 1
        if alone and not self._look():
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """The call is over."""
        with self._lock:
            self._users -= 1
            self.since = monotonic()
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._users and not self._closed and (self._leaving or self._error is not None):
            # No thread is in a system call on it, so the descriptor cannot be another's by then.
            self._closed = True
            self._plain.close()

    def retire(self) -> None:
        """Take no more calls, and close once those that run are over."""
        with self._lock:
            self._leaving = True
            self._close_if_unused()

    def abandon(self) -> None:
        """See :meth:`.connection.Connection.abandon`."""
        self._plain.abandon()

    def _look(self) -> bool:
        """After a time of silence: read what is there; ``False``: the server has closed the connection."""
        with self._lock:
            if self._reading:
                return True
            self._reading = True
        try:
            while self._plain.readable():
                self._receive()
        except Exception as error:
            self.fail(error)
        finally:
            self._hand_on()
        return self._error is None

    def exchange(self, request: bytes, deadline: float, seqid: int, oneway: bool) -> tuple[bytes, int]:
        """See :meth:`.connection.Connection.exchange`; the frame, as :meth:`Frames.next` gives it.

        :raises Broken: the connection ended; the call may have run.
        """
        if oneway:
            self._send(request, deadline)
            return b"", 0
        waiter = _Waiter()
        with self._lock:
            if self._error is not None or seqid in self._waiting or seqid in self._abandoned:
                raise NotSent(None, f"the connection broke: {self._error}")
            self._waiting[seqid] = waiter
        try:
            self._send(request, deadline)
        except BaseException as error:
            with self._lock:
                self._waiting.pop(seqid, None)
                self._pass_on()
            if not isinstance(error, NotSent | TimeoutError | Broken):
                self.fail(Broken(f"a call was interrupted while it was sent: {error!r}"))
            raise
        try:
            return self._await(waiter, deadline)
        finally:
            with self._lock:
                if self._waiting.pop(seqid, None) is not None and waiter.frame is None:
                    self._abandoned.add(seqid)
                    many = len(self._abandoned) > ABANDONED
                else:
                    many = False
                self._pass_on()
            if many:
                self.fail(Broken(f"{ABANDONED} answers are missing"))

    def _send(self, request: bytes, deadline: float) -> None:
        if not self._send_lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise TimeoutError("the connection took no more in time")
        sent = 0
        try:
            if self._error is not None:
                raise NotSent(None, f"the connection broke: {self._error}")
            try:
                sent = os.write(self._fd, request)
            except BlockingIOError:
                pass
            except OSError as error:
                self.fail(error)
                raise NotSent(error.errno, f"cannot send: {error.strerror}") from error
            if sent != len(request):
                self._send_rest(memoryview(request), sent, deadline)
        finally:
            self._send_lock.release()

    def _send_rest(self, request: memoryview, sent: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN | select.POLLOUT)
        while sent < len(request):
            left = deadline - monotonic()
            # Where nobody reads, a server that waits for its answers to be read would not take the rest.
            events = poller.poll(min(left, 0.05) * 1000) if left > 0 else []
            if self._error is not None:
                raise Broken(f"the connection broke: {self._error}")
            if left <= 0:
                late = f"the server took {sent} of {len(request)} bytes in time"
                if sent:
                    self.fail(Broken(late))
                raise TimeoutError(late)
            if any(event & ~select.POLLOUT for _, event in events) and not self._look():
                raise Broken(f"the connection broke: {self._error}")
            try:
                sent += os.write(self._fd, request[sent:])
            except BlockingIOError:
                continue
            except OSError as error:
                self.fail(error)
                raise Broken(f"cannot send: {error.strerror}") from error

    def _await(self, waiter: _Waiter, deadline: float) -> tuple[bytes, int]:
        while True:
            with self._lock:
                if waiter.frame is not None:
                    return waiter.frame
                if self._error is not None:
                    raise self._ended()
                lead = not self._reading
                if lead:
                    self._reading = True
                else:
                    waiter.asleep = True
            if lead:
                in_time = True
                try:
                    in_time = self._lead(waiter, deadline)
                except Exception as error:
                    self.fail(error)
                finally:
                    self._hand_on()
                if not in_time:
                    raise TimeoutError("no answer in time")
            elif not waiter.wake.acquire(
                timeout=max(0.0, min(deadline - monotonic(), threading.TIMEOUT_MAX))
            ):
                with self._lock:
                    if waiter.asleep:
                        waiter.asleep = False
                        raise TimeoutError("no answer in time")
                    # Roused between the two.
                    waiter.wake.acquire()

    def _ended(self) -> Exception:
        error = self._error
        if isinstance(error, ThriftProtocolError):
            return ThriftProtocolError(error.details_text, error.type)
        return Broken(getattr(error, "strerror", None) or str(error))

    def _hand_on(self) -> None:
        with self._lock:
            self._reading = False
            self._pass_on()

    def _pass_on(self) -> None:
        """Have a sleeping waiter read, where nobody does. Under the lock."""
        if not self._reading:
            for each in self._waiting.values():
                if each.asleep:
                    each.rouse()
                    return

    def _lead(self, waiter: _Waiter, deadline: float) -> bool:
        """Read until the waiter has its answer; ``False``: it has not come in time."""
        while waiter.frame is None and self._error is None:
            left = deadline - monotonic()
            if left <= 0:
                return False
            if self._plain.readable(left):
                self._receive()
        return True

    def _receive(self) -> None:
        """Read once and hand out what is whole. For the one that reads."""
        try:
            data = os.read(self._fd, _RECEIVE)
        except BlockingIOError:
            return
        if not data:
            raise Broken("the server closed the connection")
        frames = self._frames
        frames.feed(data)
        while True:
            frame = frames.next()
            if frame is None:
                return
            seqid = sequence_id(*frame)
            with self._lock:
                waiter = self._waiting.pop(seqid, None)
                if waiter is not None:
                    waiter.frame = frame
                    waiter.rouse()
                    continue
                if seqid not in self._abandoned:
                    raise ThriftProtocolError(f"an answer has sequence id {seqid}, which no call waits for")
                self._abandoned.discard(seqid)
                self.late += 1

    def fail(self, error: Exception) -> None:
        """End the connection under the calls that have it; they learn why."""
        with self._lock:
            if self._error is None:
                self._error = error
            for waiter in self._waiting.values():
                waiter.rouse()
            self._close_if_unused()
        if not self._closed:
            self._plain.interrupt()
