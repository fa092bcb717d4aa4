"""Sidecar mode on the real istiod: what kitex-contrib/xds gets, with real Thrift calls behind it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

import pyrpc_xds
from examples.greeter import idl, scenario
from examples.greeter.server import ThriftGreeter
from pyrpc_xds.cli.app import app
from pyrpc_xds.errors import Unavailable
from tests.interop.peers import istiod
from tests.interop.peers.istiod import IstiodProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

V1, V2 = "v1.0.0", "v2.0.0"
CALLS = 1000
# A correct run fails a weighted test once in a thousand.
P_VALUE = 0.001
PATH = "/org.apache.dubbo.sample.Greeter/SayHello"
SETTLE_SECONDS = 20.0

SUBSETS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter}
spec:
  host: greeter
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""

# seeds/003: the outbound half of "EnvoyFilter Example - Thrift Traffic Splitting".
THRIFT_30_70 = """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: thrift-sample-server}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      listener:
        name: 10.96.1.1_9090
        filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}
    patch:
      operation: REPLACE
      value:
        name: envoy.filters.network.thrift_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy
          stat_prefix: "outbound|9090||greeter.default.svc.cluster.local"
          transport: AUTO_TRANSPORT
          protocol: AUTO_PROTOCOL
          thrift_filters:
          - name: envoy.filters.thrift.router
          route_config:
            routes:
            - match: {method_name: ""}
              route:
                weighted_clusters:
                  clusters:
                  - {name: "outbound|9090|v1|greeter.default.svc.cluster.local", weight: 30}
                  - {name: "outbound|9090|v2|greeter.default.svc.cluster.local", weight: 70}
"""

TCP_90_10 = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter}
spec:
  hosts: [greeter]
  tcp:
  - match: [{port: 9090}]
    route:
    - {destination: {host: greeter, subset: v1}, weight: 90}
    - {destination: {host: greeter, subset: v2}, weight: 10}
"""

HTTP_RULES = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: greeter}}
spec:
  hosts: [greeter]
  http:
  - match: [{{headers: {{stage: {{exact: canary}}}}, uri: {{exact: {PATH}}}}}]
    route: [{{destination: {{host: greeter, subset: v2}}}}]
  - route: [{{destination: {{host: greeter, subset: v1}}}}]
