"""What handlers raise, told from what ends the task that runs them.

Applications raise anything: SystemExit of a function made for a command line, CancelledError of another task that they
waited for. It is the answer of one call. Left to asyncio it would end more than that: a task lets SystemExit and
KeyboardInterrupt out of the event loop, and a future never ends with StopIteration (both of CPython 3.11).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NoReturn


def is_the_handlers(error: BaseException) -> bool:
    """Whether an exception from a handler, caught in the task that runs it, is what the handler raised.

    False, and to be raised on: the task is cancelled, its event loop is gone, or it is Ctrl-C, which Python raises
    wherever the main thread is.
    """
    if isinstance(error, Exception):
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    if isinstance(error, asyncio.CancelledError):
        return task is None or not task.cancelling()
    return not is_ctrl_c(error)


def is_ctrl_c(error: BaseException) -> bool:
    """Whether an exception is Ctrl-C, which Python raises on the main thread only."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def reraise(error: BaseException) -> NoReturn:
    """Raise what a handler raised, for servers that let only an :class:`Exception` end a call and no more.

    :raises RuntimeError: for what is none, and for what a future cannot take to a task; ``__cause__``.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    raise RuntimeError(repr(error)) from error


def contained(function: Callable[..., Any], *args: Any) -> Any:
    """Call a handler on a thread, where whatever it raises is its own.

    :raises Exception: what it raised, by :func:`reraise`.
    """
    try:
        return function(*args)
    except BaseException as error:
        reraise(error)
