"""Our Thrift clients and servers, sync and asyncio, behind one blocking interface for the interop tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from pyrpc_xds.transports.thrift import ThriftTransport
from tests.unit.transports.thrift.fakes import FakeMesh

KINDS = ("sync", "asyncio")


class OurClient:
    """A client of either kind; its methods block.

    :ivar raw: the client itself.
    """

    def __init__(self, raw: Any, runner: asyncio.Runner | None) -> None:
        self.raw = raw
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.raw, name)
        if self._runner is None:
            return method  # type: ignore[no-any-return]

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await method(*args, **kwargs)

        runner = self._runner
        # Of its own, a runner has the context in which it was made.
        return lambda *args, **kwargs: runner.run(call(*args, **kwargs), context=copy_context())

    def with_options(self, **options: Any) -> OurClient:
        """A view with other options, of the same kind."""
        return OurClient(self.raw.with_options(**options), self._runner)

    def at_once(self, calls: list[tuple[str, tuple[Any, ...]]], callers: int) -> list[Any]:
        """Make the calls, so many at a time; the results in order."""
        if self._runner is None:
            with ThreadPoolExecutor(callers) as pool:
                return list(pool.map(lambda each: getattr(self.raw, each[0])(*each[1]), calls))

        async def all_of_them() -> list[Any]:
            free = asyncio.Semaphore(callers)

            async def one(name: str, args: tuple[Any, ...]) -> Any:
                async with free:
                    return await getattr(self.raw, name)(*args)

            return await asyncio.gather(*(one(*each) for each in calls))

        return self._runner.run(all_of_them())


@contextlib.contextmanager
def our_client(kind: str, service: Any, *addresses: str, **options: Any) -> Iterator[OurClient]:
    """A client of the servers at ``addresses``; options as for :meth:`ThriftTransport.client`."""
    mesh = FakeMesh(*addresses)
    transport = ThriftTransport(mesh)
    options.setdefault("timeout", 10.0)
    if kind == "sync":
        try:
            with transport.client(service, "x:1", **options) as client:
                yield OurClient(client, None)
        finally:
            mesh.close()
        return
    with asyncio.Runner() as runner:

        async def start() -> Any:
            return transport.aio_client(service, "x:1", **options)

        async def stop() -> None:
            client.close()
            mesh.close()

        client = runner.run(start())
        try:
            yield OurClient(client, runner)
        finally:
            runner.run(stop())


class Starter:
    """A client of either kind whose calls are started from any thread; it has threads or a loop of its own.

    :ivar mesh: its endpoints, in the order of their addresses.
    """

    def __init__(self, mesh: FakeMesh, start: Callable[..., Future[Any]]) -> None:
        self.mesh = mesh
        self.start = start

    def ping(self, *texts: str) -> list[Future[Any]]:
        """Start a call for each text."""
        return [self.start("ping", text) for text in texts]


@contextlib.contextmanager
def starting_client(kind: str, service: Any, *addresses: str, **options: Any) -> Iterator[Starter]:
    """As :func:`our_client`, for calls that run while the test goes on."""
    mesh = FakeMesh(*addresses)
    options.setdefault("timeout", 10.0)
    with contextlib.ExitStack() as stack:
        if kind == "sync":
            stack.callback(mesh.close)
            client = stack.enter_context(ThriftTransport(mesh).client(service, "x:1", **options))
            threads = stack.enter_context(ThreadPoolExecutor(64))
            yield Starter(mesh, lambda name, *args: threads.submit(getattr(client, name), *args))
            return
        loop = stack.enter_context(loop_thread())
        aio_client = ThriftTransport(mesh).aio_client(service, "x:1", **options)

        async def call(name: str, *args: Any) -> Any:
            return await getattr(aio_client, name)(*args)

        async def close() -> None:
            async with aio_client:
                mesh.close()

        stack.callback(lambda: asyncio.run_coroutine_threadsafe(close(), loop).result(10))
        yield Starter(mesh, lambda *args: asyncio.run_coroutine_threadsafe(call(*args), loop))


@contextlib.contextmanager
def our_server(kind: str, service: Any, handler: object, **options: Any) -> Iterator[str]:
    """A server on loopback; its address. Options as for :meth:`ThriftTransport.server`."""
    transport = ThriftTransport(FakeMesh())
    if kind == "sync":
        with transport.server(service, handler, "127.0.0.1:0", **options) as server:
            yield server.address
        return
    with loop_thread() as loop:

        async def start() -> Any:
            server = transport.aio_server(service, handler, "127.0.0.1:0", **options)
            await server.start()
            return server

        server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        try:
            yield server.address
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(5.0), loop).result(10)


@contextlib.contextmanager
def loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    over: list[asyncio.Event] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        over.append(asyncio.Event())
        ready.set()
        await over[0].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="event loop")
    thread.start()
    assert ready.wait(10)
    try:
        yield loops[0]
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loops[0].call_soon_threadsafe(over[0].set)
        thread.join(10)
