"""The executor whose threads end with the process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from pyrpc_xds.transports.daemons import DaemonExecutor
from tests.unit.transports.thrift.peers import wait_until


def test_calls_have_their_results_and_errors() -> None:
    with DaemonExecutor(2, "test") as executor:
        assert executor.submit(divmod, 7, 2).result(5) == (3, 1)
        assert executor.submit(sorted, [1, 2], reverse=True).result(5) == [2, 1]
        assert isinstance(executor.submit(divmod, 7, 0).exception(5), ZeroDivisionError)
        assert isinstance(executor.submit(sys.exit, 1).exception(5), SystemExit)
        assert executor.submit(int, "7").result(5) == 7


def test_there_are_no_more_threads_than_said_and_no_more_than_needed() -> None:
    with DaemonExecutor(3, "test") as executor:
        for number in range(5):
            assert executor.submit(abs, -number).result(5) == number
            wait_until(lambda: executor._free == len(executor._threads))
        assert len(executor._threads) == 1

        together = threading.Barrier(3)
        calls = [executor.submit(together.wait, 5) for _ in range(6)]
        assert sorted(each.result(10) for each in calls) == [0, 0, 1, 1, 2, 2]
        assert len(executor._threads) == 3
        assert all(thread.daemon for thread in executor._threads)


def test_no_call_waits_for_another_while_there_may_be_more_threads() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads are met between any two steps
    try:
        for _ in range(100):
            with DaemonExecutor(4, "test") as executor:
                executor.submit(int, "7").result(5)
                together = threading.Barrier(4)
                calls = [executor.submit(together.wait, 5) for _ in range(4)]
                assert sorted(each.result(10) for each in calls) == [0, 1, 2, 3]
    finally:
        sys.setswitchinterval(interval)


def test_cancelled_call_does_not_run() -> None:
    ran: list[int] = []
    with DaemonExecutor(1, "test") as executor:
        release = threading.Event()
        busy = executor.submit(release.wait, 10)
        waiting = executor.submit(ran.append, 1)
        assert waiting.cancel()
        release.set()
        assert busy.result(5)
    assert ran == []


def test_shutdown_lets_waiting_calls_run_or_cancels_them() -> None:
    for cancel in (False, True):
        executor = DaemonExecutor(1, "test")
        release = threading.Event()
        busy = executor.submit(release.wait, 10)
        wait_until(busy.running)
        waiting = executor.submit(int, "7")
        executor.shutdown(wait=False, cancel_futures=cancel)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int, "8")
        release.set()
        executor.shutdown()
        assert busy.result(5)
        assert waiting.cancelled() if cancel else waiting.result(5) == 7
        assert not any(thread.is_alive() for thread in executor._threads)


def test_system_without_a_further_thread_leaves_the_work_to_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with DaemonExecutor(2, "test") as executor:
        release = threading.Event()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                executor.submit(int, "7")
        busy = executor.submit(release.wait, 10)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            waiting = executor.submit(int, "7")
        release.set()
        assert busy.result(5) and waiting.result(5) == 7


def test_process_ends_although_a_call_does_not() -> None:
    program = """
from pyrpc_xds.transports.daemons import DaemonExecutor
import threading
began = threading.Event()
DaemonExecutor(1, "test").submit(lambda: (began.set(), threading.Event().wait()))
began.wait()
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0
