"""Bad input to a server: the right status, soon, and a server that goes on serving."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from pyrpc_xds.transports.triple import TripleTransport
from tests.unit.transports.triple.conftest import Greeter
from tests.unit.transports.triple.fakes import FakeMesh

PATH = "/org.apache.dubbo.sample.Greeter/SayHello"


@pytest.fixture
def port(pb: Any, pb_grpc: Any) -> Iterator[int]:
    """Of a server that must answer an ordinary call after whatever the test did."""
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", max_workers=2)
    pb_grpc.add_GreeterServicer_to_server(Greeter(pb, "v1"), server)
    server.start()
    yield server.port  # type: ignore[misc]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert pb_grpc.GreeterStub(channel).SayHello(pb.HelloRequest(name="x"), timeout=10).id == "v1"
    server.stop(0).wait(5)
    del server._server


def status_of(port: int, request: bytes, **options: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PATH)(request, timeout=20, **options)
        return caught.value.code()


def test_message_beyond_the_limit_is_resource_exhausted(port: int) -> None:
    assert status_of(port, bytes(5 << 20)) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_message_that_grows_beyond_the_limit_when_inflated_is_resource_exhausted(port: int) -> None:
    # 64 MiB of zeros travel as 64 KiB.
    assert (
        status_of(port, bytes(64 << 20), compression=grpc.Compression.Gzip)
        is grpc.StatusCode.RESOURCE_EXHAUSTED
    )


@pytest.mark.may_leak("pytest keeps the traceback that grpcio logs, and it the server's call")
def test_message_that_is_none_is_internal(port: int) -> None:
    assert status_of(port, b"\xff\xff\xff") is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    "data",
    [
        b"POST /org.apache.dubbo.sample.Greeter/SayHello HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"\x00" * 64,
        b"\x82\x21\x80\x01\x00\x00\x00\x04ping\x00\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    ],
    ids=["HTTP/1.1", "zeros", "Thrift", "broken frames"],
)
def test_another_protocol_ends_its_connection(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(data)
        received = 0
        try:
            while chunk := peer.recv(4096):
                received += len(chunk)
        except ConnectionResetError:
            pass
        assert received < 1024


def test_tls_to_a_plain_port_fails_at_the_handshake(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as peer,
        pytest.raises((OSError, ssl.SSLError)),
    ):
        context.wrap_socket(peer)


@pytest.mark.parametrize(
    "pairs",
    [
        (("tri-service-version", "x" * 4000),),
        (("tri-service-timeout", "9" * 2000), ("timeout", "9" * 2000 + "s")),
        (("rpc-persist-", "x"), ("rpc-persist-rpc-persist-a", "x")),
        (("traceparent", "broken"), ("baggage", "=;,=%%%")),
        tuple((f"name-{number}", "x") for number in range(60)),
    ],
    ids=["version", "timeouts", "prefixes", "tracing", "many"],
)
def test_odd_metadata_does_no_harm(port: int, pairs: Any, pb: Any, pb_grpc: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = pb_grpc.GreeterStub(channel).SayHello(pb.HelloRequest(name="x"), timeout=10, metadata=pairs)
    assert answer.id == "v1"
