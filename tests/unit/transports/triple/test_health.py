"""Health and reflection: on by default, told of the drain first, and answering grpc's own clients."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from pyrpc_xds.errors import ConfigError
from pyrpc_xds.transports.triple import TripleTransport
from tests.unit.transports.triple.conftest import Greeter, eventually
from tests.unit.transports.triple.fakes import FakeMesh

SERVICE = "org.apache.dubbo.sample.Greeter"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
BUILT_IN = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


class Side:
    """A server of either kind with a greeter; its methods block."""

    def __init__(self, kind: str, pb: Any, pb_grpc: Any, **options: Any) -> None:
        self.kind = kind
        self.greeter = Greeter(pb, "v1")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def make() -> Any:
            triple = TripleTransport(FakeMesh())
            made: Any = triple.server if kind == "sync" else triple.aio_server
            server = made(address="127.0.0.1:0", max_workers=4, **options)
            pb_grpc.add_GreeterServicer_to_server(self.greeter, server)
            return server

        self.server = self.on_loop(make())

    def on_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self) -> None:
        if self.kind == "sync":
            self.server.start()
        else:
            self.on_loop(self.server.start())

    def set(self, service: str, serving: bool) -> None:
        async def on_loop() -> None:
            self.server.health.set(service, serving)

        if self.kind == "sync":
            self.server.health.set(service, serving)
        else:
            self.on_loop(on_loop())

    def stop(self, grace: float | None) -> None:
        """Stop, and wait for the end."""
        if self.kind == "sync":
            assert self.server.stop(grace).wait(10)
        else:
            self.on_loop(self.server.stop(grace))

    def close(self) -> None:
        self.greeter.release.set()
        self.stop(0)
        self.on_loop(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        del self.server


@pytest.fixture(params=["sync", "asyncio"])
def side(request: pytest.FixtureRequest, pb: Any, pb_grpc: Any) -> Iterator[Side]:
    side = Side(request.param, pb, pb_grpc)
    side.start()
    yield side
    side.close()


@contextlib.contextmanager
def channel_to(side: Side) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{side.server.port}") as channel:
        yield channel


def asked(name: str) -> Any:
    return health_pb2.HealthCheckRequest(service=name)


def test_server_and_its_services_are_serving(side: Side) -> None:
    with channel_to(side) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            assert stub.Check(asked(name), timeout=10).status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(asked("no.Such"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_status_that_is_set_is_told_and_watched(side: Side) -> None:
    with channel_to(side) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(asked(SERVICE), timeout=20)
        other = stub.Watch(asked("later"), timeout=20)
        assert (next(watch).status, next(other).status) == (SERVING, UNKNOWN)
        side.set(SERVICE, False)
        assert next(watch).status == NOT_SERVING
        assert stub.Check(asked(SERVICE), timeout=10).status == NOT_SERVING
        assert stub.Check(asked(""), timeout=10).status == SERVING
        side.set("later", True)
        assert next(other).status == SERVING
        side.set(SERVICE, True)
        assert next(watch).status == SERVING


def test_watchers_hear_of_the_stop_and_do_not_hold_it_up(side: Side, pb: Any, pb_grpc: Any) -> None:
    with channel_to(side) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(asked(name), timeout=20) for name in ("", SERVICE, "no.Such")]
        assert [next(watch).status for watch in watches] == [SERVING, SERVING, UNKNOWN]
        gone = stub.Watch(asked(""), timeout=20)
        next(gone)
        gone.cancel()
        side.stop(60)  # the watchers of this test would outlast it by far
        assert [[response.status for response in watch] for watch in watches] == [
            [NOT_SERVING],
            [NOT_SERVING],
            # grpcio's asyncio servicer and ours send no status twice
            [UNKNOWN] if side.kind == "sync" else [],
        ]
        assert {watch.code() for watch in watches} == {grpc.StatusCode.OK}


def test_stop_is_told_while_calls_still_run(side: Side, pb: Any, pb_grpc: Any) -> None:
    with channel_to(side) as channel:
        running = pb_grpc.GreeterStub(channel).SayHello.future(pb.HelloRequest(name="hang"), timeout=20)
        eventually(lambda: side.greeter.calls)
        watch = health_pb2_grpc.HealthStub(channel).Watch(asked(""), timeout=20)
        assert next(watch).status == SERVING
        stopping = threading.Thread(target=side.stop, args=(20,))
        stopping.start()
        assert next(watch).status == NOT_SERVING
        assert not running.done()
        side.greeter.release.set()
        assert running.result(10).id == "v1"
        stopping.join(10)


def test_watchers_that_go_are_forgotten(side: Side) -> None:
    with channel_to(side) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(asked(""), timeout=20) for _ in range(20)]
        assert {next(watch).status for watch in watches} == {SERVING}
        for watch in watches:
            watch.cancel()
        if side.kind == "sync":
            eventually(lambda: not side.server.health._watchers)
        assert stub.Check(asked(""), timeout=10).status == SERVING


def test_reflection_describes_the_services(side: Side) -> None:
    with channel_to(side) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {SERVICE, *BUILT_IN}
        pool = DescriptorPool(database)
        service = pool.FindServiceByName(SERVICE)
        assert "SayHello" in service.methods_by_name


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_both_can_be_left_out(kind: str, pb: Any, pb_grpc: Any) -> None:
    side = Side(kind, pb, pb_grpc, health=False, reflection=False)
    side.start()
    assert side.server.health is None
    with channel_to(side) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(asked(""), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    side.close()


def test_applications_own_health_service_is_left_alone(pb: Any, pb_grpc: Any) -> None:
    side = Side("sync", pb, pb_grpc)
    own = health.HealthServicer()
    own.set("own", NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(own, side.server)
    side.start()
    assert side.server.health is None
    with channel_to(side) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(asked("own"), timeout=10).status == NOT_SERVING
    side.close()


def test_versioned_services_have_the_same_health(pb: Any, pb_grpc: Any) -> None:
    side = Side("sync", pb, pb_grpc, version="1.0.0")
    side.start()
    mesh = FakeMesh(f"127.0.0.1:{side.server.port}")
    with TripleTransport(mesh).channel("xds:///greeter:80", version="1.0.0") as channel:
        assert pb_grpc.GreeterStub(channel).SayHello(pb.HelloRequest(), timeout=10).id == "v1"
        assert health_pb2_grpc.HealthStub(channel).Check(asked(SERVICE), timeout=10).status == SERVING
    mesh.close()
    side.close()


@pytest.mark.may_leak("grpcio keeps the pollers of a server that was never started")
@pytest.mark.parametrize(
    ("module", "option"), [("grpc_health.v1", "health"), ("grpc_reflection.v1alpha", "reflection")]
)
def test_asked_for_and_not_installed_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, option: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    given: Any = {"address": "127.0.0.1:0", option: True}
    server = TripleTransport(FakeMesh()).server(**given)
    with pytest.raises(ConfigError, match=r"pyrpc-xds\[triple\]"):
        server.start()
    server.stop(0).wait(5)  # what it listens on is closed
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0")
    server.start()
    server.stop(0).wait(5)


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_to_set_health_that_is_not_installed_names_the_extra(
    kind: str, pb: Any, pb_grpc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc_health.v1", None)
    side = Side(kind, pb, pb_grpc)
    side.start()
    with pytest.raises(ConfigError, match=r"the health service needs .*pip install 'pyrpc-xds\[triple\]'"):
        side.server.health.set(SERVICE, False)
    side.server.drain()
    side.close()


async def test_health_of_asyncio_servers_answers_asyncio_clients(pb: Any, pb_grpc: Any) -> None:
    server = TripleTransport(FakeMesh()).aio_server(address="127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch: Any = health_pb2_grpc.HealthStub(channel).Watch(asked(""), timeout=10)
        assert (await watch.read()).status == SERVING
        await server.stop(60)
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
    server._server = None
