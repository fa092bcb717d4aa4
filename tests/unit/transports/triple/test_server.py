"""Servers: grpc's own surface, version labels, attachments in handlers, an orderly stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import pyrpc_xds.errors
from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple import (
    AioTripleServer,
    PortNotBound,
    TripleServer,
    TripleTransport,
    incoming_attachments,
)
from tests.unit.transports.triple.conftest import Client, Greeter, eventually
from tests.unit.transports.triple.fakes import FakeMesh

ROOT = Path(__file__).resolve().parents[4]
ADDRESS = "127.0.0.1:0"


@pytest.fixture
def triple() -> TripleTransport:
    return TripleTransport(FakeMesh())


def closed(server: Any) -> None:
    server.stop(0).wait(5)
    del server._server  # grpc's pollers live as long as the object, and pytest keeps this one


@pytest.fixture
def servicer(pb: Any) -> Iterator[Greeter]:
    greeter = Greeter(pb, "v1")
    yield greeter
    greeter.release.set()


@pytest.fixture
def server(triple: TripleTransport, servicer: Greeter, pb_grpc: Any) -> Iterator[TripleServer]:
    server = triple.server(address=ADDRESS, labels={"dubbogoAppVersion": "v1"}, max_workers=4)
    pb_grpc.add_GreeterServicer_to_server(servicer, server)
    server.start()
    yield server
    servicer.release.set()
    closed(server)


class TestServer:
    def test_is_a_grpc_server_with_labels_and_a_port(self, server: TripleServer) -> None:
        assert isinstance(server, grpc.Server)
        assert server.labels == {"dubbogoAppVersion": "v1"}
        assert server.port

    def test_serves_generated_servicers(
        self, server: TripleServer, connect: Callable[..., Client], pb: Any, pb_grpc: Any
    ) -> None:
        stub = pb_grpc.GreeterStub(connect(f"127.0.0.1:{server.port}").channel)
        assert stub.SayHello(pb.HelloRequest(name="a")).id == "v1"
        assert len(list(stub.SayHelloServerStream(pb.HelloRequest(name="a")))) == 2

    @pytest.mark.may_leak("grpcio keeps the pollers of a server that was never started")
    def test_without_a_port_it_does_not_start(self, triple: TripleTransport) -> None:
        server = triple.server()
        for begin in (server.serve, server.start):
            with pytest.raises(UsageError, match=r"no port: pass address=.*add_insecure_port\(\)"):
                begin()
        server.add_insecure_port(ADDRESS)
        server.start()
        closed(server)

    def test_is_made_under_a_debugger_too(self, triple: TripleTransport) -> None:
        def trace(frame: Any, event: str, argument: Any) -> Any:
            assert frame.f_locals is not None
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            server = triple.server(address=ADDRESS, labels={"version": "v1"})
        finally:
            sys.settrace(before)
        assert server.labels == {"version": "v1"}
        server.start()
        closed(server)

    def test_port_of_http_is_one(self, triple: TripleTransport) -> None:
        server = triple.server()
        server.add_http_port(ADDRESS)
        server.start()
        closed(server)

    def test_port_that_is_taken_is_refused(self, server: TripleServer, triple: TripleTransport) -> None:
        with pytest.raises(PortNotBound, match=f"127.0.0.1:{server.port}") as caught:
            triple.server(address=f"127.0.0.1:{server.port}")
        assert isinstance(caught.value, pyrpc_xds.errors.ConfigError)
        assert isinstance(caught.value, RuntimeError)

    def test_calls_beyond_the_limit_are_refused(
        self,
        triple: TripleTransport,
        servicer: Greeter,
        connect: Callable[..., Client],
        pb: Any,
        pb_grpc: Any,
    ) -> None:
        server = triple.server(address=ADDRESS, maximum_concurrent_rpcs=1)
        pb_grpc.add_GreeterServicer_to_server(servicer, server)
        server.start()
        stub = pb_grpc.GreeterStub(connect(f"127.0.0.1:{server.port}").channel)
        running = stub.SayHello.future(pb.HelloRequest(name="hang"))
        eventually(lambda: servicer.calls)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="a"))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        servicer.release.set()
        assert running.result(5).id == "v1"
        closed(server)

    def test_handlers_and_interceptors_are_grpcs(
        self, triple: TripleTransport, connect: Callable[..., Client]
    ) -> None:
        seen = []

        class Note(grpc.ServerInterceptor):
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                seen.append(details.method)
                return continuation(details)

        echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        handlers = [grpc.method_handlers_generic_handler("any.Service", {"Echo": echo})]
        server = triple.server(address=ADDRESS, handlers=handlers, interceptors=[Note()])
        server.start()
        channel = connect(f"127.0.0.1:{server.port}").channel
        assert channel.unary_unary("/any.Service/Echo")(b"data") == b"data"
        assert seen == ["/any.Service/Echo"]
        closed(server)

    def test_stop_lets_running_calls_finish(
        self, server: TripleServer, servicer: Greeter, connect: Callable[..., Client], pb: Any, pb_grpc: Any
    ) -> None:
        stub = pb_grpc.GreeterStub(connect(f"127.0.0.1:{server.port}").channel)
        running = stub.SayHello.future(pb.HelloRequest(name="hang"))
        eventually(lambda: servicer.calls)
        stopped = server.stop()
        with pytest.raises(grpc.RpcError):
            stub.SayHello(pb.HelloRequest(name="a"))
        assert not stopped.is_set()
        servicer.release.set()
        assert running.result(5).id == "v1"
        assert stopped.wait(5)
        assert server.wait_for_termination(5) is False

    def test_stop_aborts_what_outlasts_the_grace(
        self, server: TripleServer, servicer: Greeter, connect: Callable[..., Client], pb: Any, pb_grpc: Any
    ) -> None:
        stub = pb_grpc.GreeterStub(connect(f"127.0.0.1:{server.port}").channel)
        running = stub.SayHello.future(pb.HelloRequest(name="hang"))
        eventually(lambda: servicer.calls)
        stopped = server.stop(0.05)
        assert isinstance(running.exception(5), grpc.RpcError)
        servicer.release.set()  # grpcio cannot end the handler's thread
        assert stopped.wait(5)

    def test_serve_returns_when_stopped_from_elsewhere(self, triple: TripleTransport) -> None:
        server = triple.server(address=ADDRESS)
        before = signal.getsignal(signal.SIGTERM)
        timer = threading.Timer(0.05, server.stop)
        timer.start()
        server.serve()
        timer.join()
        assert signal.getsignal(signal.SIGTERM) is before
        closed(server)


SERVE = """
import sys
sys.path.insert(0, {root!r})
from tests.unit.transports.triple.fakes import FakeMesh
from pyrpc_xds.transports.triple import TripleTransport
import asyncio, grpc, time

