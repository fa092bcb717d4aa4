"""Triple over a whole mesh: the real client, control plane and servers, in all four kinds of call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import baggage, context

import pyrpc_xds
from examples.greeter import idl
from pyrpc_xds.transports.triple import TripleDeadlineExceeded, TripleUnavailable, incoming_attachments
from tests.e2e.mesh import HOST, PORT, TARGET, Greeter, Mesh, environment, eventually, mesh, to

ADMIN_TO_V2 = f"""
- match: [{{headers: {{user: {{exact: admin}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: v2}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""


def request(name: str = "x") -> Any:
    return idl.protobuf()[0].HelloRequest(name=name)


def stub_of(channel: Any) -> Any:
    return idl.protobuf()[1].GreeterStub(channel)


class World:
    """A mesh with one greeter of each version, whose streams can be held."""

    def __init__(self, made: Mesh) -> None:
        self.mesh = made
        self.attached: list[dict[str, str]] = []
        self.held = threading.Event()
        self.one, self.two = self.serve("v1"), self.serve("v2")

    def serve(self, version: str) -> Greeter:
        world = self
        messages, services = idl.protobuf()
        user = messages.User(id=version)

        class Servicer(services.GreeterServicer):  # type: ignore[misc]
            def SayHello(self, request: Any, context: Any) -> Any:
                world.attached.append(dict(incoming_attachments(context)))
                return user

            def SayHelloServerStream(self, request: Any, context: Any) -> Iterator[Any]:
                yield user
                if request.name == "hold":
                    world.held.wait(10)
                yield user

            def SayHelloClientStream(self, requests: Any, context: Any) -> Any:
                return messages.User(id=version, age=sum(1 for _ in requests))

            def SayHelloStream(self, requests: Any, context: Any) -> Iterator[Any]:
                for _ in requests:
                    yield user

        server = self.mesh.client.triple.server(
            address="127.0.0.1:0", labels={"version": version}, max_workers=8
        )
        services.add_GreeterServicer_to_server(Servicer(), server)
        server.start()
        greeter = Greeter(version, f"127.0.0.1:{server.port}", lambda: server.stop(0).wait(10))
        self.mesh._stack.callback(greeter.stop)
        self.mesh.greeters.append(greeter)
        return greeter

    def stub(self, **options: Any) -> Any:
        return stub_of(self.mesh.client.triple.channel(TARGET, **options))


@pytest.fixture
def world() -> Iterator[World]:
    with mesh("triple") as made:
        world = World(made)
        yield world
        world.held.set()
    world.__dict__.clear()  # pytest keeps the fixture's value, and with it grpcio's pollers


def test_all_kinds_follow_the_route(world: World) -> None:
    world.mesh.apply(ADMIN_TO_V2)
    stub = world.stub()
    for metadata, version in ((None, "v1"), ((("user", "admin"),), "v2")):
        assert stub.SayHello(request(), metadata=metadata).id == version
        assert stub.SayHello.with_call(request(), metadata=metadata)[0].id == version
        assert stub.SayHello.future(request(), metadata=metadata).result(10).id == version
        assert [user.id for user in stub.SayHelloServerStream(request(), metadata=metadata)] == [version] * 2
        assert stub.SayHelloClientStream(iter([request()] * 3), metadata=metadata).age == 3
        assert [user.id for user in stub.SayHelloStream(iter([request()]), metadata=metadata)] == [version]


async def test_all_kinds_follow_the_route_from_asyncio(world: World) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield request()

    world.mesh.apply(ADMIN_TO_V2)
    async with world.mesh.client.triple.aio_channel(TARGET) as channel:
        stub = stub_of(channel)
        for metadata, version in ((None, "v1"), ((("user", "admin"),), "v2")):
            assert (await stub.SayHello(request(), metadata=metadata)).id == version
            stream = stub.SayHelloServerStream(request(), metadata=metadata)
            assert [user.id async for user in stream] == [version] * 2
            assert (await stub.SayHelloClientStream(requests(), metadata=metadata)).age == 1
            both = stub.SayHelloStream(metadata=metadata)
            await both.write(request())
            assert (await both.read()).id == version
            await both.done_writing()
            assert await both.read() is grpc.aio.EOF


def test_attachments_route_travel_and_arrive(world: World) -> None:
    world.mesh.apply(ADMIN_TO_V2)
    stub = world.stub()
    with pyrpc_xds.attachments({"user": "admin", "zone": "a"}):
        assert stub.SayHello(request()).id == "v2"
    assert stub.SayHello(request()).id == "v1"
    assert world.attached == [{"user": "admin", "zone": "a"}, {}]


BAGGAGE_LANE_TO_V2 = f"""
- match: [{{headers: {{baggage: {{regex: ".*env=dev.*"}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: v2}}}}]
- match: [{{headers: {{lane: {{exact: dev}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: v2}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""


@pytest.fixture
def entrance(world: World) -> Iterator[Any]:
    """A service outside of the lane that calls the greeter and knows of no lane; its stub."""
    world.mesh.apply(BAGGAGE_LANE_TO_V2)
    greeter = world.stub()

    def say_hello(request: Any, context: Any) -> Any:
        return greeter.SayHello(request, timeout=10)

    servicer = idl.protobuf()[1].GreeterServicer()
    servicer.SayHello = say_hello
    server = world.mesh.client.triple.server(address="127.0.0.1:0")
    idl.protobuf()[1].add_GreeterServicer_to_server(servicer, server)
    server.start()
    with world.mesh.client.triple.channel(f"direct:///127.0.0.1:{server.port}") as channel:
        yield stub_of(channel)
    server.stop(0).wait(10)
    del server._server


def test_lane_of_baggage_is_kept_behind_a_service_that_knows_no_lanes(entrance: Any) -> None:
    assert entrance.SayHello(request(), timeout=20).id == "v1"
    token = context.attach(baggage.set_baggage("env", "dev"))
    try:
        assert {entrance.SayHello(request(), timeout=20).id for _ in range(5)} == {"v2"}
    finally:
        context.detach(token)
    assert entrance.SayHello(request(), timeout=20).id == "v1"


def test_lane_of_persistent_attachments_is_kept_and_of_others_not(entrance: Any) -> None:
    with pyrpc_xds.attachments({"lane": "dev"}, persistent=True):
        assert entrance.SayHello(request(), timeout=20).id == "v2"
    with pyrpc_xds.attachments({"lane": "dev"}):
        assert entrance.SayHello(request(), timeout=20).id == "v1"


def test_method_and_path_can_be_matched_as_in_a_sidecar(world: World) -> None:
    world.mesh.apply(
        f"""
- match:
  - uri: {{prefix: /org.apache.dubbo.sample.Greeter/SayHelloC}}
    method: {{exact: POST}}
  route: [{{destination: {{host: {HOST}, subset: v2}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""
    )
    stub = world.stub()
    assert stub.SayHello(request()).id == "v1"
    assert stub.SayHelloClientStream(iter([request()])).id == "v2"


def test_stream_outlives_the_endpoint_and_the_channel_moves_on(world: World) -> None:
    world.mesh.apply(endpoints=[world.one])
    stub = world.stub()
    stream = stub.SayHelloServerStream(request("hold"))
    assert next(stream).id == "v1"
    world.mesh.apply(endpoints=[world.two])
    eventually(lambda: stub.SayHello(request()).id == "v2")
    assert {stub.SayHello(request()).id for _ in range(20)} == {"v2"}
    world.held.set()
    assert [user.id for user in stream] == ["v1"]
    assert stream.code() is grpc.StatusCode.OK


async def test_stream_outlives_the_endpoint_from_asyncio(world: World) -> None:
    world.mesh.apply(endpoints=[world.one])
    async with world.mesh.client.triple.aio_channel(TARGET) as channel:
        stub = stub_of(channel)
        stream = stub.SayHelloServerStream(request("hold"))
        assert (await stream.read()).id == "v1"
        world.mesh.apply(endpoints=[world.two])
        while (await stub.SayHello(request())).id != "v2":
            await asyncio.sleep(0.01)
        world.held.set()
        assert (await stream.read()).id == "v1"
        assert await stream.read() is grpc.aio.EOF


def test_subset_without_endpoints_is_unavailable_and_named(world: World) -> None:
    world.mesh.apply(to("empty"))
    with pytest.raises(TripleUnavailable, match=r"outbound\|9090\|empty\|greeter") as caught:
        world.stub().SayHello(request(), timeout=10)
    assert TARGET in caught.value.details()


async def test_unknown_host_is_unavailable_in_every_shape(world: World) -> None:
    world.mesh.apply()
    target = f"xds:///nobody.default.svc.cluster.local:{PORT}"
    with pytest.raises(TripleUnavailable, match="nobody"):
        await asyncio.to_thread(
            stub_of(world.mesh.client.triple.channel(target)).SayHello, request(), timeout=20
        )
    async with world.mesh.client.triple.aio_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).SayHello(request(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_unreachable_control_plane_ends_with_the_deadline() -> None:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:1")) as client:
        stub = stub_of(client.triple.channel(TARGET))
        with pytest.raises(TripleDeadlineExceeded, match=r"127\.0\.0\.1:1"):
            stub.SayHello(request(), timeout=0.5)
        future = stub.SayHello.future(request(), timeout=0.5)
        assert future.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_routes_timeout_ends_a_stream(world: World) -> None:
    world.mesh.apply(
        f"""
- timeout: 1s
  route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""
    )
    stub = world.stub()
    assert stub.SayHello(request()).id == "v1"
    stream = stub.SayHelloServerStream(request("hold"), timeout=60)
    assert next(stream).id == "v1"
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_direct_target_needs_no_control_plane(world: World) -> None:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:1")) as client:
        for target in (f"direct:///{world.one.address}", world.one.address):
            with client.triple.channel(target) as channel:
                assert stub_of(channel).SayHello(request(), timeout=10).id == "v1"
