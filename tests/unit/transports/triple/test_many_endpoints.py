"""How many connections a big service costs: one for each endpoint that was picked, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from pyrpc_xds.transports.triple.connection import Drained

MANY = 1_000


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The address of every channel that grpcio opens during the test."""
    addresses: list[str] = []
    original = grpc.insecure_channel

    def counted(target: str, *args: Any, **named: Any) -> grpc.Channel:
        addresses.append(target.removeprefix("ipv4:"))
        return original(target, *args, **named)

    monkeypatch.setattr(grpc, "insecure_channel", counted)
    return addresses


def test_thousand_endpoints_are_connected_only_as_they_are_picked(
    connect: Callable[..., Any], start: Callable[..., Any], opened: list[str], pb: Any, pb_grpc: Any
) -> None:
    servers = [start(f"v{number}") for number in range(3)]
    others = [f"127.1.{number >> 8}.{number & 255}:1" for number in range(1, MANY - len(servers) + 1)]
    client = connect(*(server.address for server in servers), *others)
    assert len(client.router.endpoints) == MANY
    stub = pb_grpc.GreeterStub(client.channel)
    assert opened == []
    assert [stub.SayHello(pb.HelloRequest(name="a")).id for _ in servers] == ["v0", "v1", "v2"]
    assert opened == [server.address for server in servers]


def test_all_callers_and_methods_of_an_endpoint_share_one_channel(
    connect: Callable[..., Any], start: Callable[..., Any], opened: list[str], pb: Any, pb_grpc: Any
) -> None:
    server = start("v1")
    client = connect(server.address)
    stubs = [pb_grpc.GreeterStub(client.channel) for _ in range(4)]
    request = pb.HelloRequest(name="a")

    def call(number: int) -> str:
        stub = stubs[number % len(stubs)]
        if number % 2:
            return next(iter(stub.SayHelloServerStream(request))).id  # type: ignore[no-any-return]
        return stub.SayHello(request).id  # type: ignore[no-any-return]

    with ThreadPoolExecutor(16) as callers:
        assert set(callers.map(call, range(64))) == {"v1"}
    assert opened == [server.address]


def test_endpoint_that_left_keeps_no_channel_and_opens_none(
    connect: Callable[..., Any], start: Callable[..., Any], opened: list[str], pb: Any, pb_grpc: Any
) -> None:
    server = start("v1")
    client = connect(server.address)
    stub = pb_grpc.GreeterStub(client.channel)
    stub.SayHello(pb.HelloRequest(name="a"))
    endpoint = client.router.endpoints[server.address]
    endpoint.connection.drain()
    assert not endpoint.connection.calls
    with pytest.raises(Drained):
        endpoint.connection.reach(("unary_unary", "/any", None, None, False), 1)
    assert opened == [server.address]
