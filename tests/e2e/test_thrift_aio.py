"""The asyncio client and server over sockets: thriftpy2's peers, faults, and cancellation at every await."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from thriftpy2.contrib.aio.client import TAsyncClient
from thriftpy2.contrib.aio.processor import TAsyncProcessor
from thriftpy2.contrib.aio.protocol import TAsyncBinaryProtocolFactory, TAsyncCompactProtocolFactory
from thriftpy2.contrib.aio.socket import StreamHandler, TAsyncSocket
from thriftpy2.contrib.aio.transport import TAsyncBufferedTransportFactory, TAsyncFramedTransportFactory
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TTransportException

from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import (
    PoolLimits,
    ServerLimits,
    ThriftDeadlineExceeded,
    ThriftProtocolError,
    ThriftTransport,
    ThriftUnavailable,
)
from tests.e2e.test_thrift_client import answering, ping_answer, receive_frame, silent
from tests.e2e.test_thrift_interop import item
from tests.e2e.test_thrift_server import GARBAGE, call, framed
from tests.unit.transports.thrift.fakes import FakeEndpoint, FakeMesh
from tests.unit.transports.thrift.peers import FACTORIES, Handler, idl, listening, thriftpy2_server

AIO_FACTORIES = {
    "framed-binary": (TAsyncFramedTransportFactory(), TAsyncBinaryProtocolFactory()),
    "buffered-binary": (TAsyncBufferedTransportFactory(), TAsyncBinaryProtocolFactory()),
    "framed-compact": (TAsyncFramedTransportFactory(), TAsyncCompactProtocolFactory()),
    "buffered-compact": (TAsyncBufferedTransportFactory(), TAsyncCompactProtocolFactory()),
}


class AioHandler(Handler):
    """The same methods as coroutines."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()
        self.cancelled = 0
        for name in idl.Everything.thrift_services:
            if name != "slow":
                setattr(self, name, self._coroutine(getattr(super(), name)))

    @staticmethod
    def _coroutine(method: Any) -> Any:
        async def run(*args: Any) -> Any:
            return method(*args)

        return run

    async def slow(self, seconds: float) -> str:  # type: ignore[override]
        self.running += 1
        try:
            async with asyncio.timeout(seconds):
                await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except TimeoutError:
            pass
        finally:
            self.running -= 1
        return "done"


@contextlib.asynccontextmanager
async def client_of(mesh: FakeMesh, **options: Any) -> AsyncIterator[Any]:
    options.setdefault("timeout", 5.0)
    framed = {} if "trans_factory" in options else {"framing": "framed"}  # the form of the peers here
    async with ThriftTransport(mesh).aio_client(idl.Everything, "x:1", **{**framed, **options}) as client:
        yield client
        mesh.close()


@contextlib.asynccontextmanager
async def serving(handler: Any, **options: Any) -> AsyncIterator[Any]:
    async with ThriftTransport(FakeMesh()).aio_server(
        idl.Everything, handler, "127.0.0.1:0", **options
    ) as server:
        yield server


def pool_of(mesh: FakeMesh) -> Any:
    return mesh.endpoints[0].connection.here(asyncio.get_running_loop())


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def exercise(client: Any, handler: Handler, maps: bool = True) -> None:
    """:param maps: thriftpy2 0.7.1's asyncio compact protocol reads every map as an empty one."""
    assert await client.ping("hello") == "hello"
    assert await client.nothing() is None
    assert await client.no() is False
    if maps:
        assert await client.echo(item()) == item()
        assert await client.reverse({"a": "b"}) == {"b": "a"}
    assert await client.add(1, 2) == 3
    assert await client.ping("x" * 300_000) == "x" * 300_000
    with pytest.raises(idl.Refused):
        await client.fail("refused")
    with pytest.raises(idl.Busy):
        await client.fail("busy")
    assert await client.check(True) is None
    with pytest.raises(idl.Refused):
        await client.check(False)
    assert await client.fire("shot") is None
    await until(lambda: handler.fired == ["shot"])
    assert await client.ping("still here") == "still here"


@pytest.mark.parametrize("pair", list(FACTORIES))
async def test_our_client_and_thriftpy2_server(pair: str) -> None:
    handler = Handler()
    framing, protocol = pair.split("-")[:2]
    with thriftpy2_server(pair, handler) as address:
        async with client_of(FakeMesh(address), framing=framing, protocol=protocol) as client:
            await exercise(client, handler)


