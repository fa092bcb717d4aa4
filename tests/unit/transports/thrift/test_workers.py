"""How messages are handed to the threads of a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from pyrpc_xds.transports.thrift.limits import ServerLimits
from pyrpc_xds.transports.thrift.workers import Workers
from tests.unit.transports.thrift.peers import wait_until


class Idle(Workers):
    """Calls what it is given instead of answering messages."""

    def __init__(self, most: int) -> None:
        super().__init__(Mock(), ServerLimits(), most, "test", Mock(), Mock(), Mock())

    def _attend(self, peer: Any, first: Any) -> None:
        first()


def run(workers: Idle, work: Callable[[], object]) -> None:
    workers.hand_over(Mock(), work)  # type: ignore[arg-type]


class Pausing(queue.SimpleQueue[Any]):
    """Gives what it is asked for only once :attr:`go` is set: the thread that has it is at the moment after."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        found = super().get(block, timeout)
        assert self.go.wait(10)
        return found


def test_no_message_waits_for_a_thread_that_has_just_taken_another() -> None:
    workers = Idle(2)
    workers._ready = ready = Pausing()
    ready.go.set()
    first = threading.Event()
    run(workers, first.set)
    assert first.wait(5)
    wait_until(lambda: workers._free == 1)
    ready.go.clear()
    together = threading.Barrier(3)
    run(workers, lambda: together.wait(5))
    wait_until(ready.empty)
    run(workers, lambda: together.wait(5))
    ready.go.set()
    together.wait(5)
    for thread in workers.end():
        thread.join(5)


def test_messages_beyond_the_threads_wait_and_threads_are_no_more_than_said() -> None:
    workers = Idle(2)
    release = threading.Event()
    done = threading.Semaphore(0)

    def work() -> None:
        assert release.wait(10)
        done.release()

    for _ in range(6):
        run(workers, work)
    assert len(workers) == 2
    release.set()
    for _ in range(6):
        assert done.acquire(timeout=5)
    for thread in workers.end():
        thread.join(5)
    assert len(workers) == 0


def test_system_without_a_further_thread_leaves_the_messages_to_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    workers = Idle(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="no thread"):
            run(workers, print)
    release, done = threading.Event(), threading.Event()
    run(workers, lambda: release.wait(10))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        run(workers, done.set)
    release.set()
    assert done.wait(5)
    for thread in workers.end():
        thread.join(5)
