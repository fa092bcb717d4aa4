"""The pool of one endpoint in one loop, without sockets."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import Limits, PoolLimits
from pyrpc_xds.transports.thrift.aio_pool import AioPool
from pyrpc_xds.transports.thrift.pool import PoolClosed, PoolFull
from pyrpc_xds.transports.thrift.wire import Wire


class Connection:
    fresh = in_step = True
    since = 0.0
    closed = False

    def usable(self) -> bool:
        return self.fresh

    def abort(self) -> None:
        self.fresh, self.closed = False, True

    close = abort


@pytest.fixture
def pool() -> AioPool:
    return AioPool("127.0.0.1:1", Wire(), Limits(), PoolLimits(connections=1))


def here(pool: AioPool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The running loop's part of the pool, which opens connections of nothing."""
    part = pool.here(asyncio.get_running_loop())

    async def dial(loop: asyncio.AbstractEventLoop, deadline: float, make: object) -> Connection:
        return Connection()

    monkeypatch.setattr(pool, "dial", dial)
    return part


async def test_place_of_a_waiter_cancelled_as_it_is_woken_goes_to_the_next(
    pool: AioPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = here(pool, monkeypatch)
    deadline = asyncio.get_running_loop().time() + 5
    held = await part.take(deadline)
    first, second = (asyncio.create_task(part.take(deadline)) for _ in range(2))
    await asyncio.sleep(0)
    part.put(held)
    first.cancel()
    assert await asyncio.wait_for(second, 5) is held
    assert first.cancelled() and part.open == 1


async def test_waiter_that_gives_up_leaves_the_queue(pool: AioPool, monkeypatch: pytest.MonkeyPatch) -> None:
    part = here(pool, monkeypatch)
    now = asyncio.get_running_loop().time()
    held = await part.take(now + 5)
    with pytest.raises(PoolFull, match=r"all 1 connections to 127\.0\.0\.1:1 are in use"):
        await part.take(now + 0.01)
    part.put(held)
    assert await part.take(now + 5) is held


async def test_closed_pool_wakes_its_waiters(pool: AioPool, monkeypatch: pytest.MonkeyPatch) -> None:
    part = here(pool, monkeypatch)
    deadline = asyncio.get_running_loop().time() + 5
    held = await part.take(deadline)
    waiting = [asyncio.create_task(part.take(deadline)) for _ in range(3)]
    await asyncio.sleep(0)
    pool.drain()
    for task in waiting:
        with pytest.raises(PoolClosed):
            await task
    part.put(held)
    assert held.closed and part.open == 0
    assert repr(pool) == "<AioPool 127.0.0.1:1 [framed binary] closed>"


def test_closed_loops_are_forgotten(pool: AioPool) -> None:
    async def look() -> weakref.ref[Any]:
        pool.here(asyncio.get_running_loop())
        return weakref.ref(asyncio.get_running_loop())

    gone = asyncio.run(look())
    asyncio.run(look())
    gc.collect()
    assert gone() is None
    assert len(pool._loops) == 1