@pytest.mark.parametrize("pair", list(AIO_FACTORIES))
async def test_our_client_and_thriftpy2_asyncio_server(pair: str) -> None:
    handler = AioHandler()
    transports, protocols = AIO_FACTORIES[pair]
    processor = TAsyncProcessor(idl.Everything, handler)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = transports.get_transport(StreamHandler(reader, writer))
        protocol = protocols.get_protocol(transport)
        with contextlib.suppress(TTransportException):
            while not reader.at_eof():
                await processor.process(protocol, protocol)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    framing, protocol_name = pair.split("-")
    try:
        async with client_of(FakeMesh(f"{host}:{port}"), framing=framing, protocol=protocol_name) as client:
            await exercise(client, handler, maps=protocol_name == "binary")
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("pair", list(AIO_FACTORIES))
@pytest.mark.parametrize("make_handler", [Handler, AioHandler])
async def test_thriftpy2_asyncio_client_and_our_server(pair: str, make_handler: Any) -> None:
    handler = make_handler()
    transports, protocols = AIO_FACTORIES[pair]
    async with serving(handler) as server:
        host, _, port = server.address.rpartition(":")
        transport = transports.get_transport(TAsyncSocket(host, int(port), socket_timeout=5000))
        await transport.open()
        client = TAsyncClient(idl.Everything, protocols.get_protocol(transport))
        try:
            await exercise(client, handler, maps="binary" in pair)
        finally:
            client.close()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("framing", ["framed", "buffered"])
@pytest.mark.parametrize("protocol", ["binary", "compact"])
async def test_our_client_and_our_server(framing: str, protocol: str) -> None:
    handler = AioHandler()
    async with (
        serving(handler) as server,
        client_of(FakeMesh(server.address), framing=framing, protocol=protocol) as client,
    ):
        await exercise(client, handler)
        assert await client.tclose() == "closed by IDL"


async def test_factories_of_thriftpy2_choose_the_form() -> None:
    transports, protocols = AIO_FACTORIES["buffered-compact"]
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh, trans_factory=transports, proto_factory=protocols) as client:
            assert await client.ping("x") == "x"
            assert "[buffered compact]" in repr(mesh.endpoints[0].connection)


# -- the client --------------------------------------------------------------------------------------------------


async def test_server_that_never_answers_ends_at_the_deadline() -> None:
    with listening(silent) as address:
        mesh = FakeMesh(address)
        async with client_of(mesh, timeout=0.1) as client:
            with pytest.raises(ThriftDeadlineExceeded, match="no answer in time"):
                await client.ping("x")
            assert repr(mesh.endpoints[0].connection).endswith("0 open, 0 idle>")


async def test_server_that_does_not_accept_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = [socket.socket() for _ in range(4)]
        for sock in fillers:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        await asyncio.sleep(0.05)
        mesh = FakeMesh(f"127.0.0.1:{listener.getsockname()[1]}")
        async with client_of(mesh, timeout=0.15) as client:
            with pytest.raises(ThriftDeadlineExceeded, match="no connection in time"):
                await client.ping("x")
            assert mesh.endpoints[0].failures == 1
        for sock in fillers:
            sock.close()


async def test_refused_connection_goes_to_the_next_endpoint(refused: Callable[[], str]) -> None:
    dead = refused()
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(dead, server.address)
        async with client_of(mesh) as client:
            assert [await client.ping(str(number)) for number in range(4)] == ["0", "1", "2", "3"]
            assert [each.failures for each in mesh.endpoints] == [1, 0]
    async with client_of(FakeMesh(dead)) as client:
        with pytest.raises(ThriftUnavailable, match=dead):
            await client.ping("x")


async def test_server_closing_during_the_call_fails_it_and_runs_it_once() -> None:
    seen = []

    def serve(sock: socket.socket) -> None:
        seen.append(receive_frame(sock))

    with listening(serve) as address:
        async with client_of(FakeMesh(address, address)) as client:
            with pytest.raises(ThriftUnavailable, match="may have run"):
                await client.ping("x")
    assert len(seen) == 1