class Slow(grpc.GenericRpcHandler):
    def service(self, details):
        {define}
        return grpc.unary_unary_rpc_method_handler(handle)

triple = TripleTransport(FakeMesh())
{run}
print("drained", flush=True)
"""
SYNC = {
    "define": "handle = lambda request, context: (print('called', flush=True), time.sleep(0.3), request)[2]",
    "run": """
server = triple.server(address="127.0.0.1:0", handlers=[Slow()], grace=10)
print(server.port, flush=True)
server.serve()
""",
}
AIO = {
    "define": """
        async def handle(request, context):
            print('called', flush=True)
            await asyncio.sleep(0.3)
            return request
""",
    "run": """
async def main():
    server = triple.aio_server(address="127.0.0.1:0", handlers=[Slow()], grace=10)
    print(server.port, flush=True)
    await server.serve()
asyncio.run(main())
""",
}


@pytest.mark.parametrize("kind", [SYNC, AIO], ids=["sync", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_the_server(kind: dict[str, str], number: int) -> None:
    code = textwrap.dedent(SERVE).format(root=str(ROOT), **kind)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            future = channel.unary_unary("/any.Service/Method").future(b"data", wait_for_ready=True)
            assert process.stdout.readline() == "called\n"
            os.kill(process.pid, number)
            assert future.result(10) == b"data"
        assert process.wait(10) == 0
        assert process.stdout.read() == "drained\n"


class AioGreeter:
    def __init__(self, pb: Any) -> None:
        self.pb = pb
        self.seen: list[dict[str, str]] = []

    async def SayHello(self, request: Any, context: Any) -> Any:
        self.seen.append(dict(incoming_attachments(context)))
        if request.name == "slow":
            await asyncio.sleep(0.1)
        return self.pb.User(name=f"Hello {request.name}", id="v1")

    async def SayHelloServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield self.pb.User(name=f"Hello {request.name}", id="v1")

    async def SayHelloClientStream(self, requests: Any, context: Any) -> Any:
        names = [request.name async for request in requests]
        return self.pb.User(name="+".join(names), id="v1")

    async def SayHelloStream(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield self.pb.User(name=f"Hello {request.name}", id="v1")


class TestAioServer:
    async def test_serves_generated_servicers_in_all_kinds(
        self, triple: TripleTransport, pb: Any, pb_grpc: Any
    ) -> None:
        server = triple.aio_server(address=ADDRESS, labels={"version": "v1"})
        assert isinstance(server, grpc.aio.Server)
        assert server.labels == {"version": "v1"}
        servicer = AioGreeter(pb)
        pb_grpc.add_GreeterServicer_to_server(servicer, server)
        await server.start()
        mesh = FakeMesh(f"127.0.0.1:{server.port}")
        async with TripleTransport(mesh).aio_channel("xds:///greeter:80") as channel:
            stub = pb_grpc.GreeterStub(channel)
            request = pb.HelloRequest(name="a")
            with attachments({"user": "admin"}):
                assert (await stub.SayHello(request)).name == "Hello a"
            assert servicer.seen == [{"user": "admin"}]
            assert [user.name async for user in stub.SayHelloServerStream(request)] == ["Hello a"]
            assert (await stub.SayHelloClientStream(iter([request, request]))).name == "a+a"
            assert [user.name async for user in stub.SayHelloStream(iter([request]))] == ["Hello a"]
            running = asyncio.ensure_future(stub.SayHello(pb.HelloRequest(name="slow")))
            while len(servicer.seen) < 2:
                await asyncio.sleep(0.005)
            await server.stop()
            assert (await running).name == "Hello slow"
        assert await server.wait_for_termination(1) is False

    @pytest.mark.may_leak("grpc.aio keeps the pollers of a server that was never started")
    async def test_without_a_port_it_does_not_start(self, triple: TripleTransport) -> None:
        server: AioTripleServer = triple.aio_server()
        for begin in (server.serve, server.start):
            with pytest.raises(UsageError, match="no port"):
                await begin()
        server.add_http_port(ADDRESS)
        await server.start()
        await server.stop(0)

    @pytest.mark.may_leak("grpc.aio keeps the pollers of a server that was never started")
    async def test_port_that_is_taken_is_refused(self, triple: TripleTransport) -> None:
        server = triple.aio_server(address=ADDRESS)
        await server.start()
        with pytest.raises(PortNotBound):
            triple.aio_server(address=f"127.0.0.1:{server.port}")
        await server.stop(0)

    async def test_serve_returns_when_stopped_from_elsewhere(self, triple: TripleTransport) -> None:
        server: AioTripleServer = triple.aio_server(address=ADDRESS)
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0.05)
        await server.stop(0)
        await asyncio.wait_for(serving, 5)


class TestIncomingAttachments:
    class Context:
        def __init__(self, *pairs: tuple[str, Any]) -> None:
            self._pairs = pairs

        def invocation_metadata(self) -> Any:
            return self._pairs

    def test_transport_headers_are_left_out(self) -> None:
        context = self.Context(
            (":path", "/a/b"),
            ("user-agent", "grpc-go-triple/0.1.0"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-accept-encoding", "identity"),
            ("accept-encoding", "identity"),
            ("tri-service-version", "1.0"),
            ("blob-bin", b"\x00"),
            ("user", "admin"),
        )
        assert incoming_attachments(context) == {"user": "admin"}

    def test_repeated_names_are_joined(self) -> None:
        assert incoming_attachments(self.Context(("tag", "1"), ("tag", "2"))) == {"tag": "1,2"}

    def test_none_came(self) -> None:
        assert incoming_attachments(self.Context()) == {}

    def test_cannot_be_changed(self) -> None:
        with pytest.raises(TypeError):
            incoming_attachments(self.Context())["user"] = "other"  # type: ignore[index]

    def test_reach_sync_handlers(
        self, server: TripleServer, servicer: Greeter, connect: Callable[..., Client], pb: Any, pb_grpc: Any
    ) -> None:
        found: list[Any] = []
        servicer._note = lambda context: found.append(  # type: ignore[method-assign]
            dict(incoming_attachments(context))
        )
        stub = pb_grpc.GreeterStub(connect(f"127.0.0.1:{server.port}").channel)
        with attachments({"User": "admin", "zone": "a"}):
            stub.SayHello(pb.HelloRequest(name="a"), compression=grpc.Compression.Gzip)
        assert found == [{"user": "admin", "zone": "a"}]


def test_pool_of_a_stopped_server_goes_with_it(triple: TripleTransport) -> None:
    before = threading.active_count()
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    handlers = [grpc.method_handlers_generic_handler("any.Service", {"Echo": echo})]
    server = triple.server(address=ADDRESS, handlers=handlers)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, ThreadPoolExecutor(4) as pool:
        method = channel.unary_unary("/any.Service/Echo")
        assert list(pool.map(method, [b"a"] * 8)) == [b"a"] * 8
    assert threading.active_count() > before
    server.stop(0).wait(5)
    del server
    eventually(lambda: threading.active_count() == before)
