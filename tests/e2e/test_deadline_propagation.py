"""What a handler's own calls inherit: the deadline of the call that it serves, over every transport.

A caller asks a server in the middle, whose handler calls the last one of the chain. The caller's deadline is told in
the header alone (TTHeader's int key 12, Dubbo's ``tri-service-timeout``): the caller itself waits on, so nothing but
the deadline can end the call in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest

import pyrpc_xds
from pyrpc_xds.transports.thrift import current_call
from tests.e2e.mesh import environment, eventually
from tests.interop.peers.ours import loop_thread
from tests.interop.peers.ttheader_bytes import CALL, Frame, message, pack
from tests.unit.transports.thrift.peers import Handler, idl

MIDDLES = ("thrift", "thrift-aio", "triple", "triple-aio")
CHAINS = [(middle, last) for middle in MIDDLES for last in ("thrift", "triple")]
# grpc rounds up the timeouts that it sends.
ROUNDED = 1.1
INHERITED = "the deadline is that of the call being served"
LONG = 20.0


class Last:
    """The end of the chain: notes what was left when a call came, and holds the call while it must."""

    def __init__(self) -> None:
        self.left: list[float | None] = []
        self.release = threading.Event()
        self.release.set()

    def answer(self) -> str:
        self.left.append(pyrpc_xds.time_remaining())
        self.release.wait(LONG)
        return "answer"


class Chain:
    """A server in the middle, the last one, and both ways to call that one.

    :ivar handle: what the handler in the middle does; a coroutine function where the server is asyncio's.
    """

    def __init__(self, middle: str, last: str, stack: ExitStack) -> None:
        self.middle = middle
        self.protocol = middle.partition("-")[0]
        self.aio = middle.endswith("aio")
        self.last = Last()
        self.handle: Any = None
        self.outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stack = stack
        self.xds = pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:9"))
        stack.callback(self.xds.close)
        self._loop = stack.enter_context(loop_thread()) if self.aio else None
        target = f"direct:///{self._serve_last(last)}"
        self.address = self._on_loop(self._serve_aio()) if self.aio else self._serve()
        self.call = self._on_loop(self._aio_caller(last, target)) if self.aio else self._caller(last, target)
        stack.callback(self.last.release.set)  # first of all

    def _on_loop(self, coroutine: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LONG)

    def _serve_last(self, protocol: str) -> str:
        last = self.last

        class Served(Handler):
            def ping(self, text: str) -> str:
                return last.answer()

        if protocol == "thrift":
            return self._stack.enter_context(
                self.xds.thrift.server(idl.Everything, Served(), "127.0.0.1:0")
            ).address
        server = self.xds.triple.server(handlers=generic(lambda request, context: last.answer().encode()))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stack.callback(lambda: server.stop(0).wait(5))
        return f"127.0.0.1:{port}"

    def _serve(self) -> str:
        def behave(*_: Any) -> Any:
            try:
                self.outcomes.put(self.handle())
            except BaseException as error:
                self.outcomes.put(error)
            return "" if self.protocol == "thrift" else b""

        if self.protocol == "thrift":
            return self._stack.enter_context(
                self.xds.thrift.server(idl.Everything, pinged(behave), "127.0.0.1:0")
            ).address
        server = self.xds.triple.server(handlers=generic(behave))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stack.callback(lambda: server.stop(0).wait(5))
        return f"127.0.0.1:{port}"

    async def _serve_aio(self) -> str:
        async def behave(*_: Any) -> Any:
            try:
                self.outcomes.put(await self.handle())
            except BaseException as error:
                self.outcomes.put(error)
            return "" if self.protocol == "thrift" else b""

        if self.protocol == "thrift":

            class Served(Handler):
                async def ping(self, text: str) -> Any:
                    return await behave()

                async def fire(self, text: str) -> None:  # type: ignore[override]
                    await behave()

            server: Any = self.xds.thrift.aio_server(idl.Everything, Served(), "127.0.0.1:0")
            await server.start()
            address = str(server.address)
        else:
            server = self.xds.triple.aio_server(handlers=generic(behave))
            address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
        self._stack.callback(lambda: self._on_loop(server.stop(0)))
        return address

    def _caller(self, protocol: str, target: str) -> Callable[..., Any]:
        if protocol == "thrift":
            client = self.xds.thrift.client(idl.Everything, target, framing="ttheader")
            return lambda timeout=LONG: client.with_options(timeout=timeout).ping("x")
        channel = self.xds.triple.channel(target)
        method = channel.unary_unary("/any.Service/ping")
        return lambda timeout=LONG: method(b"", timeout=timeout).decode()

    async def _aio_caller(self, protocol: str, target: str) -> Callable[..., Awaitable[Any]]:
        if protocol == "thrift":
            client = self.xds.thrift.aio_client(idl.Everything, target, framing="ttheader")
            return lambda timeout=LONG: client.with_options(timeout=timeout).ping("x")
        channel = self.xds.triple.aio_channel(target)
        self._stack.callback(lambda: self._on_loop(channel.close()))
        method = channel.unary_unary("/any.Service/ping")

        async def call(timeout: float = LONG) -> Any:
            return (await method(b"", timeout=timeout)).decode()

        return call

    def ask(self, milliseconds: int | None, name: str = "ping") -> Any:
        """Call the middle, saying that so much time is left; what its handler returned or raised."""
        if self.protocol == "triple":
            told = () if milliseconds is None else (("tri-service-timeout", str(milliseconds)),)
            with grpc.insecure_channel(self.address) as channel:
                method = channel.unary_unary("/any.Service/ping")
                method(b"", timeout=None if milliseconds is None else LONG, metadata=told)
            return self.outcomes.get(timeout=LONG)
        host, _, port = self.address.rpartition(":")
        arguments = getattr(idl.Everything, f"{name}_args")(text="x")
        ints = {9: name} | ({} if milliseconds is None else {12: str(milliseconds)})
        with socket.create_connection((host, int(port)), LONG) as sock:
            sock.sendall(pack(Frame(message(name, CALL, 1, arguments), ints=ints)))
            return self.outcomes.get(timeout=LONG)


def pinged(behave: Callable[..., Any]) -> Handler:
    class Served(Handler):
        def ping(self, text: str) -> Any:
            return behave()

        def fire(self, text: str) -> None:
            behave()

    return Served()


def generic(behavior: Any) -> list[Any]:
    return [
        grpc.method_handlers_generic_handler(
            "any.Service", {"ping": grpc.unary_unary_rpc_method_handler(behavior)}
        )
    ]


@contextmanager
def chain_of(middle: str, last: str) -> Iterator[Chain]:
    with ExitStack() as stack:
        made = Chain(middle, last, stack)
        yield made
    made.__dict__.clear()


@pytest.fixture(params=CHAINS, ids="-then-".join)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(*request.param) as made:
        yield made


def test_call_of_a_handler_ends_with_the_call_that_it_serves(chain: Chain) -> None:
    chain.last.release.clear()
    chain.handle = lambda: chain.call(timeout=LONG)
    error = chain.ask(300)
    assert isinstance(error, pyrpc_xds.DeadlineExceeded), repr(error)
    assert INHERITED in str(error)
    # The next hop is told how long its caller still waits, and not how long it would have liked to.
    [left] = chain.last.left
    assert left is not None and left < ROUNDED * 0.3


def test_timeout_of_its_own_counts_where_it_is_shorter(chain: Chain) -> None:
    chain.last.release.clear()
    chain.handle = lambda: chain.call(timeout=0.2)
    error = chain.ask(20_000)
    assert isinstance(error, pyrpc_xds.DeadlineExceeded), repr(error)
    assert INHERITED not in str(error)
    [left] = chain.last.left
    assert left is not None and left < ROUNDED * 0.2


def test_call_after_the_deadline_is_not_sent(chain: Chain) -> None:
    def late() -> Any:
        eventually(lambda: pyrpc_xds.time_remaining() == 0.0)
        return chain.call()

    async def late_aio() -> Any:
        while pyrpc_xds.time_remaining() != 0.0:
            await asyncio.sleep(0.005)
        return await chain.call()

    chain.handle = late_aio if chain.aio else late
    error = chain.ask(50)
    assert isinstance(error, pyrpc_xds.DeadlineExceeded), repr(error)
    assert "not sent" in str(error) and INHERITED in str(error)
    assert chain.last.left == []


def test_detached_calls_take_the_time_that_they_are_given(chain: Chain) -> None:
    def late() -> Any:
        eventually(lambda: pyrpc_xds.time_remaining() == 0.0)
        with pyrpc_xds.detached():
            return chain.call()

    async def background() -> Any:
        while (left := pyrpc_xds.time_remaining()) is not None:
            await asyncio.sleep(left)
        return await chain.call()

    async def late_aio() -> Any:
        while pyrpc_xds.time_remaining() != 0.0:
            await asyncio.sleep(0.005)
        with pyrpc_xds.detached():
            task = asyncio.create_task(background())
        return await task

    chain.handle = late_aio if chain.aio else late
    assert chain.ask(50) == "answer"
    [left] = chain.last.left
    assert left is None or 0.05 < left < ROUNDED * LONG


def test_caller_that_says_nothing_limits_nothing(chain: Chain) -> None:
    chain.handle = lambda: chain.call(timeout=2.0)
    assert chain.ask(None) == "answer"
    [left] = chain.last.left
    assert left is not None and left < ROUNDED * 2.0
    assert pyrpc_xds.time_remaining() is None


@pytest.mark.parametrize("middle", MIDDLES[:2])
def test_oneway_call_has_no_deadline_because_nobody_waits(middle: str) -> None:
    with chain_of(middle, "thrift") as chain:

        async def handle_aio() -> Any:
            return current_call().deadline, pyrpc_xds.time_remaining(), await chain.call()

        def handle() -> Any:
            return current_call().deadline, pyrpc_xds.time_remaining(), chain.call()

        chain.handle = handle_aio if chain.aio else handle
        assert chain.ask(1, "fire") == (None, None, "answer")


@pytest.mark.parametrize("last", ["thrift", "triple"])
@pytest.mark.parametrize("middle", ["thrift", "triple"])
def test_deadlines_of_our_own_clients_and_of_grpc_are_inherited(middle: str, last: str) -> None:
    with chain_of(middle, last) as chain:
        chain.last.release.clear()
        chain.handle = chain.call
        target = f"direct:///{chain.address}"
        if middle == "thrift":
            caller: Any = chain.xds.thrift.client(
                idl.Everything, target, framing="ttheader", timeout=0.3
            ).ping
        else:
            method = chain.xds.triple.channel(target).unary_unary("/any.Service/ping")
            caller = lambda _: method(b"", timeout=0.3)  # noqa: E731
        # Both give up at the same time: the handler's answer may come first.
        with contextlib.suppress(pyrpc_xds.DeadlineExceeded):
            caller("x")
        error = chain.outcomes.get(timeout=LONG)
        assert isinstance(error, pyrpc_xds.DeadlineExceeded) and INHERITED in str(error)
        [left] = chain.last.left
        assert left is not None and left < ROUNDED * 0.3


def test_chain_of_three_shares_one_deadline() -> None:
    with chain_of("thrift", "triple") as second, chain_of("triple-aio", "thrift") as first:

        async def through() -> Any:
            target = f"direct:///{second.address}"
            return await first.xds.thrift.aio_client(idl.Everything, target, framing="ttheader").ping("x")

        second.last.release.clear()
        second.handle = second.call
        first.handle = through
        first.ask(400)
        error = second.outcomes.get(timeout=LONG)
        assert isinstance(error, pyrpc_xds.DeadlineExceeded)
        [left] = second.last.left
        assert left is not None and left < ROUNDED * 0.4
