"""A client on a port of another protocol: its error, and the server's log, name that protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import pyrpc_xds
from examples.greeter import idl
from examples.greeter.server import ThriftGreeter, triple_servicer
from pyrpc_xds.transports.thrift.foreign import spoken
from tests.e2e.mesh import environment

FRAMINGS = ("buffered", "framed", "ttheader", "theader")


@pytest.fixture
def xds() -> Iterator[pyrpc_xds.XdsClient]:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:1")) as client:
        yield client


@pytest.fixture
def triple_target(xds: pyrpc_xds.XdsClient) -> Iterator[str]:
    server = xds.triple.server(address="127.0.0.1:0")
    idl.protobuf()[1].add_GreeterServicer_to_server(triple_servicer("v1"), server)
    server.start()
    yield f"direct:///127.0.0.1:{server.port}"
    server.stop(0).wait(5)


@pytest.fixture
def http_target(xds: pyrpc_xds.XdsClient) -> Iterator[str]:
    server = xds.triple.server()
    idl.protobuf()[1].add_GreeterServicer_to_server(triple_servicer("v1"), server)
    port = server.add_http_port("127.0.0.1:0")
    server.start()
    yield f"direct:///127.0.0.1:{port}"
    server.stop(0).wait(5)


@pytest.fixture
def thrift_target(xds: pyrpc_xds.XdsClient) -> Iterator[str]:
    with xds.thrift.server(idl.thrift().Greeter, ThriftGreeter("v1"), "127.0.0.1:0") as server:
        yield f"direct:///{server.address}"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that reads a little, says ``answer`` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.recv(65536)
                        peer.sendall(answer)
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"direct:///127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def request() -> Any:
    return idl.thrift().HelloRequest(name="Joe")


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    ("answer", "protocol"),
    [
        (b"\0\0\x18\x04\0\0\0\0\0\0\4\0\x3f\xff\xff", "HTTP/2 (gRPC, Triple)"),
        (b"\x15\x03\x01\0\x02\x02\x46", "TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1"),
    ],
)
def test_a_thrift_client_names_what_the_port_speaks(
    xds: pyrpc_xds.XdsClient, framing: str, answer: bytes, protocol: str
) -> None:
    says = f"the peer speaks {protocol}, not Thrift: is the port the right one?"
    service = idl.thrift().Greeter
    with answering(answer) as target:
        client = xds.thrift.client(service, target, framing=framing, timeout=5.0)
        with client, pytest.raises(pyrpc_xds.PyrpcXdsError) as caught:
            client.SayHello(request())
        assert says in str(caught.value)

        async def call() -> None:
            async with xds.thrift.aio_client(service, target, framing=framing, timeout=5.0) as client:
                await client.SayHello(request())

        with pytest.raises(pyrpc_xds.PyrpcXdsError) as caught:
            asyncio.run(call())
        assert says in str(caught.value)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_thrift_client_of_a_triple_server_names_its_protocol(
    xds: pyrpc_xds.XdsClient, triple_target: str, framing: str
) -> None:
    client = xds.thrift.client(idl.thrift().Greeter, triple_target, framing=framing, timeout=5.0)
    with client, pytest.raises(pyrpc_xds.PyrpcXdsError, match=r"the peer speaks HTTP/2 \(gRPC, Triple\)"):
        client.SayHello(request())


@pytest.mark.parametrize("protocol", ["binary", "compact"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_thrift_client_of_an_http_port_is_answered_and_names_its_protocol(
    xds: pyrpc_xds.XdsClient, http_target: str, framing: str, protocol: str
) -> None:
    # Less than the 10 s that the port waits for a whole head.
    client = xds.thrift.client(
        idl.thrift().Greeter, http_target, framing=framing, protocol=protocol, timeout=5.0
    )
    with client, pytest.raises(pyrpc_xds.PyrpcXdsError, match=r"the peer speaks HTTP/1.1, not Thrift"):
        client.SayHello(request())


@pytest.mark.parametrize("codec", ["grpcio", "nghttp2"])
def test_a_grpc_client_of_an_http_port_is_told_so(
    xds: pyrpc_xds.XdsClient, http_target: str, codec: str
) -> None:
    messages, services = idl.protobuf()
    with (
        xds.triple.channel(http_target, codec=codec) as channel,
        pytest.raises(grpc.RpcError, match=r"this port serves Triple over HTTP .*, not gRPC") as caught,
    ):
        services.GreeterStub(channel).SayHello(messages.HelloRequest(name="Joe"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_triple_client_of_a_thrift_server_says_so_on_both_sides(
    xds: pyrpc_xds.XdsClient, thrift_target: str, caplog: pytest.LogCaptureFixture
) -> None:
    messages, services = idl.protobuf()
    with (
        caplog.at_level(logging.WARNING),
        xds.triple.channel(thrift_target) as channel,
        pytest.raises(pyrpc_xds.Unavailable, match="is it a Thrift port, or one with TLS"),
    ):
        services.GreeterStub(channel).SayHello(messages.HelloRequest(name="Joe"), timeout=5)
    assert "the peer speaks HTTP/2 (gRPC, Triple), not Thrift" in caplog.text


@pytest.mark.parametrize(
    ("head", "protocol"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 (gRPC, Triple)"),
        (b"GET / HTTP/1.1\r\n", "HTTP/1.1"),
        (b"\x16\x03\x01\x02\0\x01", "TLS"),
        (b"\0\0\0\x04\0\0\0\0\0", "HTTP/2 (gRPC, Triple)"),
        (b"\x80\x01\0\x01\0\0\0\x04ping", ""),
        (b"\0\0\0\x20\x80\x01\0\x01\0", ""),
        (b"\0\0\0\x04\x80\x01\0\x01\0", ""),
        (b"", ""),
    ],
)
def test_a_protocol_is_known_by_its_first_bytes(head: bytes, protocol: str) -> None:
    assert spoken(head) == protocol
