"""An asyncio channel: grpc.aio's own surface over routed calls, and nothing that blocks or leaks."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import Code, DeadlineExceeded, Unavailable, UsageError
from pyrpc_xds.transports.triple import (
    ChannelClosed,
    TripleDeadlineExceeded,
    TripleTransport,
    TripleUnavailable,
)
from tests.unit.transports.triple.conftest import Running
from tests.unit.transports.triple.fakes import FakeDestination, FakeMesh

Start = Callable[..., Running]


class AioClient:
    def __init__(self, *addresses: str, **options: Any) -> None:
        self.mesh = FakeMesh(*addresses)
        self.triple = TripleTransport(self.mesh)
        self.channel = self.triple.aio_channel("xds:///greeter:80", **options)
        self.router = self.mesh.routers[0]


Connect = Callable[..., AioClient]


@pytest_asyncio.fixture
async def connect_aio() -> AsyncIterator[Connect]:
    clients: list[AioClient] = []

    def make(*addresses: str, **options: Any) -> AioClient:
        clients.append(AioClient(*addresses, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.channel.close()
        client.mesh.close()


@pytest.fixture
def greeter(start: Start) -> Running:
    return start("v1")


@pytest_asyncio.fixture
async def client(connect_aio: Connect, greeter: Running) -> AioClient:
    return connect_aio(greeter.address)


@pytest.fixture
def stub(client: AioClient, pb_grpc: Any) -> Any:
    return pb_grpc.GreeterStub(client.channel)


async def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        await asyncio.sleep(0.005)
    assert condition(), "it did not come about in time"


class TestFourKinds:
    """Each twice: the first call waits for the connection, the second is grpc.aio's own object."""

    async def test_channel_is_a_grpc_aio_channel(self, client: AioClient) -> None:
        assert isinstance(client.channel, grpc.aio.Channel)

    async def test_unary(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            call = stub.SayHello(pb.HelloRequest(name="Joe"))
            assert isinstance(call, grpc.aio.UnaryUnaryCall)
            done = asyncio.Event()
            call.add_done_callback(lambda finished, done=done: done.set())
            assert await call == pb.User(name="Hello Joe", id="v1", age=3)
            assert await call == pb.User(name="Hello Joe", id="v1", age=3)
            assert await call.code() is grpc.StatusCode.OK
            assert ("version", "v1") in tuple(await call.initial_metadata())
            assert ("trail", "v1") in tuple(await call.trailing_metadata())
            assert await call.details() == ""
            await call.wait_for_connection()
            await asyncio.wait_for(done.wait(), 5)
            assert call.done() and not call.cancelled() and not call.cancel()

    async def test_unary_stream(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            call = stub.SayHelloServerStream(pb.HelloRequest(name="Joe"))
            assert isinstance(call, grpc.aio.UnaryStreamCall)
            assert [user.name async for user in call] == ["Hello Joe"] * 2
            assert await call.code() is grpc.StatusCode.OK

    async def test_unary_stream_read(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            call = stub.SayHelloServerStream(pb.HelloRequest(name="Joe"))
            assert (await call.read()).name == "Hello Joe"
            assert (await call.read()).name == "Hello Joe"
            assert await call.read() is grpc.aio.EOF

    async def test_stream_unary(self, stub: Any, pb: Any) -> None:
        async def names() -> AsyncIterator[Any]:
            for name in "abc":
                yield pb.HelloRequest(name=name)

        for requests in (names(), names(), [pb.HelloRequest(name=name) for name in "abc"]):
            call = stub.SayHelloClientStream(requests)
            assert isinstance(call, grpc.aio.StreamUnaryCall)
            assert (await call).name == "Hello a+b+c"

    async def test_stream_unary_write(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            call = stub.SayHelloClientStream()
            for name in "abc":
                await call.write(pb.HelloRequest(name=name))
            await call.done_writing()
            assert (await call).name == "Hello a+b+c"

    async def test_stream_stream(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            call = stub.SayHelloStream()
            assert isinstance(call, grpc.aio.StreamStreamCall)
            name = "a"
            for _ in range(3):
                await call.write(pb.HelloRequest(name=name))
                name = (await call.read()).name
            assert name == "Hello Hello Hello a"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            call = stub.SayHelloStream(iter([pb.HelloRequest(name="a"), pb.HelloRequest(name="b")]))
            assert [user.name async for user in call] == ["Hello a", "Hello b"]

    async def test_server_error_is_grpcios_own(self, stub: Any, pb: Any) -> None:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SayHello(pb.HelloRequest(name="abort"))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert caught.value.details() == "as asked"
            assert ("trail", "v1") in tuple(caught.value.trailing_metadata())


class TestRouting:
    async def test_route_decides_by_metadata_and_attachments(
        self, connect_aio: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect_aio(one.address)
        rest = FakeDestination(client.router.cluster(one.address, name="v1"))
        admin = FakeDestination(client.router.cluster(two.address, name="v2"))
        client.router.apply(lambda path, headers: admin if headers.get("user") == "admin" else rest)
        stub = pb_grpc.GreeterStub(client.channel)
        for _ in range(2):
            assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v1"
            metadata = grpc.aio.Metadata(("user", "admin"))
            assert (await stub.SayHello(pb.HelloRequest(name="a"), metadata=metadata)).id == "v2"
            with attachments({"user": "admin"}):
                assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v2"
        assert two.servicer.seen[-1]["user"] == "admin"

    async def test_refused_endpoint_is_skipped(
        self, connect_aio: Connect, start: Start, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        server, bad = start("v1"), refused()
        client = connect_aio(bad, server.address)
        stub = pb_grpc.GreeterStub(client.channel)
        answers = await asyncio.gather(*(stub.SayHello(pb.HelloRequest(name="a")) for _ in range(8)))
        assert [user.id for user in answers] == ["v1"] * 8
        assert [user.id async for user in stub.SayHelloServerStream(pb.HelloRequest(name="a"))] == ["v1"] * 2
        assert client.router.endpoints[bad].failures
        assert server.servicer.calls == 9

    async def test_idle_connection_that_broke_costs_no_call(
        self, connect_aio: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect_aio(one.address, two.address)
        stub = pb_grpc.GreeterStub(client.channel)
        assert {(await stub.SayHello(pb.HelloRequest(name="a"))).id for _ in range(4)} == {"v1", "v2"}
        channel = client.router.endpoints[one.address].connection.loops[asyncio.get_running_loop()]
        await asyncio.to_thread(one.stop)
        await eventually(lambda: not channel.ready())
        assert {(await stub.SayHello(pb.HelloRequest(name="a"))).id for _ in range(6)} == {"v2"}

    async def test_endpoint_that_left_finishes_its_stream(
        self, connect_aio: Connect, start: Start, pb: Any, pb_grpc: Any
    ) -> None:
        one, two = start("v1"), start("v2")
        client = connect_aio(one.address)
        stub = pb_grpc.GreeterStub(client.channel)
        stream = stub.SayHelloServerStream(pb.HelloRequest(name="hold"))
        assert (await stream.read()).id == "v1"
        hanging = stub.SayHello(pb.HelloRequest(name="hang"))
        await eventually(lambda: one.servicer.calls == 2)
        client.router.serve(two.address)
        assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v2"
        one.servicer.release.set()
        assert (await stream.read()).id == "v1"
        assert (await hanging).id == "v1"
        assert await stream.code() is grpc.StatusCode.OK

    async def test_blocking_and_asyncio_channels_share_what_is_known_of_endpoints(
        self, connect_aio: Connect, start: Start, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        server, bad = start("v1"), refused()
        client = connect_aio(bad, server.address)
        for _ in range(2):
            await pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        with client.triple.channel("xds:///greeter:80") as channel:
            assert len(client.mesh.routers) == 1
            blocking = pb_grpc.GreeterStub(channel)
            assert (await asyncio.to_thread(blocking.SayHello, pb.HelloRequest(name="a"))).id == "v1"
        assert client.router.endpoints[bad].failures == 1

    async def test_several_event_loops(self, client: AioClient, stub: Any, pb: Any, greeter: Running) -> None:
        assert (await stub.SayHello(pb.HelloRequest(name="here"))).id == "v1"

        async def elsewhere() -> Any:
            answers = [await stub.SayHello(pb.HelloRequest(name="there")) for _ in range(2)]
            connection = client.router.endpoints[greeter.address].connection
            await connection.loops[asyncio.get_running_loop()].channel.close()
            return answers

        answers = await asyncio.to_thread(asyncio.run, elsewhere())
        assert [user.name for user in answers] == ["Hello there"] * 2


class TestMeshErrors:
    async def test_no_route_fails_the_call_when_it_is_awaited(
        self, client: AioClient, stub: Any, pb: Any
    ) -> None:
        def no_route(path: str, headers: Any) -> FakeDestination:
            raise Unavailable("no route matches")

        client.router.apply(no_route)
        call = stub.SayHello(pb.HelloRequest(name="a"))
        with pytest.raises(TripleUnavailable) as caught:
            await call
        assert isinstance(caught.value, grpc.aio.AioRpcError)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.code == Code.UNAVAILABLE
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "no route matches" in await call.details()
        assert call.done() and not call.cancelled()
        with pytest.raises(TripleUnavailable):
            await stub.SayHelloServerStream(pb.HelloRequest(name="a")).read()
        with pytest.raises(TripleUnavailable):
            await stub.SayHelloStream().write(pb.HelloRequest(name="a"))

    async def test_failed_call_that_nobody_awaits_is_quiet(
        self, client: AioClient, stub: Any, pb: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.router.serve()
        call = stub.SayHello(pb.HelloRequest(name="a"))
        await asyncio.sleep(0)
        del call
        await asyncio.sleep(0)
        assert not caplog.records

    async def test_all_refused_says_where_and_why(
        self, connect_aio: Connect, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        bad = refused()
        stub = pb_grpc.GreeterStub(connect_aio(bad).channel)
        with pytest.raises(TripleUnavailable, match=f"{bad}.*Connection refused"):
            await stub.SayHello(pb.HelloRequest(name="a"))

    async def test_wait_for_ready(self, client: AioClient, stub: Any, pb: Any, greeter: Running) -> None:
        client.router.serve()
        asyncio.get_running_loop().call_later(0.1, client.router.serve, greeter.address)
        assert (await stub.SayHello(pb.HelloRequest(name="a"), wait_for_ready=True, timeout=5)).id == "v1"


class TestDeadlines:
    async def test_waiting_for_the_configuration_counts_and_does_not_block(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any
    ) -> None:
        stub = pb_grpc.GreeterStub(connect_aio().channel)
        ticks = 0
        call = stub.SayHello(pb.HelloRequest(name="a"), timeout=0.1)
        assert 0 < call.time_remaining() <= 0.1
        while not call.done():
            ticks += 1
            await asyncio.sleep(0.001)
        assert ticks > 5
        with pytest.raises(TripleDeadlineExceeded) as caught:
            await call
        assert isinstance(caught.value, DeadlineExceeded)

    async def test_shorter_deadline_ends_the_call(
        self, client: AioClient, stub: Any, pb: Any, greeter: Running
    ) -> None:
        client.router.serve(greeter.address, timeout=0.1)
        for timeout in (None, 60):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SayHello(pb.HelloRequest(name="hang"), timeout=timeout)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_endpoint_that_never_answers(
        self, connect_aio: Connect, start: Start, silent: str, pb: Any, pb_grpc: Any
    ) -> None:
        client = connect_aio(silent)
        stub = pb_grpc.GreeterStub(client.channel)
        with pytest.raises(TripleDeadlineExceeded, match=f"connecting to {silent}"):
            await stub.SayHello(pb.HelloRequest(name="a"), timeout=0.2)
        client.router.serve(silent, start("v1").address)
        calls = [stub.SayHello(pb.HelloRequest(name="a"), timeout=3) for _ in range(6)]
        assert [(await call).id for call in calls] == ["v1"] * 6
        await client.channel.close()


class TestCancellation:
    async def test_while_waiting_for_the_configuration(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect_aio()
        stub = pb_grpc.GreeterStub(client.channel)
        call = stub.SayHello(pb.HelloRequest(name="a"))
        await asyncio.sleep(0.01)
        assert not call.done()
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelled() and call.done()
        assert await call.code() is grpc.StatusCode.CANCELLED
        client.router.serve(greeter.address)
        assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v1"
        assert greeter.servicer.calls == 1

    async def test_of_the_task_that_awaits(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect_aio()
        stub = pb_grpc.GreeterStub(client.channel)

        async def wait(call: Awaitable[Any]) -> Any:
            return await call

        waiting = asyncio.create_task(wait(stub.SayHello(pb.HelloRequest(name="a"))))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        client.router.serve(greeter.address)
        await stub.SayHello(pb.HelloRequest(name="a"))
        running = asyncio.create_task(wait(stub.SayHello(pb.HelloRequest(name="hang"))))
        await eventually(lambda: greeter.servicer.calls == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(greeter.servicer.cancelled.wait, 5)

    async def test_asking_for_the_status_does_not_cancel(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect_aio()
        call = pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.code(), 0.01)
        client.router.serve(greeter.address)
        assert (await call).id == "v1"

    async def test_call_that_is_dropped_while_it_waits(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any
    ) -> None:
        client = connect_aio()
        client.mesh.default_wait = 60
        before = asyncio.all_tasks()
        call = pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks() - before) == 1
        del call
        await eventually(lambda: asyncio.all_tasks() == before)

    @pytest.mark.parametrize("connected", [True, False])
    async def test_of_the_task_that_writes_and_reads_ends_the_call(
        self, client: AioClient, stub: Any, pb: Any, connected: bool
    ) -> None:
        if connected:
            await stub.SayHello(pb.HelloRequest(name="a"))

        async def talk(call: Any) -> None:
            while True:
                await call.write(pb.HelloRequest(name="a"))
                await call.read()

        for steps in range(1, 20):
            call = stub.SayHelloStream()
            task = asyncio.create_task(talk(call))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.CANCELLED
            if not connected:
                client.router.serve()
                client.router.serve(client.mesh.addresses[0])

    async def test_at_any_moment_leaves_nothing(
        self, connect_aio: Connect, start: Start, refused: Callable[[], str], pb: Any, pb_grpc: Any
    ) -> None:
        chance = random.Random(7)
        server = start("v1")
        client = connect_aio(refused(), server.address)
        stub = pb_grpc.GreeterStub(client.channel)

        async def call(number: int) -> str:
            request = pb.HelloRequest(name=str(number))
            if number % 2:
                return str((await stub.SayHello(request)).name)
            names = [str(user.name) async for user in stub.SayHelloServerStream(request)]
            assert names == [f"Hello {number}"] * 2
            return names[0]

        async def cancelled(number: int) -> None:
            task = asyncio.create_task(call(number))
            await asyncio.sleep(chance.random() * 0.01)
            task.cancel()
            try:
                assert await task == f"Hello {number}"
            except asyncio.CancelledError:
                pass

        for batch in range(20):
            if batch % 5 == 0:
                client.router.serve()  # every fifth batch starts without a connection
                client.router.serve(refused(), server.address)
            await asyncio.gather(*(cancelled(number) for number in range(10)))
        assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v1"


class AddUser(
    grpc.aio.UnaryUnaryClientInterceptor,
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    async def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        details.metadata.add("user", "intercepted")
        return await continuation(details, request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


class TestInterceptors:
    async def test_metadata_of_interceptors_is_routed_and_sent_in_all_kinds(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect_aio(greeter.address, interceptors=[AddUser()])
        stub = pb_grpc.GreeterStub(client.channel)
        request = pb.HelloRequest(name="a")
        assert (await stub.SayHello(request)).id == "v1"
        assert len([user async for user in stub.SayHelloServerStream(request)]) == 2
        assert (await stub.SayHelloClientStream(iter([request]))).id == "v1"
        assert len([user async for user in stub.SayHelloStream(iter([request]))]) == 1
        written = stub.SayHelloClientStream()
        for name in "abc":
            await written.write(pb.HelloRequest(name=name))
        await written.done_writing()
        assert (await written).name == "Hello a+b+c"
        both = stub.SayHelloStream()
        await both.write(request)
        assert (await both.read()).name == "Hello a"
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF
        assert [seen["user"] for seen in greeter.servicer.seen] == ["intercepted"] * 6
        assert all(headers["user"] == "intercepted" for _, headers in client.router.snapshot.routed)

    async def test_write_to_a_call_that_has_failed_ends(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        client = connect_aio(greeter.address, interceptors=[AddUser()])
        call = pb_grpc.GreeterStub(client.channel).SayHelloStream()
        await call.write(pb.HelloRequest(name="a"))
        call.cancel()
        with pytest.raises((asyncio.InvalidStateError, asyncio.CancelledError)):
            for _ in range(10):
                await asyncio.wait_for(call.write(pb.HelloRequest(name="a")), 5)

    async def test_order_and_answers_of_interceptors(
        self, connect_aio: Connect, pb: Any, pb_grpc: Any, greeter: Running
    ) -> None:
        order: list[str] = []

        class Named(grpc.aio.UnaryUnaryClientInterceptor):
            def __init__(self, name: str) -> None:
                self.name = name

            async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                order.append(self.name)
                call = await continuation(details, request)
                if self.name == "outer":
                    user = await call
                    return pb.User(name=user.name + "!")
                return call

        client = connect_aio(greeter.address, interceptors=[Named("outer"), Named("inner")])
        call = pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        assert (await call).name == "Hello a!"
        assert await call.code() is grpc.StatusCode.OK
        assert order == ["outer", "inner"]

    async def test_object_that_intercepts_nothing_is_refused(self, connect_aio: Connect) -> None:
        with pytest.raises(UsageError, match=r"interceptors=.*client interceptors"):
            connect_aio("127.0.0.1:1", interceptors=[object()])


class TestChannel:
    async def test_ready_once_configured(self, connect_aio: Connect, greeter: Running) -> None:
        client = connect_aio()
        assert client.channel.get_state() is grpc.ChannelConnectivity.CONNECTING
        ready = asyncio.create_task(client.channel.channel_ready())
        await asyncio.sleep(0.01)
        assert not ready.done()
        client.router.serve(greeter.address)
        await asyncio.wait_for(ready, 5)
        assert client.channel.get_state() is grpc.ChannelConnectivity.READY
        changed = asyncio.create_task(client.channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        await client.channel.close()
        await asyncio.wait_for(changed, 5)
        assert client.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    async def test_transient_failure_while_there_is_no_such_target(self, connect_aio: Connect) -> None:
        client = connect_aio()
        client.router.fail(Unavailable("does not exist"))
        await asyncio.wait_for(client.channel.wait_for_state_change(grpc.ChannelConnectivity.CONNECTING), 5)
        assert client.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def test_closed_channel_refuses_calls(self, client: AioClient, stub: Any, pb: Any) -> None:
        async with client.channel:
            assert (await stub.SayHello(pb.HelloRequest(name="a"))).id == "v1"
        await client.channel.close()
        with pytest.raises(ChannelClosed):
            stub.SayHello(pb.HelloRequest(name="a"))
        with pytest.raises(ChannelClosed):
            await client.channel.channel_ready()
        assert client.router.closed

    async def test_close_cancels_what_runs_or_waits(
        self, client: AioClient, stub: Any, pb: Any, pb_grpc: Any, greeter: Running, connect_aio: Connect
    ) -> None:
        await stub.SayHello(pb.HelloRequest(name="a"))
        running = stub.SayHello(pb.HelloRequest(name="hang"))
        await eventually(lambda: greeter.servicer.calls == 2)
        unconfigured = connect_aio()
        waiting = pb_grpc.GreeterStub(unconfigured.channel).SayHello(pb.HelloRequest(name="a"))
        await client.channel.close()
        await unconfigured.channel.close()
        for call in (running, waiting):
            with pytest.raises(asyncio.CancelledError):
                await call

    async def test_close_with_grace_lets_calls_finish(
        self, client: AioClient, stub: Any, pb: Any, greeter: Running
    ) -> None:
        running = stub.SayHello(pb.HelloRequest(name="hang"))
        await eventually(lambda: greeter.servicer.calls == 1)
        threading.Timer(0.1, greeter.servicer.release.set).start()
        await client.channel.close(grace=5)
        assert (await running).id == "v1"

    async def test_client_that_closes_closes_its_channels(
        self, client: AioClient, stub: Any, pb: Any
    ) -> None:
        await stub.SayHello(pb.HelloRequest(name="a"))
        await asyncio.to_thread(client.mesh.close)
        with pytest.raises(ChannelClosed):
            stub.SayHello(pb.HelloRequest(name="a"))

    async def test_client_that_closes_ends_calls_that_wait_for_ready(
        self, client: AioClient, stub: Any, pb: Any, refused: Callable[[], str]
    ) -> None:
        client.router.serve(refused())
        waiting = stub.SayHello(pb.HelloRequest(name="a"), wait_for_ready=True)
        await eventually(lambda: client.router.snapshot and client.router.snapshot.routed)
        await asyncio.to_thread(client.mesh.close)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await asyncio.wait_for(asyncio.shield(waiting), 5)
        assert failed.value.code() is grpc.StatusCode.CANCELLED

    async def test_dropped_channel_gives_its_target_up(self, client: AioClient) -> None:
        client.triple.aio_channel("xds:///dropped:80")
        router = client.mesh.routers[-1]
        gc.collect()
        await client.triple.aio_channel("xds:///greeter:80").close()
        assert router.closed and not client.router.closed