async def test_connection_closed_while_idle_is_not_used() -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(ping_answer(int.from_bytes(receive_frame(sock)[12:16], "big")))

    with listening(serve) as address:
        mesh = FakeMesh(address)
        async with client_of(mesh) as client:
            for _ in range(3):
                assert await client.ping("x") == "pong"
                await until(lambda: not pool_of(mesh).idle[0].fresh)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda seqid: ping_answer(seqid + 1), "sequence id"),
        (lambda seqid: struct.pack(">i", 2**31 - 1), "frame of 2147483647 bytes"),
        (lambda seqid: struct.pack(">i", -5) + b"x" * 20, "negative size"),
        (lambda seqid: struct.pack(">i", 8) + b"\x80\x01\0\x02\0\0\0\x09", "length beyond the message"),
    ],
)
async def test_answer_that_is_none_is_a_protocol_error(answer: Any, what: str) -> None:
    with answering(answer) as address:
        mesh = FakeMesh(address)
        async with client_of(mesh) as client:
            with pytest.raises(ThriftProtocolError, match=what):
                await client.ping("x")
            assert repr(mesh.endpoints[0].connection).endswith("0 open, 0 idle>")


async def test_bytes_sent_unasked_close_the_connection() -> None:
    def unasked(sock: socket.socket) -> None:
        # After the answer has been taken, and so not in the same piece.
        asked_again.wait(5)
        sock.sendall(ping_answer(99, b"stale"))

    asked_again = threading.Event()
    with answering(ping_answer, unasked) as address:
        mesh = FakeMesh(address)
        async with client_of(mesh) as client:
            assert await client.ping("x") == "pong"
            assert pool_of(mesh).idle[0].fresh
            asked_again.set()
            await until(lambda: not pool_of(mesh).idle[0].fresh)
            assert await client.ping("x") == "pong"


async def test_options_attachments_and_arguments() -> None:
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh) as client:
            calls = mesh.routers[0].snapshot.calls = []
            with attachments({"User": "admin"}):
                assert await client.with_options(attachments={"zone": "z"}).add(1) == 6
            with pytest.raises(TypeError):
                await client.ping("a", "b")
            with pytest.raises(TApplicationException, match="is required"):
                await client.needed()
            with pytest.raises(AttributeError):
                await client.pong()
            assert calls == [("/example.everything.Everything/add", {"user": "admin", "zone": "z"})]
            assert {"ping", "with_options"} <= set(dir(client))
            assert repr(client) == "<AioThriftClient Everything of x:1>"
        with pytest.raises(UsageError, match="closed"):
            await client.ping("x")


async def test_configuration_that_does_not_come() -> None:
    async with client_of(FakeMesh(configured=False)) as client:
        with pytest.raises(ThriftDeadlineExceeded, match="last xDS error"):
            await client.ping("x")


async def test_pool_limit_makes_calls_wait_for_one_another() -> None:
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh, pool=PoolLimits(connections=2)) as client:
            assert await asyncio.gather(*(client.slow(0.02) for _ in range(8))) == ["done"] * 8
            assert repr(mesh.endpoints[0].connection).endswith("2 open, 2 idle>")
            busy = [asyncio.create_task(client.slow(5.0)) for _ in range(2)]
            await asyncio.sleep(0.02)
            with pytest.raises(ThriftDeadlineExceeded, match="are in use"):
                await client.with_options(timeout=0.1).ping("x")
            assert mesh.endpoints[0].failures == 0
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            assert await client.ping("x") == "x"


async def test_drain_finishes_the_running_call_and_takes_no_more() -> None:
    handler = AioHandler()
    async with serving(handler) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh) as client:
            await client.ping("x")
            running = asyncio.create_task(client.slow(5.0))
            await until(lambda: handler.running == 1)
            leaving = mesh.endpoints[0]
            drainer = threading.Thread(target=leaving.connection.drain)
            drainer.start()
            await asyncio.to_thread(drainer.join)
            with pytest.raises(ThriftUnavailable, match="left the mesh"):
                await client.ping("x")
            handler.let_go.set()
            assert await running == "done"
            pool = leaving.connection.here(asyncio.get_running_loop())
            assert (pool.open, pool.idle) == (0, [])


def test_one_client_in_several_loops() -> None:
    with thriftpy2_server("framed-binary", Handler()) as address:
        mesh = FakeMesh(address)
        client = ThriftTransport(mesh).aio_client(idl.Everything, "x:1", framing="framed", timeout=5.0)

        async def work(number: int) -> None:
            for _ in range(20):
                assert await client.ping(str(number)) == str(number)
            # What a loop leaves open ends with it.
            mesh.endpoints[0].connection.here(asyncio.get_running_loop()).close_idle()
            await asyncio.sleep(0)

        threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        client.close()
        mesh.close()


