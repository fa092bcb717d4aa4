"""The pools of connections that calls share, where connecting fails: without sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import Limits, PoolLimits, mux_pool
from pyrpc_xds.transports.thrift.aio_mux_pool import LoopMuxPool
from pyrpc_xds.transports.thrift.aio_pool import AioPool
from pyrpc_xds.transports.thrift.mux_pool import MuxPool
from pyrpc_xds.transports.thrift.wire import wire_from
from tests.unit.transports.thrift.peers import wait_until

WIRE = wire_from("ttheader", "binary")
LIMITS = PoolLimits(multiplexed=1, connect_timeout=5.0)


class Plain:
    """A connection on which nothing ever comes."""

    def fileno(self) -> int:
        return -1

    def readable(self, seconds: float = 0.0) -> bool:
        return False


def pool_that(monkeypatch: pytest.MonkeyPatch, connect: Callable[[float], Plain]) -> MuxPool:
    """:param connect: given the deadline."""
    monkeypatch.setattr(mux_pool, "connect", lambda address, wire, limits, deadline: connect(deadline))
    return MuxPool("127.0.0.1:1", WIRE, Limits(), LIMITS)


def test_callers_that_wait_for_a_connection_share_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, fail = threading.Event(), threading.Event()
    attempts = []

    def connect(deadline: float) -> Plain:
        attempts.append(deadline)
        begun.set()
        assert fail.wait(10)
        raise TimeoutError("no connection in time")

    pool = pool_that(monkeypatch, connect)
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(4) as threads:
        calls: list[Future[Any]] = [threads.submit(pool.open, deadline)]
        assert begun.wait(10)
        calls += [threads.submit(pool.open, deadline) for _ in range(3)]
        wait_until(lambda: len(pool._opened._waiters) == 3)  # type: ignore[attr-defined]
        fail.set()
        errors = [call.exception(10) for call in calls]
    assert [str(error) for error in errors] == ["no connection in time"] * 4
    assert len(set(map(id, errors))) == 4, "each has a traceback of its own"
    assert len(attempts) == 1

    fail.set()
    with pytest.raises(TimeoutError):
        pool.open(deadline)
    assert len(attempts) == 2, "a failure is not for those who come after it"


def test_caller_in_a_hurry_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    attempts = []

    def connect(deadline: float) -> Plain:
        attempts.append(deadline)
        if len(attempts) > 1:
            return Plain()
        begun.set()
        wait_until(lambda: len(pool._opened._waiters) == 1)  # type: ignore[attr-defined]
        time.sleep(max(0.0, deadline - time.monotonic()))
        raise TimeoutError("no connection in time")

    pool = pool_that(monkeypatch, connect)
    with ThreadPoolExecutor(2) as threads:
        hurried = threads.submit(pool.open, time.monotonic() + 0.1)
        assert begun.wait(10)
        patient = threads.submit(pool.open, time.monotonic() + 60)
        assert isinstance(hurried.exception(10), TimeoutError)
        assert patient.result(10).connection.usable
    assert len(attempts) == 2


def here(monkeypatch: pytest.MonkeyPatch, dial: Callable[[float], Any]) -> LoopMuxPool:
    pool = AioPool("127.0.0.1:1", WIRE, Limits(), LIMITS)

    async def dialled(loop: asyncio.AbstractEventLoop, deadline: float, make: Callable[[], Any]) -> Any:
        await dial(deadline)
        return make()

    monkeypatch.setattr(pool, "dial", dialled)
    part = pool.here(asyncio.get_running_loop())
    assert isinstance(part, LoopMuxPool)
    return part


async def test_tasks_that_wait_for_a_connection_share_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fail = asyncio.Event()
    attempts = []

    async def dial(deadline: float) -> None:
        attempts.append(deadline)
        await fail.wait()
        raise TimeoutError("no connection in time")

    part = here(monkeypatch, dial)
    deadline = asyncio.get_running_loop().time() + 60
    calls = [asyncio.create_task(part.take(deadline)) for _ in range(4)]
    await asyncio.sleep(0)
    fail.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(error) for error in errors] == ["no connection in time"] * 4
    assert len(set(map(id, errors))) == 4, "each has a traceback of its own"
    assert len(attempts) == 1

    with pytest.raises(TimeoutError):
        await part.take(deadline)
    assert len(attempts) == 2, "a failure is not for those who come after it"


async def test_task_in_a_hurry_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    attempts = []

    async def dial(deadline: float) -> None:
        attempts.append(deadline)
        if len(attempts) == 1:
            await asyncio.sleep(deadline - loop.time() + 0.01)
            raise TimeoutError("no connection in time")

    part = here(monkeypatch, dial)
    hurried = asyncio.create_task(part.take(loop.time() + 0.05))
    await asyncio.sleep(0)
    patient = asyncio.create_task(part.take(loop.time() + 60))
    with pytest.raises(TimeoutError):
        await hurried
    assert (await patient).connection.usable
    assert len(attempts) == 2
