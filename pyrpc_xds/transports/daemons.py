"""Threads for handlers, which end with the process.

The interpreter waits at its end for the threads of :mod:`concurrent.futures` (CPython 3.9 and later): one handler that
never returns would keep the process from ending.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class DaemonExecutor(Executor):
    """An executor of daemon threads, made as they are needed. Any thread.

    :param most: threads at a time; what is submitted beyond waits for one of them.
    :param name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._ready: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        # Threads that nothing submitted is for, and what is submitted that no thread is for yet. Counted when work is
        # submitted and done: a thread that has taken some and not begun is no longer free.
        self._free = 0
        self._behind = 0
        self._ended = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a thread call ``fn``.

        :raises RuntimeError: :meth:`shutdown` was called, or there is no thread and the system has none.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._ended:
                raise RuntimeError(f"{self._name}: no more calls after shutdown")
            if self._free:
                self._free -= 1
            elif len(self._threads) == self._most or not self._grow():
                self._behind += 1
            self._ready.put((future, fn, args, kwargs))
        return future

    def _grow(self) -> bool:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no more: those that there are do it.
            if not self._threads:
                raise
            return False
        self._threads.append(thread)
        return True

    def _run(self) -> None:
        while True:
            work = self._ready.get()
            if work is None:
                return
            _do(*work)
            # It may hold much, and the next may be long in coming.
            del work
            with self._lock:
                if self._behind:
                    self._behind -= 1
                else:
                    self._free += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Have the threads end after what was submitted.

        :param wait: until they have, which is as long as their functions take.
        :param cancel_futures: leave out what has not begun.
        """
        with self._lock:
            self._ended = True
            with contextlib.suppress(queue.Empty):
                while cancel_futures:
                    work = self._ready.get_nowait()
                    if work is not None:
                        work[0].cancel()
            for _ in self._threads:
                self._ready.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


def _do(
    future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
        # The error's traceback has this frame.
        del future
    else:
        future.set_result(result)