async def test_many_tasks_get_their_own_answers() -> None:
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh, pool=PoolLimits(connections=8), timeout=30.0) as client:
            texts = [f"{number}" * (1 + number % 7 * 500) for number in range(500)]
            assert await asyncio.gather(*(client.ping(text) for text in texts)) == texts
            pool = mesh.endpoints[0].connection.here(asyncio.get_running_loop())
            assert pool.open == len(pool.idle) <= 8


# -- cancellation ------------------------------------------------------------------------------------------------


def in_balance(mesh: FakeMesh) -> bool:
    pool = mesh.endpoints[0].connection.here(asyncio.get_running_loop())
    return pool.open == len(pool.idle) and not any(not waiter.done() for waiter in pool._waiters)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("full", [False, True])
async def test_cancelling_at_each_turn_of_the_loop_leaves_the_pool_in_balance(warm: bool, full: bool) -> None:
    """The call is cancelled after 0, 1, 2, ... turns, until it finishes before that: every await is met."""
    handler = AioHandler()
    async with serving(handler) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh, pool=PoolLimits(connections=1)) as client:
            for turns in range(200):
                if warm:
                    await client.ping("warm")
                else:
                    mesh.endpoints[0].connection.here(asyncio.get_running_loop()).close_idle()
                other = asyncio.create_task(client.ping("other")) if full else None
                task = asyncio.create_task(client.ping("cancelled"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                done = task.done()
                task.cancel()
                result = (await asyncio.gather(task, return_exceptions=True))[0]
                assert isinstance(result, asyncio.CancelledError) or (done and result == "cancelled")
                if other is not None:
                    assert await other == "other"
                assert in_balance(mesh), turns
                assert await client.ping("next") == "next"
                if done:
                    break
            else:
                raise AssertionError("the call never finished")
            assert turns > 2


async def test_random_cancels_never_mix_up_answers() -> None:
    rng = random.Random(7)
    async with serving(AioHandler()) as server:
        mesh = FakeMesh(server.address)
        async with client_of(mesh, pool=PoolLimits(connections=4), timeout=30.0) as client:

            async def one(number: int) -> None:
                task = asyncio.create_task(client.ping(str(number)))
                for _ in range(rng.randrange(12)):
                    await asyncio.sleep(0)
                if rng.random() < 0.5:
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    assert await task == str(number)

            for start in range(0, 1000, 20):
                await asyncio.gather(*(one(start + number) for number in range(20)))
            assert in_balance(mesh)
            assert await client.ping("after") == "after"


async def test_cancelled_caller_cancels_the_handler() -> None:
    handler = AioHandler()
    async with serving(handler) as server, client_of(FakeMesh(server.address)) as client:
        task = asyncio.create_task(client.slow(5.0))
        await until(lambda: handler.running == 1)
        task.cancel()
        await until(lambda: handler.cancelled == 1)
        assert await client.ping("x") == "x"


# -- the server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_closes_its_connection_only(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(AioHandler()) as server, client_of(FakeMesh(server.address)) as honest:
        assert await honest.ping("before") == "before"
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for start in range(0, len(GARBAGE[what]), 7):
            writer.write(GARBAGE[what][start : start + 7])
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(100), 5) == b""
        writer.close()
        assert await honest.ping("after") == "after"
        assert "closed 127.0.0.1:" in caplog.text


async def test_undeclared_exception_and_unknown_method_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(AioHandler()) as server, client_of(FakeMesh(server.address)) as client:
        with pytest.raises(TApplicationException) as error:
            await client.undeclared("x")
        assert str(error.value) == "Everything.undeclared failed"
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(framed(call(b"nope", seqid=5)) + framed(call(seqid=6)))
        first = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        second = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        assert b"no method 'nope'" in first and struct.pack(">i", 6) in second
        writer.close()
        await writer.wait_closed()


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving(AioHandler()) as server:
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"".join(framed(call(seqid=number)) for number in range(200)))
        expected = b"".join(
            framed(call(kind=2, seqid=number, body=b"\x0b\0\0\0\0\0\x01x\0")) for number in range(200)
        )
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 5) == expected
        writer.close()
        await writer.wait_closed()


async def test_oneway_calls_run_although_the_client_has_gone() -> None:
    class Slow(AioHandler):
        async def fire(self, text: str) -> None:
            await asyncio.sleep(0.02)
            self.fired.append(text)

    handler = Slow()
    handler.fire = Slow.fire.__get__(handler)  # type: ignore[method-assign]
    async with serving(handler) as server:
        async with client_of(FakeMesh(server.address)) as client:
            for number in range(3):
                await client.fire(str(number))
        await until(lambda: handler.fired == ["0", "1", "2"])


