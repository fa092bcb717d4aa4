"""application/grpc+json on a gRPC port, told by the first byte."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.grpc_json import accepting_json
from tests.unit.transports.triple.fakes import FakeMesh

SERVICE = "/org.apache.dubbo.sample.Greeter/"


class Servicer:
    def __init__(self, pb: Any) -> None:
        self.pb = pb

    def SayHello(self, request: Any, context: Any) -> Any:
        return self.pb.User(name=f"Hello {request.name}")

    def SayHelloServerStream(self, request: Any, context: Any) -> Any:
        yield self.pb.User(name=request.name)
        yield self.pb.User(name=request.name)

    def SayHelloClientStream(self, requests: Any, context: Any) -> Any:
        return self.pb.User(name="+".join(request.name for request in requests))

    def SayHelloStream(self, requests: Any, context: Any) -> Any:
        for request in requests:
            yield self.pb.User(name=request.name)


@pytest.mark.parametrize("aio", [False, True], ids=["sync", "asyncio"])
async def test_calls_of_every_kind_are_answered_in_the_form_they_came(
    aio: bool, pb: Any, pb_grpc: Any
) -> None:
    triple = TripleTransport(FakeMesh())
    server: Any = (triple.aio_server if aio else triple.server)(address="127.0.0.1:0", max_workers=4)
    server.add(pb_grpc.add_GreeterServicer_to_server, Servicer(pb))
    await server.start() if aio else server.start()

    def call(request: bytes) -> list[bytes]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            return [
                channel.unary_unary(SERVICE + "SayHello")(request, timeout=10),
                *channel.unary_stream(SERVICE + "SayHelloServerStream")(request, timeout=10),
                channel.stream_unary(SERVICE + "SayHelloClientStream")(iter([request, request]), timeout=10),
                *channel.stream_stream(SERVICE + "SayHelloStream")(iter([request]), timeout=10),
            ]

    answers = await asyncio.to_thread(call, b'{"name":"Joe"}')
    assert [json.loads(answer)["name"] for answer in answers] == ["Hello Joe", "Joe", "Joe", "Joe+Joe", "Joe"]
    answers = await asyncio.to_thread(call, pb.HelloRequest(name="Joe").SerializeToString())
    assert [pb.User.FromString(answer).name for answer in answers] == [
        "Hello Joe",
        "Joe",
        "Joe",
        "Joe+Joe",
        "Joe",
    ]
    if aio:
        await server.stop(0)
    else:
        await asyncio.to_thread(server.stop(0).wait, 10)
    del server._server


def handler(cls: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        lambda request, context: request, cls.FromString, cls.SerializeToString
    )


def test_what_is_neither_is_protobufs_error(pb: Any) -> None:
    taken = accepting_json(handler(pb.HelloRequest))
    for data in (b"{", b'{"nme":"x"}', b"{}}", b"\xff"):
        with pytest.raises(Exception, match=r"(?i)pars"):
            taken.request_deserializer(data)


def test_message_type_with_a_field_15_is_left_alone() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="fifteen.proto", package="t", syntax="proto2")
    message = file.message_type.add(name="M")
    message.nested_type.add(name="G")
    message.field.add(name="g", number=15, type=10, label=1, type_name=".t.M.G")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    cls = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.M"))
    given = handler(cls)
    assert accepting_json(given) is given
    assert cls.FromString(b"{|").SerializeToString() == b"{|"  # that is a message of it


def test_other_deserializers_are_left_alone(pb: Any) -> None:
    for given in (grpc.unary_unary_rpc_method_handler(lambda r, c: r), None):
        assert accepting_json(given) is given
