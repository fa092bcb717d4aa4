"""Triple on nghttp2 with Envoy on the other side: our client calls it, and it calls our server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from benchmarks import envoy as configuration
from benchmarks import greeters
from pyrpc_xds import XdsClient, attachments
from pyrpc_xds.bootstrap import Bootstrap, Node, Server
from pyrpc_xds.errors import DeadlineExceeded

from .peers import envoy, greeter, triple_scene

pytestmark = [pytest.mark.interop, pytest.mark.may_leak("what the client and servers of all tests hold")]


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    """Our client, Envoy, our server."""
    if reason := envoy.skip_reason() or triple_scene.codec_missing():
        pytest.skip(reason)
    _, services = greeters.proto_modules()
    with contextlib.ExitStack() as stack:
        xds = stack.enter_context(XdsClient(Bootstrap((Server("127.0.0.1:1"),), Node("test"))))
        ports = {}
        for version in ("v1", "v2"):
            server = xds.triple.server(address="127.0.0.1:0", codec="nghttp2", max_workers=8)
            services.add_GreeterServicer_to_server(greeter.Greeter(version), server)
            server.start()
            stack.callback(lambda server=server: server.stop(0).wait(10))
            ports[version] = server.port
        nobody = {"v1": 1, "v2": 1}
        sidecar = stack.enter_context(envoy.EnvoyProcess(configuration.config(thrift=nobody, triple=ports)))
        channel = xds.triple.channel(f"direct:///127.0.0.1:{sidecar.port('triple')}", codec="nghttp2")
        yield services.GreeterStub(channel)


def request(name: str) -> Any:
    return greeters.proto_modules()[0].HelloRequest(name=name)


def test_attachment_is_the_header_that_envoy_routes_by(stub: Any) -> None:
    with attachments({"user": "admin"}):
        assert {stub.SayHello(request("Joe"), timeout=10).id for _ in range(20)} == {"v2"}


def test_messages_of_megabytes_pass(stub: Any) -> None:
    name = "x" * 2_000_000
    assert stub.SayHello(request(name), timeout=30).name == f"Hello {name}"


def test_callers_at_once_get_their_own_answers(stub: Any) -> None:
    with ThreadPoolExecutor(32) as pool:
        names = [str(number) * 20 for number in range(1000)]
        answers = pool.map(lambda name: stub.SayHello(request(name), timeout=30).name, names)
        assert list(answers) == [f"Hello {name}" for name in names]


def test_calls_that_end_by_their_deadline_leave_the_connections_whole(stub: Any) -> None:
    def hurried(number: int) -> str:
        try:
            return str(stub.SayHello(request(str(number)), timeout=0.002).name)
        except (DeadlineExceeded, grpc.RpcError):
            return ""

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(hurried, range(600)))
    assert all(answer in ("", f"Hello {number}") for number, answer in enumerate(answers))
    assert stub.SayHello(request("after"), timeout=10).name == "Hello after"


def test_streams_pass(stub: Any) -> None:
    requests = [request(name) for name in ("a", "b", "c")]
    assert [user.name for user in stub.SayHelloStream(iter(requests), timeout=10)] == [
        "Hello a",
        "Hello b",
        "Hello c",
    ]
