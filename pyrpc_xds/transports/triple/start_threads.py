"""StartThreads: where futures and streams wait for what their calls need to begin.

grpcio returns them at once, so their callers never wait. Up to :data:`MAX_THREADS` calls have a thread each; more
queue for one, in order, and what stays in the queue until its deadline fails there.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import TripleResourceExhausted

if TYPE_CHECKING:
    from .pending import PendingCall

# Of one target: a target that cannot be reached holds up no other. A queued call costs about 3 KiB and its request.
MAX_THREADS = 64
MAX_QUEUED = 10_000
# How late a deadline in the queue may be noticed.
_LOOK_SECONDS = 0.05

_Work = Callable[[], None]
_Late = Callable[[str], BaseException]


class StartThreads:
    """The threads of one target; none while no call waits.

    :param threads: calls that have one at once.
    :param queued: calls that queue for one; those beyond it fail as RESOURCE_EXHAUSTED.
    """

    def __init__(self, threads: int = MAX_THREADS, queued: int = MAX_QUEUED) -> None:
        self._threads, self._most_queued = threads, queued
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._free = threads
        self._queue: OrderedDict[PendingCall, tuple[_Work, _Late]] = OrderedDict()
        self._watched = False

    def start(self, call: PendingCall, work: _Work, late: _Late) -> None:
        """Do what begins a call on a thread, now or later; or have the call fail.

        :param work: raises nothing, and ends soon once the call is settled.
        :param late: the error if the deadline passes in the queue; is given what the call did meanwhile.
        """
        with self._lock:
            now, watch = self._free > 0, False
            if now:
                self._free -= 1
            elif len(self._queue) < self._most_queued:
                self._queue[call] = work, late
                watch, self._watched = not self._watched, True
            else:
                call.fail(self._exhausted(len(self._queue)))
                return
        try:
            if now:
                _thread(lambda: self._work(work))
                return
            if watch:
                _thread(self._watch)
        except RuntimeError as error:  # the system has no thread for it
            with self._lock:
                self._free += now
                self._watched &= not watch
            call.fail(TripleResourceExhausted(f"no thread to begin the call on: {error}"))
        call.when_settled(lambda: self._forget(call))

    def _exhausted(self, queued: int) -> TripleResourceExhausted:
        return TripleResourceExhausted(
            f"{self._threads + queued} futures and streams of this target wait to begin: wait for some of them, or"
            " give them deadlines"
        )

    def _work(self, work: _Work | None) -> None:
        while work is not None:
            work()
            with self._lock:
                work = self._queue.popitem(last=False)[1][0] if self._queue else None
                if work is None:
                    self._free += 1

    def _forget(self, call: PendingCall) -> None:
        with self._lock:
            self._queue.pop(call, None)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                over = [
                    (call, late)
                    for call, (_, late) in self._queue.items()
                    if call.deadline is not None and call.deadline <= now
                ]
                if not self._queue:
                    self._watched = False
                    return
            for call, late in over:
                call.fail(late("waited for others of this target that wait to begin"))


def _thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="pyrpc-xds-triple-start", daemon=True).start()
