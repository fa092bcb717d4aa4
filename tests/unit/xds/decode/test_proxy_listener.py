"""A sidecar's listeners: filter chains that calls can take, and those that they cannot."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import route_pb2, thrift_proxy_pb2
from google.protobuf.message import Message
from udpa.type.v1 import typed_struct_pb2

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.model.filter_chain import (
    FilterChain,
    HttpConnectionManager,
    ProxyListener,
    TcpProxy,
    ThriftProxy,
)
from pyrpc_xds.model.route import WeightedCluster
from pyrpc_xds.xds.decode.proxy_listener import decode_proxy_listener
from tests.unit.xds.build import ROUTES, hcm, http_filter, route_config, router

Chain = listener_components_pb2.FilterChain
Match = listener_components_pb2.FilterChainMatch


def tcp(cluster: str = "c", **fields: Any) -> Any:
    return tcp_proxy_pb2.TcpProxy(stat_prefix="s", **({"cluster": cluster} | fields if cluster else fields))


def chain(*filters: Message, **match: Any) -> Any:
    result = Chain(filter_chain_match=Match(**match))
    for index, config in enumerate(filters):
        result.filters.add(name=f"f{index}").typed_config.Pack(config)
    return result


def listener(*chains: Any, default: Any = None, port: int = 9090) -> Any:
    result = listener_pb2.Listener(name="10.0.0.1_9090", filter_chains=chains)
    result.address.socket_address.port_value = port
    if default is not None:
        result.default_filter_chain.CopyFrom(default)
    return result


def decoded(*chains: Any, default: Any = None) -> ProxyListener:
    return decode_proxy_listener(listener(*chains, default=default).SerializeToString())


def refusal(*chains: Any) -> str:
    with pytest.raises(ResourceInvalid) as refused:
        decoded(*chains)
    assert refused.value.name == "10.0.0.1_9090"
    return refused.value.reason


def typed_struct(kind: str) -> Any:
    return typed_struct_pb2.TypedStruct(type_url=f"type.googleapis.com/{kind}")


def test_tcp_proxy_is_its_cluster() -> None:
    assert decoded(chain(tcp("c"))).chains == (FilterChain(TcpProxy((WeightedCluster("c"),))),)


def test_tcp_proxy_keeps_weights_and_leaves_out_those_of_zero() -> None:
    weighted = tcp_proxy_pb2.TcpProxy.WeightedCluster()
    for name, weight in (("a", 30), ("b", 0), ("c", 70)):
        weighted.clusters.add(name=name, weight=weight)
    (found,) = decoded(chain(tcp("", weighted_clusters=weighted))).chains
    assert found.filter == TcpProxy((WeightedCluster("a", 30), WeightedCluster("c", 70)))


def test_http_connection_manager_names_its_routes_or_has_them() -> None:
    (by_name,) = decoded(chain(hcm())).chains
    assert by_name.filter == HttpConnectionManager(ROUTES)
    (inline,) = decoded(chain(hcm(route_config=route_config("x")))).chains
    assert isinstance(inline.filter, HttpConnectionManager)
    assert inline.filter.route_config is not None
    assert inline.filter.route_config.name == "x"


def test_filters_that_istio_adds_for_sidecars_are_harmless() -> None:
    filters = [
        http_filter("istio.metadata_exchange", typed_struct("io.istio.http.peer_metadata.Config")),
        http_filter("istio.stats", typed_struct("stats.PluginConfig")),
        router(),
    ]
    found = decoded(chain(typed_struct("stats.PluginConfig"), hcm(http_filters=filters)))
    assert isinstance(found.chains[0].filter, HttpConnectionManager)
    assert found.notes == ()


def test_thrift_proxy_is_its_inline_routes() -> None:
    proxy = thrift_proxy_pb2.ThriftProxy(stat_prefix="s")
    proxy.route_config.routes.add(
        match=route_pb2.RouteMatch(method_name=""), route=route_pb2.RouteAction(cluster="c")
    )
    assert isinstance(decoded(chain(proxy)).chains[0].filter, ThriftProxy)


@pytest.mark.parametrize(
    "match",
    [
        {"server_names": ["a.example.com"]},
        {"transport_protocol": "tls"},
        {"application_protocols": ["istio-http/1.1"]},
        {"source_ports": [1]},
        {"source_prefix_ranges": [{"address_prefix": "10.0.0.0"}]},
        {"source_type": Match.SAME_IP_OR_LOOPBACK},
        {"destination_port": {"value": 9091}},
    ],
)
def test_chain_that_no_call_can_take_is_left_out_even_where_it_is_bad(match: dict[str, Any]) -> None:
    assert decoded(chain(tcp(""), **match), chain(tcp("c"))).chains == (
        FilterChain(TcpProxy((WeightedCluster("c"),))),
    )


def test_match_of_a_chain_is_kept() -> None:
    match = {
        "prefix_ranges": [{"address_prefix": "10.1.2.3", "prefix_len": {"value": 16}}],
        "transport_protocol": "raw_buffer",
        "application_protocols": ["http/1.1", "h2c"],
        "destination_port": {"value": 9090},
    }
    (found,) = decoded(chain(hcm(), **match)).chains
    assert (found.prefixes, found.http_only) == (("10.1.0.0/16",), True)


@pytest.mark.parametrize("cluster", ["PassthroughCluster", "BlackHoleCluster"])
def test_default_chain_that_leads_nowhere_is_left_out(cluster: str) -> None:
    assert decoded(default=chain(tcp(cluster))).default is None
    assert decoded(default=chain(tcp("c"))).default == FilterChain(TcpProxy((WeightedCluster("c"),)))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (chain(), "filter_chains[0]: filters is empty"),
        (chain(tcp("")), "cluster specifier missing"),
        (chain(rbac_pb2.RBAC(stat_prefix="s"), tcp()), "RBAC' is not supported"),
        (chain(rbac_pb2.RBAC(stat_prefix="s")), "RBAC' is not supported"),
        (chain(tcp(), tcp()), "filters[0] 'f0': type 'envoy.extensions.filters.network.tcp_proxy"),
        (chain(hcm(http_filters=[])), "the last one must be the router"),
        (chain(tcp(tunneling_config={"hostname": "h"})), "tunneling_config"),
        (chain(tcp(), prefix_ranges=[{"address_prefix": "x"}]), "prefix_ranges: 'x/0'"),
    ],
)
def test_bad_chain_refuses_the_listener(bad: Any, reason: str) -> None:
    assert reason in refusal(bad)


@pytest.mark.parametrize("kind", ["envoy.x.v3.Unheard", "io.istio.http.jwt.Config"])
def test_unknown_filter_before_the_last_is_refused(kind: str) -> None:
    assert kind in refusal(chain(typed_struct(kind), tcp()))
