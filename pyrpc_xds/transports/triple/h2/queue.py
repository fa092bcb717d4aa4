"""Calls that wait for a thread of the executor."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .served import Served


_LOG = logging.getLogger(__name__)


class Queue:
    """First come, first served. Any thread.

    What nobody waits for any more is taken out at once, so a client cannot fill it with calls that it gives up.

    :param executor: has a call run, one at a time of this queue's for each of its threads.
    :param workers: calls that run at a time, those that run elsewhere included: who runs one holds one of
        :attr:`slots`.
    """

    def __init__(self, executor: Any, workers: int) -> None:
        self.slots = threading.Semaphore(workers)
        self._executor = executor
        self._workers = workers
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._waiting: dict[Served, None] = {}
        self._runners = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: Served) -> None:
        """Have a call run; where the executor was shut down it is cancelled."""
        with self._lock:
            self._waiting[call] = None
            if self._runners >= self._workers:
                return
            self._runners += 1
        self._submit()

    def discard(self, call: Any) -> None:
        """Nobody waits for this call any more."""
        with self._lock:
            self._waiting.pop(call, None)

    def _submit(self) -> None:
        try:
            self._executor.submit(self._run)
        except RuntimeError:  # it was shut down
            with self._lock:
                self._runners -= 1
                waiting, self._waiting = self._waiting, {}
            for call in waiting:
                call.cancel()

    def _run(self) -> None:
        with self.slots:
            with self._lock:
                call = next(iter(self._waiting), None)
                if call is not None:
                    del self._waiting[call]
            if call is not None:
                try:
                    call.run()
                except Exception:
                    _LOG.exception("a call failed")
        with self._lock:
            more = bool(self._waiting)
            if not more:
                self._runners -= 1
        if more:
            self._submit()  # behind what others have given the executor meanwhile
