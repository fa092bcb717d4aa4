"""ThriftProxy: its routes as Envoy reads them, and what Envoy refuses refused."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.thrift_proxy.filters.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.network.thrift_proxy.router.v3 import router_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import route_pb2, thrift_proxy_pb2

from pyrpc_xds.model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    Route,
    RouteMatch,
    StringMatch,
    StringMatcher,
    WeightedCluster,
)
from pyrpc_xds.xds.decode.common import Refused
from pyrpc_xds.xds.decode.thrift_proxy import thrift_proxy

ANY = PathMatcher(PathMatch.PREFIX, "")
Match, Action = route_pb2.RouteMatch, route_pb2.RouteAction


def route(match: dict[str, Any], **action: Any) -> Any:
    return route_pb2.Route(match=Match(**match), route=Action(**(action or {"cluster": "c"})))


def decoded(*routes: Any, **fields: Any) -> tuple[tuple[Route, ...], list[str]]:
    message = thrift_proxy_pb2.ThriftProxy(stat_prefix="s", **fields)
    message.route_config.routes.extend(routes)
    proxy, notes = thrift_proxy(message.SerializeToString())
    (host,) = proxy.route_config.virtual_hosts
    assert host.domains == ("*",)
    return host.routes, notes


def refusal(*routes: Any, **fields: Any) -> str:
    with pytest.raises(Refused) as refused:
        decoded(*routes, **fields)
    return refused.value.reason


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ({"method_name": ""}, ANY),
        ({"service_name": ""}, ANY),
        ({"method_name": "SayHello"}, PathMatcher(PathMatch.METHOD, "SayHello")),
        ({"method_name": "Greeter:SayHello"}, PathMatcher(PathMatch.METHOD, "Greeter:SayHello")),
        ({"method_name": "SayHello", "invert": True}, PathMatcher(PathMatch.METHOD, "SayHello", invert=True)),
        ({"service_name": "Greeter"}, PathMatcher(PathMatch.SERVICE, "Greeter")),
        ({"service_name": "Greeter:"}, PathMatcher(PathMatch.SERVICE, "Greeter")),
        ({"service_name": "Greeter", "invert": True}, PathMatcher(PathMatch.SERVICE, "Greeter", invert=True)),
    ],
)
def test_match_by_method_and_service(match: dict[str, Any], path: PathMatcher) -> None:
    ((found,), _) = decoded(route(match))
    assert found.match == RouteMatch(path)


def test_headers_are_conditions_too() -> None:
    header = route_components_pb2.HeaderMatcher(name="User", string_match={"exact": "admin"})
    ((found,), _) = decoded(route({"method_name": "", "headers": [header]}))
    assert found.match.headers == (HeaderMatcher("user", StringMatcher(StringMatch.EXACT, "admin")),)


def test_routes_keep_their_order() -> None:
    routes, _ = decoded(route({"method_name": "a"}, cluster="1"), route({"method_name": ""}, cluster="2"))
    assert [r.action for r in routes] == [
        ClusterRoute((WeightedCluster("1"),)),
        ClusterRoute((WeightedCluster("2"),)),
    ]


def weighted(*weights: int) -> Any:
    return {"clusters": [{"name": f"c{i}", "weight": {"value": w}} for i, w in enumerate(weights)]}


def test_weighted_clusters_keep_their_weights() -> None:
    ((found,), _) = decoded(route({"method_name": ""}, weighted_clusters=weighted(30, 0, 70)))
    assert found.action == ClusterRoute((WeightedCluster("c0", 30), WeightedCluster("c2", 70)))


def test_router_is_known_by_its_name_alone_or_by_its_type() -> None:
    typed = thrift_proxy_pb2.ThriftFilter(name="r")
    typed.typed_config.Pack(router_pb2.Router())
    for entry in (typed, thrift_proxy_pb2.ThriftFilter(name="envoy.filters.thrift.router")):
        assert len(decoded(route({"method_name": ""}), thrift_filters=[entry])[0]) == 1


def test_what_is_not_applied_is_noted_and_cluster_header_skipped() -> None:
    routes, notes = decoded(
        route({"method_name": "a"}, cluster_header="h"),
        route({"method_name": ""}, cluster="c", request_mirror_policies=[{"cluster": "m"}]),
    )
    assert [r.name for r in routes] == ["thrift route 2"]
    assert notes == [
        "thrift_proxy: route 1 is skipped: cluster_header is not supported",
        "thrift_proxy: route 2: request_mirror_policies is not applied",
    ]


def rate_limit() -> Any:
    entry = thrift_proxy_pb2.ThriftFilter(name="l")
    entry.typed_config.Pack(rate_limit_pb2.RateLimit(domain="d"))
    return entry


@pytest.mark.parametrize(
    ("routes", "fields", "reason"),
    [
        ([route({})], {}, "route_config.routes[0]: match: neither method_name nor service_name"),
        ([route({"method_name": "", "invert": True})], {}, "an empty method_name with invert"),
        ([route({"service_name": ":", "invert": True})], {}, "an empty service_name with invert"),
        ([route({"method_name": "", "headers": [{"name": "a"}]})], {}, "headers[0] 'a'"),
        ([route_pb2.Route(match=Match(method_name=""))], {}, "route is missing"),
        ([route({"method_name": ""}, cluster="")], {}, "cluster is empty"),
        ([route({"method_name": ""}, weighted_clusters=weighted(0, 0))], {}, "add up to 0"),
        ([route({"method_name": ""}, weighted_clusters=weighted(2**32 - 1, 1))], {}, "add up to 4294967296"),
        (
            [route({"method_name": ""}, weighted_clusters={"clusters": [{"weight": {"value": 1}}]})],
            {},
            "name",
        ),
        ([], {"trds": {"route_config_name": "t"}}, "trds"),
        ([], {"thrift_filters": [rate_limit()]}, "RateLimit' is not supported"),
        (
            [],
            {
                "thrift_filters": [
                    {"name": "envoy.filters.thrift.router"},
                    {"name": "envoy.filters.thrift.router"},
                ]
            },
            "the router must be the last",
        ),
    ],
)
def test_what_envoy_or_we_cannot_do_is_refused(
    routes: list[Any], fields: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(*routes, **fields)


def test_bytes_that_are_no_thrift_proxy_are_refused() -> None:
    with pytest.raises(Refused, match="not a ThriftProxy"):
        thrift_proxy(b"\xff")
