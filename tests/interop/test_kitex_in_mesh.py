"""Real Kitex servers in a mesh of the embedded control plane: our Thrift clients find and choose them by xDS.

Two Kitex processes are v1 and v2 of one service; VirtualServices say which takes a call, by header and by weight.
An answer does not say which one gave it, so who took a call is told by what each keeps: ``fired``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

import pyrpc_xds
from pyrpc_xds.controlplane import ControlPlane
from tests.e2e.mesh import environment, eventually
from tests.interop.peers.echo import idl
from tests.interop.peers.kitex import KitexServer, skip_reason
from tests.interop.peers.ours import KINDS, OurClient, our_client

pytestmark = pytest.mark.interop

HOST = "echo.default.svc.cluster.local"
TARGET = f"xds:///{HOST}:8888"
FRAMINGS = ("ttheader", "ttheader-framed")

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: default}}
spec:
  hosts: [{host}]
  addresses: [10.96.0.12]
  ports: [{{number: 8888, name: http-thrift, protocol: HTTP}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http-thrift: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http-thrift: {v2}}}, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: echo, namespace: default}}
spec:
  host: {host}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: default}}
spec:
  hosts: [{host}]
  http:
  - match: [{{headers: {{env: {{exact: dev}}}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
  - match: [{{headers: {{user: {{regex: "a.*n"}}}}, uri: {{prefix: /pyrpc.test.echo.Echo/}}}}]
    timeout: 1.5s
    route: [{{destination: {{host: {host}, subset: v1}}}}]
  - route:
    - {{destination: {{host: {host}, subset: v1}}, weight: {weight}}}
    - {{destination: {{host: {host}, subset: v2}}, weight: {rest}}}
"""


Servers = dict[str, KitexServer]


class Fleet:
    """Both versions, in a mesh."""

    def __init__(self, servers: Servers, stack: ExitStack) -> None:
        self.servers = servers
        self._direct = {
            version: stack.enter_context(our_client("sync", idl.Echo, server.address))
            for version, server in servers.items()
        }
        self.plane = ControlPlane(address="127.0.0.1:0")
        self.weigh(50)
        self.plane.start()
        stack.callback(self.plane.stop)

    def weigh(self, v1: int) -> None:
        """Percent of the calls that no header sends anywhere."""
        ports = {version: server.address.rpartition(":")[2] for version, server in self.servers.items()}
        self.plane.apply(SERVICE.format(host=HOST, weight=v1, rest=100 - v1, **ports))

    def taken(self) -> Counter[str]:
        """The oneway calls that each version has got since this was last asked."""
        return Counter({version: len(direct.fired()) for version, direct in self._direct.items()})


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    if reason := skip_reason():
        pytest.skip(reason)
    with KitexServer() as v1, KitexServer() as v2:
        yield {"v1": v1, "v2": v2}


@pytest.fixture
def fleet(servers: Servers) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(servers, stack)


@contextmanager
def client_of(fleet: Fleet, kind: str, framing: str) -> Iterator[OurClient]:
    with pyrpc_xds.XdsClient.from_env(environment(fleet.plane.address)) as xds:
        if kind == "sync":
            with xds.thrift.client(idl.Echo, TARGET, framing=framing, timeout=10.0) as client:
                yield OurClient(client, None)
            return
        with asyncio.Runner() as runner:

            async def start() -> Any:
                return xds.thrift.aio_client(idl.Echo, TARGET, framing=framing, timeout=10.0)

            async def stop() -> None:
                client.close()
                xds.close()
                await asyncio.sleep(0)  # closed transports let go of their sockets in the next turn

            client = runner.run(start())
            try:
                yield OurClient(client, runner)
            finally:
                runner.run(stop())


@pytest.fixture(params=[(kind, framing) for kind in KINDS for framing in FRAMINGS], ids="-".join)
def client(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[OurClient]:
    with client_of(fleet, *request.param) as client:
        yield client


def versions(fleet: Fleet, client: OurClient, calls: int) -> Counter[str]:
    """Who takes so many calls."""
    fleet.taken()
    seen: Counter[str] = Counter()
    for number in range(calls):
        client.fire(f"shot {number}")

    def all_there() -> bool:
        seen.update(fleet.taken())
        return seen.total() >= calls

    eventually(all_there)
    return +seen


def test_header_sends_calls_to_a_version_and_arrives_there(fleet: Fleet, client: OurClient) -> None:
    dyed = client.with_options(attachments={"env": "dev"})
    assert versions(fleet, dyed, 20) == {"v2": 20}
    seen = dyed.seen()
    assert seen.transients == {"env": "dev"}
    assert (seen.ints[6], seen.ints[9]) == (f"{HOST}:8888", "seen")
    with pyrpc_xds.attachments({"user": "admin"}, persistent=True):
        assert versions(fleet, client, 20) == {"v1": 20}
        assert client.seen().persistents == {"user": "admin"}


def test_weights_share_the_other_calls_out(fleet: Fleet, client: OurClient) -> None:
    assert versions(fleet, client, 200).keys() == {"v1", "v2"}
    shares = versions(fleet, client, 400)
    assert 130 < shares["v1"] < 270, shares  # half of 400, give or take 7 standard deviations


def test_weights_that_change_take_effect_in_a_client_that_is_open(fleet: Fleet, client: OurClient) -> None:
    client.ping("x")
    for percent, only in ((0, "v2"), (100, "v1")):
        fleet.weigh(percent)
        eventually(lambda only=only: versions(fleet, client, 10)[only] == 10)  # type: ignore[misc]
    assert client.ping("still here") == "still here"


def test_timeout_of_the_route_is_told_to_kitex_and_ends_the_call(fleet: Fleet, client: OurClient) -> None:
    limited = client.with_options(attachments={"user": "alan"})
    assert 0 < limited.seen().timeoutMs <= 1500
    # Kitex gives up at the same time, so its error may come before our own.
    with pytest.raises((pyrpc_xds.DeadlineExceeded, TApplicationException)) as error:
        limited.sleep(30_000)
    assert isinstance(error.value, pyrpc_xds.DeadlineExceeded) or "deadline exceeded" in str(error.value)
    assert client.sleep(1) == "slept"
