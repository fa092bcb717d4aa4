"""What holds for every test: nothing outlives it.

A test that leaves a thread, a file descriptor, a child process or an asyncio task behind fails, with their
names. grpcio needs no exception: once its channels and servers are closed it keeps neither threads nor
descriptors (measured with 1.85.1, sync and asyncio). What a module's or session's fixture holds is there
before the test begins, and so is not counted.

A test that must leave something behind says so: ``@pytest.mark.may_leak("why")``.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SETTLE_SECONDS = 25.0
"""How long what a test has closed may take to be gone: threads to end, sockets to be shut by grpc's, and its pollers,
which a closed channel keeps for 20 s where it was writing a ping (grpcio 1.85.1)."""

DESCRIPTORS = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds at one moment; about 20 us to take."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[int]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Held:
        listed = map(int, os.listdir(DESCRIPTORS))  # with the one that the listing itself used
        return cls(frozenset(threading.enumerate()), frozenset(filter(is_open, listed)), children())

    def beyond(self, before: Held) -> list[str]:
        """The names of what is held now and was not held before."""
        return sorted(
            [f"thread {thread.name}" for thread in self.threads - before.threads]
            + [f"descriptor {number} ({target(number)})" for number in self.descriptors - before.descriptors]
            + [f"child process {child} ({command(child)})" for child in self.children - before.children]
        )


def target(descriptor: int) -> str:
    try:
        return os.readlink(f"{DESCRIPTORS}/{descriptor}")
    except OSError:
        return "of unknown kind"


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def children() -> frozenset[int]:
    """The child processes, running or not waited for; empty where there are none, which is quick to know."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return frozenset()
    found = {ended.si_pid} if ended else set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, listing.read_text().split()))
        except OSError:  # that thread has ended
            continue
    return frozenset(found)


def command(process: int) -> str:
    try:
        line = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return "no longer there"
    return line[:120] or "ended, not waited for"


def settled(leaks: Callable[[], list[str]]) -> list[str]:
    """What is still there after the time that closing may take."""
    deadline = time.monotonic() + SETTLE_SECONDS
    pause = 0.001
    found = leaks()
    while found and time.monotonic() < deadline:
        gc.collect()  # what only a reference cycle keeps open is not leaked by the test
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
        found = leaks()
    return found


def may_leak(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("may_leak")
    if marker is None:
        return False
    if len(marker.args) != 1 or not isinstance(marker.args[0], str) or not marker.args[0].strip():
        raise pytest.UsageError(f"{item.nodeid}: may_leak needs its reason, as in may_leak('why')")
    return True


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves threads, descriptors or child processes behind."""
    if may_leak(request.node):
        yield
        return
    before = Held.now()
    yield
    left = settled(lambda: Held.now().beyond(before))
    if left:
        pytest.fail("the test left behind: " + "; ".join(left), pytrace=False)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have every asyncio test fail that leaves tasks of its own on the loop."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and not may_leak(item):
        item.obj = without_leftover_tasks(item.obj)


def without_leftover_tasks(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., Coroutine[Any, Any, None]]:
    @functools.wraps(test)
    async def checked(*args: Any, **kwargs: Any) -> None:
        before = asyncio.all_tasks()
        await test(*args, **kwargs)
        for pause in (0, 0, 0.01, 0.05, 0.2, 0.5):
            left = [task for task in asyncio.all_tasks() - before if not of_grpc(task)]
            if not left:
                return
            await asyncio.sleep(pause)
        names = sorted(f"{task.get_name()} ({task.get_coro()})" for task in left)
        pytest.fail("the test left tasks behind: " + "; ".join(names), pytrace=False)

    return checked


def of_grpc(task: asyncio.Task[Any]) -> bool:
    """A task that grpc.aio runs for a server or channel of a fixture, and ends with it."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "grpc" in code.co_filename


@pytest.fixture
def refused() -> Iterator[Callable[[], str]]:
    """Addresses of this machine that refuse connections for as long as the test runs."""
    held: list[socket.socket] = []

    def make() -> str:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        held.append(bound)
        return f"127.0.0.1:{bound.getsockname()[1]}"

    yield make
    for bound in held:
        bound.close()
