"""Our clients through the sidecar that they replace: Envoy parses their bytes, routes them and passes them on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import envoy as configuration
from benchmarks import greeters
from pyrpc_xds import XdsClient, attachments
from pyrpc_xds.bootstrap import Bootstrap, Node, Server

from .peers import envoy

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def sidecar() -> Iterator[envoy.EnvoyProcess]:
    reason = envoy.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with (
        greeters.running("thrift", "v1") as thrift_v1,
        greeters.running("thrift", "v2") as thrift_v2,
        greeters.running("triple", "v1") as triple_v1,
        greeters.running("triple", "v2") as triple_v2,
        envoy.EnvoyProcess(
            configuration.config(
                thrift={"v1": thrift_v1, "v2": thrift_v2}, triple={"v1": triple_v1, "v2": triple_v2}
            )
        ) as process,
    ):
        yield process


@pytest.fixture
def xds() -> Iterator[XdsClient]:
    """A client without a control plane: its targets here are ``direct:///``."""
    with XdsClient(Bootstrap((Server("127.0.0.1:1"),), Node("test"))) as client:
        yield client


def test_triple_attachment_is_the_header_that_envoy_routes_by(
    sidecar: envoy.EnvoyProcess, xds: XdsClient
) -> None:
    protos, services = greeters.proto_modules()
    channel = xds.triple.channel(f"direct:///127.0.0.1:{sidecar.port('triple')}")
    stub = services.GreeterStub(channel)
    with attachments({"user": "admin"}):
        assert {stub.SayHello(protos.HelloRequest(name="Joe"), timeout=10).id for _ in range(20)} == {"v2"}


def test_thrift_call_passes_envoys_thrift_proxy(sidecar: envoy.EnvoyProcess, xds: XdsClient) -> None:
    greeter = greeters.thrift_module()
    client = xds.thrift.client(
        greeter.Greeter, f"direct:///127.0.0.1:{sidecar.port('thrift')}", framing="framed", timeout=10
    )
    user = client.SayHello(greeter.HelloRequest(name="Joe"))
    assert (user.name, user.age) == ("Hello Joe", 21)
    assert "thrift.thrift.request_call: 1" in sidecar.admin("stats?filter=request_call$")
