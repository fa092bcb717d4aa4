"""The transport as applications reach it: ``xds.thrift`` of a real client of the mesh, without a control plane."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import thriftpy2

import pyrpc_xds
from pyrpc_xds.bootstrap import Bootstrap, Node, Server
from pyrpc_xds.transports.thrift import ThriftTransport, ThriftUnavailable

ROOT = Path(__file__).parents[2]
greeter = thriftpy2.load(str(ROOT / "idl" / "greeter.thrift"), module_name="direct_greeter_thrift")


class Greeter:
    def SayHello(self, request: Any) -> Any:
        return greeter.User(name=f"Hello {request.name}", id="v1.0.0", age=21)


@pytest.fixture
def xds() -> Iterator[pyrpc_xds.XdsClient]:
    # Nobody is there, and nobody is asked.
    bootstrap = Bootstrap(
        servers=(Server("127.0.0.1:1"),), node=Node("sidecar~127.0.0.1~a.b~b.svc.cluster.local")
    )
    with pyrpc_xds.XdsClient(bootstrap) as client:
        yield client


@pytest.mark.parametrize("form", ["direct:///{}", "{}"])
def test_greeter_without_a_control_plane(xds: pyrpc_xds.XdsClient, form: str) -> None:
    assert isinstance(xds.thrift, ThriftTransport)
    server = xds.thrift.server(greeter.Greeter, Greeter(), "127.0.0.1:0", labels={"version": "v1"}).start()
    with xds.thrift.client(greeter.Greeter, form.format(server.address)) as client:
        user = client.SayHello(greeter.HelloRequest(name="Joe"))
        assert (user.name, user.id, user.age) == ("Hello Joe", "v1.0.0", 21)
        server.stop()
        with pytest.raises(ThriftUnavailable, match=r"/org\.apache\.dubbo\.sample\.Greeter/SayHello"):
            client.SayHello(greeter.HelloRequest(name="Joe"))


async def test_greeter_without_a_control_plane_in_asyncio(xds: pyrpc_xds.XdsClient) -> None:
    async with (
        xds.thrift.aio_server(greeter.Greeter, Greeter(), "127.0.0.1:0") as server,
        xds.thrift.aio_client(greeter.Greeter, f"direct:///{server.address}") as client,
    ):
        user = await client.SayHello(greeter.HelloRequest(name="Joe"))
        assert user.name == "Hello Joe"


def test_closing_the_mesh_closes_connections_and_servers(xds: pyrpc_xds.XdsClient) -> None:
    server = xds.thrift.server(greeter.Greeter, Greeter(), "127.0.0.1:0").start()
    client = xds.thrift.client(greeter.Greeter, f"direct:///{server.address}")
    client.SayHello(greeter.HelloRequest(name="Joe"))
    xds.close()
    assert repr(server).endswith("stopped>")


def test_a_client_may_be_copied(xds: pyrpc_xds.XdsClient) -> None:
    client = xds.thrift.client(greeter.Greeter, "direct:///127.0.0.1:1")
    assert repr(copy.copy(client)) == repr(client)
