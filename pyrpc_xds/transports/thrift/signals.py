"""The signals that ask a server to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def counted_signals() -> Iterator[list[int]]:
    """The list of those that came in the block; empty on other threads than the main one, which gets them all."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    # It only counts: anything that locks could meet its own lock, held by the code that it interrupts.
    def on_signal(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
