"""What handlers raise: theirs, or the end of their task."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

import pytest

from pyrpc_xds.transports.raised import contained, is_the_handlers


def raises(error: BaseException) -> None:
    raise error


async def judged(error: BaseException | None, waiting: asyncio.Event | None = None) -> bool:
    """What is said of an error, or of what comes while it waits."""
    try:
        if error is not None:
            raise error
        assert waiting is not None
        waiting.set()
        await asyncio.sleep(20)
    except BaseException as caught:
        return is_the_handlers(caught)
    raise AssertionError


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), GeneratorExit(), asyncio.CancelledError()], ids=repr
)
async def test_whatever_is_raised_in_a_task_is_the_handlers(error: BaseException) -> None:
    assert await asyncio.create_task(judged(error))


async def test_cancellation_of_the_task_is_not_the_handlers() -> None:
    waiting = asyncio.Event()
    task = asyncio.create_task(judged(None, waiting))
    await waiting.wait()
    task.cancel()
    assert not await task


async def test_ctrl_c_is_not_the_handlers_where_python_raises_it() -> None:
    assert not await judged(KeyboardInterrupt())
    assert await asyncio.to_thread(asyncio.run, judged(KeyboardInterrupt()))


def test_end_of_a_coroutine_whose_loop_is_gone_is_not_the_handlers() -> None:
    said: list[bool] = []

    async def handler() -> None:
        try:
            await asyncio.Future(loop=loop)
        except BaseException as error:
            said.append(is_the_handlers(error))
            raise

    loop = asyncio.new_event_loop()
    coroutine = handler()
    coroutine.send(None)
    loop.close()
    coroutine.close()
    assert said == [False]


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), StopIteration(1), asyncio.CancelledError()], ids=repr
)
async def test_what_a_future_cannot_pass_on_comes_as_another_error(error: BaseException) -> None:
    running: Any = asyncio.get_running_loop().run_in_executor(None, contained, raises, error)
    with pytest.raises(RuntimeError) as caught:
        await asyncio.wait_for(running, 10)
    assert str(caught.value) == repr(error)
    assert caught.value.__cause__ is error


async def test_ordinary_errors_and_results_come_as_they_are() -> None:
    loop = asyncio.get_running_loop()
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        await loop.run_in_executor(None, contained, raises, error)
    assert caught.value is error
    assert await loop.run_in_executor(None, contained, max, 1, 2) == 2
    # asyncio makes its own of it.
    with pytest.raises(asyncio.CancelledError):
        await loop.run_in_executor(None, contained, raises, concurrent.futures.CancelledError())