"""


class World:
    """An istiod and two greeters on addresses of their own, as pods of the Services ``greeter`` and ``headless``."""

    def __init__(self, peer: IstiodProcess, greeters: list[Any]) -> None:
        self.peer = peer
        self.greeters = greeters

    def apply(self, rules: str = "", *, tls: tuple[int, ...] = (), without: tuple[int, ...] = ()) -> None:
        """Make these rules the only ones.

        :param tls: the pods (0 and 1) that have a sidecar which takes mutual TLS.
        :param without: the pods that are away.
        """
        text = """
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec:
  clusterIP: 10.96.1.1
  clusterIPs: [10.96.1.1, "fd00::1:1"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  ports: [{name: tcp-thrift, port: 9090}, {name: http-thrift, port: 9080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  ports: [{name: tcp-thrift, port: 9190}, {name: http-thrift, port: 9180}]
"""
        for index, greeter in enumerate(self.greeters):
            if index in without:
                continue
            host, port = greeter.address.split(":")
            label = ", security.istio.io/tlsMode: istio" if index in tls else ""
            text += f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: greeter-{index}, labels: {{version: v{index + 1}{label}}}}}
status: {{podIP: {host}, phase: Running}}
"""
            for service in ("greeter", "headless"):
                text += f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{index}, labels: {{kubernetes.io/service-name: {service}, tls: "{index in tls}"}}}}
addressType: IPv4
ports: [{{name: tcp-thrift, port: {port}}}, {{name: http-thrift, port: {port}}}]
endpoints:
- {{addresses: [{host}], conditions: {{ready: true}}}}
"""
        self.peer.apply(text + SUBSETS + rules)

    def environment(self, **more: str) -> dict[str, str]:
        return {**scenario.workload("sidecar-client", self.peer.xds_address), "XDS_MODE": "sidecar", **more}

    @contextmanager
    def caller(self, target: str, **more: str) -> Iterator[Callable[[], str]]:
        """A function that calls SayHello and gives the version that answered."""
        module = idl.thrift()
        with pyrpc_xds.XdsClient.from_env(self.environment(**more)) as xds:
            greeter = xds.thrift.client(module.Greeter, target, timeout=10.0)
            yield lambda: str(greeter.SayHello(module.HelloRequest(name="x")).id)


@pytest.fixture(scope="module")
def peer() -> Iterator[IstiodProcess]:
    if reason := istiod.skip_reason():
        pytest.skip(reason)
    with IstiodProcess() as process:
        yield process


@pytest.fixture
def world(peer: IstiodProcess) -> Iterator[World]:
    # The client behind the servers never follows anything: they only serve.
    with pyrpc_xds.XdsClient.from_env(scenario.workload("servers", peer.xds_address)) as xds:
        module = idl.thrift()
        greeters = []
        for index, host in enumerate(("127.0.0.2", "127.0.0.3")):
            greeters.append(xds.thrift.server(module.Greeter, ThriftGreeter(f"v{index + 1}"), f"{host}:0"))
            greeters[-1].start()
        yield World(peer, greeters)
        for greeter in greeters:
            greeter.stop(0)


def settled(call: Callable[[], str], versions: set[str]) -> Counter[str]:
    """Call until a run shows exactly these versions, then count a whole run."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while {call() for _ in range(100)} != versions and time.monotonic() < deadline:
        pass
    return Counter(call() for _ in range(CALLS))


def test_envoy_filter_of_the_slides_splits_thrift_calls_30_to_70(world: World) -> None:
    world.apply(THRIFT_30_70)
    with world.caller("xds:///greeter.default.svc.cluster.local:9090") as call:
        seen = settled(call, {V1, V2})
    assert scenario.probability({V1: 0.3, V2: 0.7}, seen) > P_VALUE, seen


def test_envoy_filter_routes_by_method_service_and_header(world: World) -> None:
    start, _, _ = THRIFT_30_70.partition("            routes:")
    world.apply(
        f"""{start}
            routes:
            - match: {{method_name: SayGoodbye}}
              route: {{cluster: nowhere}}
            - match: {{service_name: Greeter, invert: true}}
              route: {{cluster: nowhere}}
            - match: {{service_name: Greeter, headers: [{{name: user, string_match: {{exact: admin}}}}]}}
              route: {{cluster: "outbound|9090|v2|greeter.default.svc.cluster.local"}}
            - match: {{method_name: SayHello}}
              route: {{cluster: "outbound|9090|v1|greeter.default.svc.cluster.local"}}
"""
    )
    with world.caller("xds:///greeter:9090") as call:
        assert settled(call, {V1}) == {V1: CALLS}
        with pyrpc_xds.attachments({"user": "admin"}):
            assert settled(call, {V2}) == {V2: CALLS}


def test_envoy_filter_that_comes_and_goes_loses_no_call(world: World) -> None:
    world.apply()
    failures: list[str] = []
    stop = threading.Event()
    with world.caller("xds:///greeter:9090") as call:
        seen = settled(call, {V1, V2})
        assert scenario.probability({V1: 0.5, V2: 0.5}, seen) > P_VALUE, seen

        def go_on() -> None:
            while not stop.is_set():
                try:
                    call()
                except Exception as error:
                    failures.append(f"{type(error).__name__}: {error}")

        background = threading.Thread(target=go_on)
        background.start()
        try:
            for rules, wanted in ((THRIFT_30_70, 0.3), (TCP_90_10, 0.9), ("", 0.5)):
                world.apply(rules)
                deadline = time.monotonic() + SETTLE_SECONDS
                while time.monotonic() < deadline:
                    seen = Counter(call() for _ in range(CALLS))
                    if scenario.probability({V1: wanted, V2: 1 - wanted}, seen) > P_VALUE:
                        break
                else:
                    pytest.fail(f"{wanted}: {seen}")
        finally:
            stop.set()
            background.join()
    assert failures == []


def test_tcp_route_of_a_virtual_service_splits_by_its_weights(world: World) -> None:
    world.apply(TCP_90_10)
    with world.caller("xds:///greeter.default:9090") as call:
        seen = settled(call, {V1, V2})
    assert scenario.probability({V1: 0.9, V2: 0.1}, seen) > P_VALUE, seen


def test_http_route_of_a_virtual_service_goes_by_header_and_path_on_an_http_port(world: World) -> None:
    world.apply(HTTP_RULES)
    with world.caller("xds:///greeter.default.svc.cluster.local:9080") as call:
        assert settled(call, {V1}) == {V1: CALLS}
        with pyrpc_xds.attachments({"stage": "canary"}):
            assert settled(call, {V2}) == {V2: CALLS}
        with pyrpc_xds.attachments({"stage": "production"}):
            assert settled(call, {V1}) == {V1: CALLS}


@pytest.mark.parametrize("host", ["greeter", "greeter.default", "greeter.default.svc", "10.96.1.1"])
@pytest.mark.parametrize("port", [9080, 9090])
def test_short_host_names_and_addresses_lead_to_the_service(world: World, host: str, port: int) -> None:
    world.apply()
    with world.caller(f"xds:///{host}:{port}") as call:
        assert {call() for _ in range(100)} == {V1, V2}


def test_node_with_an_ipv6_address_finds_the_services_ipv6_listener(world: World) -> None:
    world.apply()
    with world.caller("xds:///greeter:9090", INSTANCE_IP="fd00::99") as call:
        assert {call() for _ in range(100)} == {V1, V2}


@pytest.mark.parametrize("port", [9180, 9190])
def test_headless_service_is_called_at_all_its_endpoints_and_follows_them(world: World, port: int) -> None:
    world.apply()
    with world.caller(f"xds:///headless:{port}") as call:
        seen = settled(call, {V1, V2})
        assert scenario.probability({V1: 0.5, V2: 0.5}, seen) > P_VALUE, seen
        world.apply(without=(0,))
        assert settled(call, {V2}) == {V2: CALLS}
        # The only pod is replaced: its address, and with it the listener's name, is another one.
        world.apply(without=(1,))
        assert settled(call, {V1}) == {V1: CALLS}


def test_endpoint_with_a_sidecar_that_takes_tls_is_never_called_in_plaintext(world: World) -> None:
    world.apply()
    with world.caller("xds:///greeter:9090") as call:
        assert {call() for _ in range(100)} == {V1, V2}
        world.apply(tls=(1,))
        assert settled(call, {V1}) == {V1: CALLS}
        world.apply(tls=(0, 1))
        deadline = time.monotonic() + SETTLE_SECONDS
        with pytest.raises(Unavailable, match="demands TLS, and calls are not sent in plaintext instead"):
            while time.monotonic() < deadline:
                call()
        world.apply()
        while time.monotonic() < deadline:
            try:
                call()
            except Unavailable:
                continue
            break
        assert {call() for _ in range(100)} == {V1, V2}


def test_peer_authentication_that_disables_tls_makes_every_endpoint_plaintext(world: World) -> None:
    world.apply(
        """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: DISABLE}}
""",
        tls=(0, 1),
    )
    for target in ("greeter:9090", "greeter:9080", "headless:9190"):
        with world.caller(f"xds:///{target}") as call:
            assert {call() for _ in range(100)} == {V1, V2}


def test_unknown_host_and_port_fail_with_what_was_tried(world: World) -> None:
    world.apply()
    for target, text in (
        ("nosuch:9090", "NameTable has no host nosuch.default.svc.cluster.local or nosuch"),
        (
            "greeter:1",
            "the addresses of greeter.default.svc.cluster.local are 10.96.1.1; there is no listener",
        ),
        ("nosuch:9080", "no virtual host of RouteConfiguration '9080' serves it"),
    ):
        with world.caller(f"xds:///{target}") as call, pytest.raises(Unavailable, match=text):
            call()


def test_route_command_explains_a_thrift_route(world: World) -> None:
    world.apply(THRIFT_30_70)
    done = CliRunner().invoke(app, ["route", "xds:///greeter:9090", PATH, "--json"], env=world.environment())
    shown = json.loads(done.output)
    assert done.exit_code == 0
    assert shown["listener"] == "10.96.1.1_9090"
    assert shown["virtual_host"] == "thrift_proxy"
    assert [(cluster["name"].split("|")[2], cluster["weight"]) for cluster in shown["clusters"]] == [
        ("v1", 30),
        ("v2", 70),
    ]


def test_greeter_scenario_in_sidecar_mode_shows_the_same_distributions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDS_MODE", "sidecar")
    results = scenario.play(world.peer.xds_address, world.peer.apply, calls=500)
    off = [
        f"{r.protocol}, {r.step.title}, {r.block.label}: {dict(r.seen)} {r.failures}"
        for r in results
        if not r.passed
    ]
    assert len(results) == 10
    assert not off, "\n".join(off)
