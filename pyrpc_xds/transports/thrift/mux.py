"""Many calls of threads at a time on one connection, told apart by sequence id (TTHeader).

There is no thread for it. Of the callers one at a time sends, for all whose requests wait; and of those that wait for
answers one reads (the leader), and hands the others theirs. Who has its own gives the part away. A caller that is
alone does both itself, and meets no other thread; of many, most neither send nor read. A caller takes header and
message apart itself, so the leader only looks at sequence ids.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from time import monotonic

from .connection import Connection, Expired, NotSent
from .errors import ThriftProtocolError
from .frames import Frames
from .goodbye import is_goodbye
from .limits import Limits
from .mux_call import ABANDONED, Broken, MuxCall, Unsent, all_of, broken, sequence_id

_RECEIVE = 65536


class MuxConnection:
    """An open connection that calls share.

    :ivar heard: something has come on it.
    :ivar late: answers that came after their callers had gone.
    :ivar since: :func:`time.monotonic` of the last call's end.
    """

    def __init__(self, plain: Connection, limits: Limits) -> None:
        self._plain = plain
        self._fd = plain.fileno()
        self._frames = Frames(limits)
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._unsent = Unsent()
        self._waiting: dict[int, MuxCall] = {}
        self._abandoned: set[int] = set()
        self._sending = False
        self._reading = False
        self._error: Exception | None = None
        self._users = 0
        self._leaving = False
        # The server has said goodbye; `_leaving` as well then.
        self._parted = False
        self._closed = False
        self.heard = False
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
        if alone and self._plain.readable() and not self._look():
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """The call is over."""
        with self._lock:
            self._users -= 1
            self.since = monotonic()
            if not self._users:
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

    def parted(self) -> None:
        """See :meth:`.stream.Shared.parted`."""
        with self._lock:
            self._part()

    def _part(self) -> None:
        self._parted = self._leaving = True
        for each in self._unsent:
            each.rouse()
        self._close_if_unused()

    def exchange(self, request: bytes, deadline: float, seqid: int, oneway: bool) -> tuple[bytes, int]:
        """See :meth:`.connection.Connection.exchange`; the frame, as :meth:`Frames.next` gives it.

        :raises Expired: see there; :raises Broken: the connection ended; the call may have run.
        """
        if monotonic() >= deadline:
            raise Expired
        call = MuxCall(request, oneway)
        with self._lock:
            if self._error is not None or self._parted or seqid in self._waiting or seqid in self._abandoned:
                raise self._not_sent()
            if not oneway:
                self._waiting[seqid] = call
            alone = not (self._sending or self._reading or self._unsent or oneway)
            self._unsent.append(call)
            if alone:
                # Both parts at once.
                self._sending = self._reading = True
        try:
            if alone:
                self._send_alone(call, request)
                if call.sent:
                    self._lead(call, deadline)
            self._run(call, deadline)
        finally:
            # With its answer, whoever read it has seen to the rest.
            if call.frame is None:
                with self._lock:
                    problem = self._forget(call, None if oneway else seqid)
                    self._pass_on()
                if problem:
                    self.fail(Broken(problem))
        return call.frame or (b"", 0)

    def _forget(self, call: MuxCall, seqid: int | None) -> str:
        """Under the lock.

        :returns: why the connection cannot go on; empty: it can.
        """
        waiting = seqid is not None and self._waiting.pop(seqid, None) is not None
        if call.frame is not None or self._error is not None:
            return ""
        if not call.sent and not call.leaving:
            if call.begun:
                return "a request was sent in part only"
            self._unsent.remove(call)
        elif waiting and seqid is not None:
            self._abandoned.add(seqid)
            if len(self._abandoned) > ABANDONED:
                return f"{ABANDONED} answers are missing"
        return ""

    def _run(self, call: MuxCall, deadline: float) -> None:
        """Until the call has its answer or, a oneway, is sent."""
        while call.frame is None:
            with self._lock:
                if call.frame is not None or (call.oneway and call.sent):
                    return
                if self._error is not None and not call.leaving:
                    raise broken(self._error) if call.begun or call.sent else self._not_sent()
                if self._parted and not (call.begun or call.sent or call.leaving):
                    raise self._not_sent()
                # Who is not sent does not read either: only a caller that sleeps can be asked to send the rest.
                send = not call.sent and not self._sending
                if send and not call.begun and monotonic() >= deadline:
                    raise Expired
                read = call.sent and not self._reading
                if send:
                    self._sending = True
                elif read:
                    self._reading = True
                else:
                    call.lie_down()
            if send:
                self._send(call, deadline)
            elif read:
                self._lead(call, deadline)
            else:
                self._sleep(call, deadline)

    def _not_sent(self) -> NotSent:
        error = self._error
        why = "the server said goodbye" if error is None else f"the connection broke: {error}"
        return NotSent(getattr(error, "errno", None), why)

    def _sleep(self, call: MuxCall, deadline: float) -> None:
        """Until there is something to do for the call.

        :raises TimeoutError: the deadline has passed.
        """
        if call.wake.acquire(timeout=max(0.0, min(deadline - monotonic(), threading.TIMEOUT_MAX))):
            return
        with self._lock:
            if call.asleep:
                call.asleep = False
                raise TimeoutError(
                    "no answer in time" if call.sent else "the connection took no more in time"
                )
            # Roused between the two.
            call.wake.acquire()

    def _pass_on(self) -> None:
        """Have somebody send and somebody read, where there is need and nobody does. Under the lock."""
        if not self._sending:
            for each in self._unsent:
                if each.asleep:
                    each.rouse()
                    break
        if not self._reading:
            for each in self._waiting.values():
                if each.asleep and each.sent:
                    each.rouse()
                    break

    # The one that sends.

    def _send_alone(self, call: MuxCall, request: bytes) -> None:
        """Send the one request there is, as far as the server takes it now, and give that part away.

        Where it took it all, the caller goes on to read.
        """
        try:
            call.leaving = True
            sent = self._write(request)
        except BaseException as error:
            self._reading = False
            self.fail(Broken(f"a call was interrupted while it was sent: {error!r}"))
            raise
        with self._lock:
            self._account((call,), sent)
            self._sending = False
            if not call.sent:
                self._reading = False
            if self._unsent or not self._reading:
                self._pass_on()

    def _send(self, call: MuxCall, deadline: float) -> None:
        """Send what waits until nothing does or, where the server takes no more, ``call`` is sent.

        :raises TimeoutError: the server did not take it in time.
        """
        over = False
        batch: Sequence[MuxCall] = ()
        try:
            while not over:
                with self._lock:
                    batch, data = self._unsent.batch()
                sent = self._write(data)
                with self._lock:
                    self._account(batch, sent)
                    over = not self._unsent or self._error is not None or (call.sent and sent != len(data))
                    if over:
                        self._sending = False
                        self._pass_on()
                if not over and sent != len(data):
                    self._wait_until_writable(deadline)
        except BaseException as error:
            with self._lock:
                for each in batch:
                    # Nobody can say whether it has left: it may have run.
                    each.begun = each.begun or each.leaving
                    each.leaving = False
                self._sending = False
                self._pass_on()
            if not isinstance(error, TimeoutError):
                self.fail(Broken(f"a call was interrupted while it was sent: {error!r}"))
            raise

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.fail(error)
            return 0

    def _account(self, batch: Sequence[MuxCall], sent: int) -> None:
        """So many bytes of the calls have left. Under the lock."""
        self._unsent.left(batch, sent)
        if self._error is not None:
            # The connection broke meanwhile, and whether the calls may have run is known only now.
            for each in batch:
                each.rouse()

    def _wait_until_writable(self, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN | select.POLLOUT)
        while self._error is None:
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError("the server did not take the request in time")
            # Where nobody reads, a server that waits for its answers to be read would not take the rest.
            events = [event for _, event in poller.poll(min(left, 0.05) * 1000)]
            if any(event & ~select.POLLOUT for event in events):
                self._look()
            if any(event & select.POLLOUT for event in events):
                return

    # The one that reads.

    def _lead(self, call: MuxCall, deadline: float) -> None:
        """Read until the call has its answer.

        :raises TimeoutError: it has not come in time.
        """
        try:
            while call.frame is None and self._error is None:
                self._deliver(self._plain.receive(deadline), call)
        except BaseException as error:
            self._read_no_more()
            if isinstance(error, TimeoutError):
                raise
            if not isinstance(error, Exception):
                self.fail(Broken(f"a call was interrupted while it read: {error!r}"))
                raise
            self.fail(error)
        else:
            if call.frame is None:
                self._read_no_more()

    def _read_no_more(self) -> None:
        with self._lock:
            self._reading = False
            self._pass_on()

    def _look(self) -> bool:
        """Read what is there, if nobody does; ``False``: the server takes no more calls on the connection."""
        with self._lock:
            if self._reading:
                return True
            self._reading = True
        try:
            while self._plain.readable():
                try:
                    data = os.read(self._fd, _RECEIVE)
                except BlockingIOError:
                    break
                self._deliver(data, None)
        except Exception as error:
            self.fail(error)
        finally:
            self._read_no_more()
        return self.usable

    def _deliver(self, data: bytes, leader: MuxCall | None) -> None:
        """Hand out the answers that are whole by now.

        :param leader: stops reading with its own.
        :raises Broken: there is no more; :raises ThriftProtocolError: the bytes are refused.
        """
        if not data:
            raise Broken("the server closed the connection")
        self.heard = True
        self._frames.feed(data)
        came, refused = all_of(self._frames)
        with self._lock:
            for frame in came:
                seqid = sequence_id(*frame)
                call = self._waiting.pop(seqid, None)
                if call is not None:
                    call.frame = frame
                    call.rouse()
                elif seqid in self._abandoned:
                    self._abandoned.discard(seqid)
                    self.late += 1
                elif is_goodbye(*frame):
                    self._part()
                else:
                    refused = ThriftProtocolError(
                        f"an answer has sequence id {seqid}, which no call waits for"
                    )
                    break
            if refused is not None:
                # No later call is to read, or to send, behind it.
                self._error = self._error or refused
            elif leader is not None and leader.frame is not None:
                self._reading = False
                self._pass_on()
        if refused is not None:
            raise refused

    def fail(self, error: Exception) -> None:
        """End the connection under the calls that have it; they learn why."""
        with self._lock:
            if self._error is None:
                self._error = error
            for call in (*self._waiting.values(), *self._unsent):
                call.rouse()
            self._close_if_unused()
        if not self._closed:
            self._plain.interrupt()
