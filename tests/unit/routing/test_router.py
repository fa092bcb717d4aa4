"""Router: waiting for the first snapshot, from threads and event loops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from pyrpc_xds.errors import DeadlineExceeded, Unavailable
from pyrpc_xds.routing.router import Router
from pyrpc_xds.routing.snapshot import CompiledSnapshot

SNAPSHOT = cast(CompiledSnapshot, object())


def router(note: str = "", ready_timeout: float = 0.01) -> Router:
    return Router("greeter:9090", ready_timeout, lambda: note)


def test_a_published_snapshot_is_returned_without_waiting() -> None:
    subject = router()
    subject.publish(SNAPSHOT)
    assert subject.wait(0.0) is SNAPSHOT
    assert subject.snapshot is SNAPSHOT


def test_waiting_threads_get_the_snapshot_that_is_published_meanwhile() -> None:
    subject = router(ready_timeout=30.0)
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(subject.wait(None))) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(subject._waiters) < 8:
        threading.Event().wait(0.001)
    subject.publish(SNAPSHOT)
    for thread in threads:
        thread.join(10)
    assert got == [SNAPSHOT] * 8


async def test_waiting_tasks_get_the_snapshot_published_from_another_thread() -> None:
    subject = router(ready_timeout=30.0)
    tasks = [asyncio.create_task(subject.wait_async(None)) for _ in range(8)]
    await asyncio.sleep(0.01)
    thread = threading.Thread(target=subject.publish, args=(SNAPSHOT,))
    thread.start()
    assert await asyncio.gather(*tasks) == [SNAPSHOT] * 8
    thread.join()


def test_the_callers_timeout_is_deadline_exceeded_with_the_state_of_the_control_plane() -> None:
    with pytest.raises(
        DeadlineExceeded, match=r"greeter:9090: no configuration within 0.01 s; istiod refused"
    ):
        router("istiod refused").wait(0.01)


def test_the_default_timeout_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="has not answered yet"):
        router().wait(None)


async def test_a_timeout_says_what_a_connected_control_plane_has_not_sent() -> None:
    subject = router()
    subject.awaited = lambda: "connected to istiod:15010, which has not sent Listener greeter:9090 yet"
    with pytest.raises(
        DeadlineExceeded, match=r"within 0.01 s; connected to istiod:15010, which has not sent"
    ):
        subject.wait(0.01)
    with pytest.raises(DeadlineExceeded, match="connected to istiod:15010, which has not sent"):
        await subject.wait_async(0.01)


async def test_the_async_wait_is_bounded_in_the_same_way() -> None:
    with pytest.raises(DeadlineExceeded):
        await router().wait_async(0.01)
    with pytest.raises(Unavailable):
        await router().wait_async(None)


def test_a_failure_ends_waiting_at_once_and_fails_later_calls_until_a_snapshot_comes() -> None:
    subject = router(ready_timeout=30.0)
    failures: list[str] = []

    def wait() -> None:
        try:
            subject.wait(None)
        except Unavailable as error:
            failures.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    subject.fail("no such host")
    thread.join(10)
    assert failures == ["greeter:9090: no such host"]
    with pytest.raises(Unavailable):
        subject.wait(30.0)
    subject.publish(SNAPSHOT)
    assert subject.wait(None) is SNAPSHOT


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    subject = router(ready_timeout=30.0)
    task = asyncio.create_task(subject.wait_async(None))
    await asyncio.sleep(0)
    assert len(subject._waiters) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not subject._waiters


def test_a_timed_out_wait_leaves_nothing_behind() -> None:
    subject = router()
    with pytest.raises(DeadlineExceeded):
        subject.wait(0.001)
    assert not subject._waiters


def test_publishing_survives_a_waiter_whose_event_loop_is_gone() -> None:
    subject = router(ready_timeout=30.0)
    loop = asyncio.new_event_loop()
    task = loop.create_task(subject.wait_async(None))
    loop.call_soon(loop.stop)
    loop.run_forever()
    waiters = set(subject._waiters)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    subject._waiters |= waiters
    subject.publish(SNAPSHOT)
    assert subject.wait(None) is SNAPSHOT


def test_close_runs_its_callback_once_and_fails_later_calls() -> None:
    subject = router()
    closed: list[bool] = []
    subject.on_close(lambda: closed.append(True))
    subject.publish(SNAPSHOT)
    subject.close()
    subject.close()
    assert closed == [True]
    with pytest.raises(Unavailable, match="the client is closed"):
        subject.wait(None)


def test_a_snapshot_that_comes_after_close_is_not_seen() -> None:
    subject = router()
    subject.publish(SNAPSHOT)
    subject.close()
    subject.publish(SNAPSHOT)  # the driver's thread was in the middle of it
    assert subject.closed
    assert subject.snapshot is None
    with pytest.raises(Unavailable, match="closed"):
        subject.wait(None)
