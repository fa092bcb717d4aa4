"""A program that forks while calls of its Thrift client are in flight, on connections that calls share or not.

``python -m tests.e2e.forking_calls sync|aio MULTIPLEXED ADDRESS``: eight callers in other threads (or in tasks of a
loop that runs in one) call on while the main thread forks. The child must have none of the parent's connections, and
the parent must keep them: then both processes make calls of their own. An answer that is not that of its call is an
error. The exit code is 0 if all went well in both.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyrpc_xds
from pyrpc_xds.transports.thrift import PoolLimits
from tests.e2e.mesh import environment
from tests.unit.transports.thrift.peers import idl

CALLERS = 8
CALLS = 200
SECONDS = 20.0


def text_of(caller: int, number: int) -> str:
    """Another one for each call of each process."""
    return f"{os.getpid()} {caller} {number}"


def checked(sent: str, answer: str) -> None:
    if answer != sent:
        raise AssertionError(f"{os.getpid()} sent {sent!r} and was answered {answer!r}")


def connections_to(address: str) -> set[str]:
    """The local ends of this process's connections to a server."""
    found = set()
    host, _, port = address.rpartition(":")
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.getpeername() == (host, int(port)):
                    found.add(str(sock.getsockname()))
        except OSError:
            pass  # it has no peer, or was closed meanwhile
    return found


class Background:
    """Callers that go on until they are stopped.

    :ivar calls: how many were answered.
    """

    def __init__(self, run: Callable[[Background, int], None], threads: int) -> None:
        self.calls = 0
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self._run = run
        self._threads = [threading.Thread(target=self._guarded, args=(caller,)) for caller in range(threads)]

    def _guarded(self, caller: int) -> None:
        try:
            self._run(self, caller)
        except BaseException as error:
            self.errors.append(error)

    def more(self) -> None:
        """Wait for further calls."""
        goal = self.calls + CALLS
        waiting = threading.Event()
        for _ in range(int(SECONDS / 0.005)):
            if self.calls >= goal or self.errors:
                break
            waiting.wait(0.005)
        if self.errors:
            raise self.errors[0]
        assert self.calls >= goal, "the callers of the parent are stuck"

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in self._threads:
                thread.join(SECONDS)
                assert not thread.is_alive()


def call_on(client: Any) -> Callable[[Background, int], None]:
    def run(background: Background, caller: int) -> None:
        number = 0
        while not background.over.is_set():
            number += 1
            text = text_of(caller, number)
            checked(text, client.ping(text))
            background.calls += 1

    return run


def call_on_in_a_loop(client: Any) -> Callable[[Background, int], None]:
    async def one(background: Background, caller: int) -> None:
        number = 0
        while not background.over.is_set():
            number += 1
            text = text_of(caller, number)
            checked(text, await client.ping(text))
            background.calls += 1

    async def every(background: Background) -> None:
        await asyncio.gather(*(one(background, caller) for caller in range(CALLERS)))

    return lambda background, _: asyncio.run(every(background))


async def a_few(client: Any) -> None:
    async def one(caller: int) -> None:
        for number in range(CALLS // CALLERS):
            text = text_of(caller, number)
            checked(text, await client.ping(text))

    await asyncio.gather(*(one(caller) for caller in range(CALLERS)))


def main() -> int:
    """Call, fork, call; the exit code."""
    kind, multiplexed, address = sys.argv[1:]
    xds = pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:9"))
    make = xds.thrift.client if kind == "sync" else xds.thrift.aio_client
    client: Any = make(
        idl.Everything,
        f"direct:///{address}",
        framing="ttheader",
        timeout=SECONDS,
        pool=PoolLimits(multiplexed=int(multiplexed)),
    )
    run, threads = (call_on(client), CALLERS) if kind == "sync" else (call_on_in_a_loop(client), 1)
    background = Background(run, threads)
    with background.running():
        background.more()
        before = connections_to(address)
        assert before
        child = os.fork()
        if child == 0:
            code = 1
            try:
                inherited = connections_to(address)
                assert not inherited, f"the child holds {inherited}"
                if kind == "sync":
                    for number in range(CALLS):
                        checked(text_of(0, number), client.ping(text_of(0, number)))
                else:
                    asyncio.run(a_few(client))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        background.more()
        _, status = os.waitpid(child, 0)
        background.more()
        lost = before - connections_to(address)
        assert not lost, f"the parent lost {lost}"
    if background.errors:
        raise background.errors[0]
    client.close()
    xds.close()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