async def test_silent_slow_and_unreading_connections_are_closed() -> None:
    limits = ServerLimits(handshake_timeout=0.5, frame_timeout=0.5, idle_timeout=0.5)
    large = framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 8_000_000) + b"x" * 8_000_000 + b"\0"))
    async with serving(AioHandler(), limits=limits) as server, client_of(FakeMesh(server.address)) as honest:
        host, _, port = server.address.rpartition(":")
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        (silent_, _), (half, half_writer), (idle, idle_writer), (_, unreading) = pairs
        half_writer.write(framed(call())[:20])
        idle_writer.write(framed(call()))
        assert b"ping" in await idle.read(100)
        unreading.write(large)
        await honest.ping("x")
        for reader in (silent_, half, idle):
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(100), 5) == b""
        await until(lambda: not [peer for peer in server._peers if peer.task is not None])
        for _, writer in pairs:
            writer.close()


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_connection_that_comes_at_the_moment_of_stop_leaves_nothing_open(turns: int) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    server = await ThriftTransport(FakeMesh()).aio_server(idl.Everything, AioHandler(), "127.0.0.1:0").start()
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        # How far the loop is with the connection when the server stops.
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        sock.setblocking(False)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), 5) == b""
    gc.collect()
    assert not problems


async def test_connections_above_the_limit_are_closed() -> None:
    async with serving(AioHandler(), limits=ServerLimits(connections=2)) as server:
        host, _, port = server.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        for reader, writer in held:
            writer.write(framed(call()))
            assert await reader.read(100)
        reader, extra = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(100), 5) == b""
        for writer in (extra, *(each for _, each in held)):
            writer.close()


async def test_stop_lets_running_calls_finish_and_takes_no_more() -> None:
    handler = AioHandler()
    async with serving(handler) as server, client_of(FakeMesh(server.address)) as client:
        running = asyncio.create_task(client.slow(5.0))
        await until(lambda: handler.running == 1)
        stopping = asyncio.create_task(server.stop(10.0))
        await asyncio.sleep(0.02)
        assert repr(server).endswith("stopping>")
        with pytest.raises(ThriftUnavailable):
            await client.ping("x")
        handler.let_go.set()
        assert await running == "done"
        await stopping
        await server.stop()
        assert repr(server).endswith("stopped>")


async def test_stop_after_its_grace_cancels_what_still_runs() -> None:
    handler = AioHandler()
    async with serving(handler) as server, client_of(FakeMesh(server.address)) as client:
        running = asyncio.create_task(client.slow(30.0))
        await until(lambda: handler.running == 1)
        await server.stop(grace=0.05)
        with pytest.raises(ThriftUnavailable):
            await running
        await until(lambda: handler.cancelled == 1)


async def test_serve_ends_when_cancelled_and_with_the_mesh(tmp_path: Any) -> None:
    mesh = FakeMesh()
    server = ThriftTransport(mesh).aio_server(idl.Everything, AioHandler(), "127.0.0.1:0", labels={"v": "1"})
    assert server.labels == {"v": "1"} and repr(server).endswith("at 127.0.0.1:0 not started>")
    task = asyncio.create_task(server.serve())
    await until(lambda: server.address != "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert repr(server).endswith("stopped>")
    with pytest.raises(UsageError, match="started once"):
        await server.start()
    other = ThriftTransport(mesh).aio_server(idl.Everything, AioHandler(), f"unix:{tmp_path}/s")
    serving_ = asyncio.create_task(other.serve())
    await until(lambda: other.address != "")
    async with client_of(FakeMesh(other.address)) as client:
        assert await client.ping("x") == "x"
    mesh.close()
    await asyncio.wait_for(serving_, 5)
    assert not os.listdir(tmp_path)


async def test_a_new_endpoint_is_used_once_it_has_joined() -> None:
    async with serving(AioHandler()) as first, serving(AioHandler()) as second:
        mesh = FakeMesh(first.address)
        async with client_of(mesh) as client:
            await client.ping("x")
            joined = FakeEndpoint(second.address, mesh.connectors[0])
            mesh.endpoints.append(joined)
            mesh.routers[0].snapshot.destination.cluster.endpoints[:] = [joined]
            await client.ping("x")
            assert joined.connection.here(asyncio.get_running_loop()).open == 1
