"""The form of Thrift messages on the real istiod: what it makes of an EnvoyFilter, and for whom; calls learn it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import json_format

import pyrpc_xds
from examples.greeter import scenario
from pyrpc_xds.controlplane import ControlPlane
from pyrpc_xds.errors import Unavailable
from pyrpc_xds.transports.thrift import PoolLimits
from tests.e2e.thrift_forms import V1, V2, caller, documented, greeters, world
from tests.interop.peers import istiod
from tests.interop.peers.ads_dump import CLUSTER, ENDPOINT, AdsClient, grpc_node
from tests.interop.peers.istiod import IstiodProcess
from tests.unit.controlplane.test_envoy_filters import CLUSTERS, OPTIONS, WORLD, envoy_filter, metadata, patch

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

SETTLE_SECONDS = 20.0
LABELS = {"app": "shop"}
HOST = "greeter.default.svc.cluster.local"
OTHER = "metadata: {filter_metadata: {pyrpc_xds.thrift: {protocol: compact}, other: {a: [1, {b: null}], c: true}}}"
TYPED = f"typed_extension_protocol_options: {OPTIONS}"
SELECTING = "workloadSelector: {labels: {app: %s}}, "
# What is patched is compared; the last of each is the one that counts.
FILTERS = {
    "everything": [envoy_filter(patch())],
    "options": [
        envoy_filter(patch(TYPED), patch(TYPED.replace("FRAMED", "HEADER"), "cluster: {subset: v1}"))
    ],
    "service": [envoy_filter(patch(match=f"context: SIDECAR_OUTBOUND, cluster: {{service: {HOST}}}"))],
    "short service": [envoy_filter(patch(match="cluster: {service: greeter}"), patch(TYPED))],
    "subset": [envoy_filter(patch(match="cluster: {subset: v1}"))],
    "port": [envoy_filter(patch(match="cluster: {portNumber: 81}"))],
    "name": [envoy_filter(patch(match=f"cluster: {{name: 'outbound|80||{HOST}', service: nowhere}}"))],
    "other contexts": [
        envoy_filter(patch(TYPED, "context: SIDECAR_INBOUND"), patch(TYPED, "context: GATEWAY"), patch(OTHER))
    ],
    "one after another": [envoy_filter(patch(), patch(OTHER), patch(TYPED))],
    "by name": [envoy_filter(patch(OTHER), meta="name: a"), envoy_filter(patch(), meta="name: b")],
    "by priority": [
        envoy_filter(patch(), meta="name: a", spec="priority: 1, "),
        envoy_filter(patch(OTHER), meta="name: b"),
        envoy_filter(patch(metadata("framed")), meta="name: c", spec="priority: -1, "),
    ],
    "root namespace": [
        envoy_filter(patch(), meta="name: z, namespace: istio-system"),
        envoy_filter(patch(OTHER, "cluster: {subset: v1}"), meta="name: a"),
    ],
    "another namespace": [
        envoy_filter(patch(), meta="name: a, namespace: elsewhere"),
        envoy_filter(patch(TYPED)),
    ],
    "selector": [envoy_filter(patch(), spec=SELECTING % "shop"), envoy_filter(patch(TYPED), meta="name: g")],
    "other selector": [
        envoy_filter(patch(), spec=SELECTING % "x"),
        envoy_filter(patch(TYPED), meta="name: g"),
    ],
    "socket": [
        envoy_filter(
            patch("transport_socket: {name: envoy.transport_sockets.raw_buffer}, " + metadata("framed"))
        ),
        envoy_filter(patch(match="cluster: {subset: v1}"), meta="name: g"),
    ],
}


@pytest.fixture(scope="module")
def peer() -> Iterator[IstiodProcess]:
    if reason := istiod.skip_reason():
        pytest.skip(reason)
    with IstiodProcess() as process:
        yield process


def patched(address: str, generator: str | None) -> dict[str, Any]:
    """Of each cluster what EnvoyFilters may have merged: metadata but istiod's own, and Thrift's options."""
    with AdsClient(address, grpc_node(labels=LABELS, generator=generator)) as client:
        clusters: Any = client.fetch(CLUSTER, CLUSTERS.values() if generator else (), 20.0)
    found = {}
    for name in CLUSTERS.values():
        cluster = clusters[name]
        said: dict[str, Any] = json_format.MessageToDict(cluster.metadata).get("filterMetadata", {})
        said.pop("istio", None)
        options = cluster.typed_extension_protocol_options
        if (key := "envoy.filters.network.thrift_proxy") in options:
            said[key] = (options[key].type_url, options[key].value)
        found[name] = said
    return found


def settled(ask: Callable[[], Any], wanted: Any) -> Any:
    """istiod takes changes in asynchronously: ask until it agrees."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := ask()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.mark.parametrize("case", FILTERS)
def test_embedded_control_plane_merges_into_clusters_what_istiod_merges_for_sidecars(
    case: str, peer: IstiodProcess
) -> None:
    text = WORLD + "".join(FILTERS[case])
    with ControlPlane() as plane:
        plane.apply(text)
        ours = patched(plane.address, "grpc")
    assert any(ours.values())
    peer.apply(text)
    assert settled(lambda: patched(peer.xds_address, None), ours) == ours


def test_istiod_merges_nothing_into_the_clusters_of_proxyless_nodes(peer: IstiodProcess) -> None:
    """Why ``XDS_MODE=sidecar`` is needed, and why ``pyrpc-xds check`` says so."""
    peer.apply(WORLD + "".join(FILTERS["everything"]))
    said = {"pyrpc_xds.thrift": {"framing": "ttheader"}}
    assert settled(lambda: list(patched(peer.xds_address, None).values()), [said] * 4) == [said] * 4
    assert not any(patched(peer.xds_address, "grpc").values())


@pytest.mark.parametrize("generator", ["grpc", None])
def test_istiod_gives_endpoints_metadata_of_its_own_alone(peer: IstiodProcess, generator: str | None) -> None:
    peer.apply(world({"v1": "127.0.0.2:80", "v2": "127.0.0.3:80"}, documented()))

    def keys() -> list[set[str]]:
        with AdsClient(peer.xds_address, grpc_node(generator=generator)) as client:
            found: Any = client.fetch(ENDPOINT, [V1, V2], 20.0).values()
        groups = [group for assignment in found for group in assignment.endpoints]
        return [set(each.metadata.filter_metadata) for group in groups for each in group.lb_endpoints]

    wanted = [{"istio"}, {"istio"}]
    assert settled(keys, wanted) == wanted


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("multiplexed", [0, 1])
def test_client_in_sidecar_mode_learns_the_form_of_each_version_from_istiod(
    kind: str, multiplexed: int, peer: IstiodProcess
) -> None:
    environment = {**scenario.workload(f"client-{kind}", peer.xds_address), "XDS_MODE": "sidecar"}
    learned = {("v1.0.0", ""), ("v2.0.0", "admin")}
    with (
        pyrpc_xds.XdsClient.from_env(scenario.workload("servers", peer.xds_address)) as servers,
        greeters(servers) as addresses,
    ):
        peer.apply(world(addresses, documented()))
        with (
            pyrpc_xds.XdsClient.from_env(environment) as xds,
            caller(xds, kind, pool=PoolLimits(multiplexed=multiplexed)) as call,
        ):

            def answers() -> Any:
                try:
                    return {call() for _ in range(40)}
                except Unavailable as error:
                    return str(error)

            assert settled(answers, learned) == learned
