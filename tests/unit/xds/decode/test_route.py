"""RouteConfiguration: one row per rule of gRFC A27, A28, A31, A39, A44 and the Envoy API."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from xds.type.matcher.v3 import matcher_pb2

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    RetryPolicy,
    Route,
    RouteConfiguration,
    RouteMatch,
    Unroutable,
    VirtualHost,
    WeightedCluster,
)
from pyrpc_xds.xds.decode.route import decode_route_configuration, decode_shared_route_configuration
from tests.unit.xds.build import ROUTES, route, route_config

Action = route_components_pb2.RouteAction
Weighted = route_components_pb2.WeightedCluster
MAX = 2**32 - 1


def decoded(message: Any) -> RouteConfiguration:
    return decode_route_configuration(message.SerializeToString())


def routes(*messages: Any, **host: Any) -> tuple[Route, ...]:
    return decoded(route_config(ROUTES, messages, **host)).virtual_hosts[0].routes


def action(**fields: Any) -> ClusterRoute:
    if "weighted_clusters" not in fields:
        fields["cluster"] = "c"
    (result,) = routes(route(route=Action(**fields)))
    assert isinstance(result.action, ClusterRoute)
    return result.action


def weighted(*pairs: tuple[str, int | None]) -> Any:
    result = Weighted()
    for name, weight in pairs:
        entry = result.clusters.add(name=name)
        if weight is not None:
            entry.weight.value = weight
    return result


def any_of(message: Any) -> AnyMessage:
    result = AnyMessage()
    result.Pack(message)
    return result


def optional(message: Any, *, disabled: bool = False) -> AnyMessage:
    wrapper = route_components_pb2.FilterConfig(is_optional=True, disabled=disabled)
    wrapper.config.Pack(message)
    return any_of(wrapper)


def test_route_configuration_keeps_hosts_domains_and_order() -> None:
    message = route_config(
        "r", [route(name="one"), route(name="two")], domains=["a", "a:80", "*.b", "c.*", "*"]
    )
    everything = RouteMatch(PathMatcher(PathMatch.PREFIX, "/"))
    to_c = ClusterRoute((WeightedCluster("c"),))
    assert decoded(message) == RouteConfiguration(
        "r",
        (
            VirtualHost(
                "host",
                ("a", "a:80", "*.b", "c.*", "*"),
                (Route(everything, to_c, "one"), Route(everything, to_c, "two")),
            ),
        ),
    )


def test_configuration_without_virtual_hosts_is_valid() -> None:
    """What istiod sends for a TCP port."""
    assert decoded(route_pb2.RouteConfiguration(name="r")) == RouteConfiguration("r")


def test_tcp_port_of_istio_goes_to_the_whole_service_with_a_note() -> None:
    result = decoded(route_pb2.RouteConfiguration(name=ROUTES))
    (host,) = result.virtual_hosts
    assert host.domains == ("*",)
    assert [kept.action for kept in host.routes] == [ClusterRoute((WeightedCluster(ROUTES),))]
    assert "not HTTP or gRPC" in result.notes[0]


@pytest.mark.parametrize("name", ["outbound|9090|v1|greeter", "inbound|9090||greeter", "9090", "r"])
def test_empty_configuration_of_another_name_stays_empty(name: str) -> None:
    assert decoded(route_pb2.RouteConfiguration(name=name)) == RouteConfiguration(name)


# ---- destinations


def test_weighted_clusters_lose_those_of_weight_zero() -> None:
    result = action(weighted_clusters=weighted(("a", 90), ("b", 0), ("c", None), ("d", 10)))
    assert result.clusters == (WeightedCluster("a", 90), WeightedCluster("d", 10))


def test_weights_may_add_up_to_the_largest_uint32() -> None:
    assert len(action(weighted_clusters=weighted(("a", MAX - 1), ("b", 1))).clusters) == 2


@pytest.mark.parametrize("field", ["redirect", "direct_response", "filter_action", "non_forwarding_action"])
def test_action_that_does_not_forward_fails_its_calls_by_name(field: str) -> None:
    kinds = {
        "redirect": route_components_pb2.RedirectAction(path_redirect="/x"),
        "direct_response": route_components_pb2.DirectResponseAction(status=404),
        "filter_action": route_components_pb2.FilterAction(),
        "non_forwarding_action": route_components_pb2.NonForwardingAction(),
    }
    (result,) = routes(route(**{field: kinds[field]}))
    assert result.action == Unroutable(field)


def test_route_without_a_known_action_fails_its_calls() -> None:
    nothing = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    (result,) = routes(nothing)
    assert result.action == Unroutable("unknown action")


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            route(route_components_pb2.RouteMatch(prefix="/", query_parameters=[{"name": "q"}])),
            "query_parameters",
        ),
        (route(route=Action(cluster_header="x")), "cluster_header"),
    ],
)
def test_route_that_the_grfc_passes_over_is_skipped_with_a_note(message: Any, note: str) -> None:
    result = decoded(route_config("r", [message, route(name="next")]))
    assert [kept.name for kept in result.virtual_hosts[0].routes] == ["next"]
    assert note in result.notes[0]


def test_query_parameters_are_noticed_before_anything_else_of_the_route() -> None:
    match = route_components_pb2.RouteMatch(query_parameters=[{"name": "q"}])
    assert routes(route(match)) == ()


def plugin(*, is_optional: bool) -> Any:
    message = route_config("r", [route(route=Action(cluster_specifier_plugin="rls")), route(name="next")])
    message.cluster_specifier_plugins.add(
        extension=extension_pb2.TypedExtensionConfig(name="rls"), is_optional=is_optional
    )
    return message


def test_route_of_an_optional_plugin_is_skipped() -> None:
    assert [kept.name for kept in decoded(plugin(is_optional=True)).virtual_hosts[0].routes] == ["next"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (plugin(is_optional=False), "cluster specifier cluster_specifier_plugin"),
        (route_config("r", domains=[]), "domains is empty"),
        (route_config("r", domains=[""]), "domain ''"),
        (route_config("r", domains=["a*b"]), "domain 'a*b'"),
        (route_config("r", domains=["*a*"]), "domain '*a*'"),
        (route_config("r", domains=["**"]), "domain '**'"),
        (route_config("r", matcher=matcher_pb2.Matcher()), "matcher is not supported"),
        (route_config("r", [route_components_pb2.Route(route=Action(cluster="c"))]), "match is missing"),
        (route_config("r", [route(route=Action())]), "cluster specifier missing"),
        (route_config("r", [route(route=Action(cluster=""))]), "cluster is empty"),
        (
            route_config("r", [route(route=Action(inline_cluster_specifier_plugin={}))]),
            "inline_cluster_specifier_plugin",
        ),
        (route_config("r", [route(route=Action(weighted_clusters=weighted()))]), "no cluster has a weight"),
        (
            route_config("r", [route(route=Action(weighted_clusters=weighted(("a", 0), ("b", 0))))]),
            "no cluster has a weight",
        ),
        (
            route_config("r", [route(route=Action(weighted_clusters=weighted(("a", MAX), ("b", 1))))]),
            f"add up to {MAX + 1}",
        ),
        (
            route_config("r", [route(route=Action(weighted_clusters=weighted(("", 1))))]),
            "weighted_clusters[0]: name is empty",
        ),
        (
            route_config("r", [route(route=Action(cluster="c", timeout={"seconds": -1}))]),
            "timeout: -1 s",
        ),
    ],
)
def test_configuration_that_breaks_a_rule_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(ResourceInvalid) as caught:
        decoded(message)
    assert caught.value.kind == "RDS"
    assert caught.value.name == "r"
    assert reason in caught.value.reason


def test_refusal_names_the_way_to_the_field() -> None:
    bad = route(route_components_pb2.RouteMatch(prefix="/", headers=[{"name": "user"}]), name="admin")
    with pytest.raises(ResourceInvalid) as caught:
        routes(route(), bad)
    assert caught.value.reason.startswith(
        "virtual_hosts[0] 'host': routes[1] 'admin': match: headers[0] 'user': "
    )


def test_domain_of_two_hosts_is_noted() -> None:
    message = route_config("r", domains=["a", "b"])
    message.virtual_hosts.add(name="other", domains=["B"])
    assert decoded(message).notes == ("domain 'B' of 'other' is already that of 'host', which is used",)


# ---- time (A31 and the Envoy API)


def span(seconds: float) -> dict[str, int]:
    return {"seconds": int(seconds), "nanos": round(seconds % 1 * 1e9)}


@pytest.mark.parametrize(
    ("fields", "timeout", "cap_only", "said"),
    [
        ({}, None, False, False),
        ({"timeout": span(0.5)}, 0.5, False, True),
        ({"timeout": span(0)}, None, False, True),
        ({"max_stream_duration": {}}, None, False, False),
        ({"max_stream_duration": {}, "timeout": span(3)}, 3.0, False, True),
        ({"max_stream_duration": {"max_stream_duration": span(1.5)}}, 1.5, False, True),
        ({"max_stream_duration": {"max_stream_duration": span(0)}}, None, False, True),
        ({"max_stream_duration": {"max_stream_duration": span(0)}, "timeout": span(9)}, None, False, True),
        ({"max_stream_duration": {"max_stream_duration": span(2)}, "timeout": span(2)}, 2.0, False, True),
        ({"max_stream_duration": {"grpc_timeout_header_max": span(4)}}, 4.0, True, True),
        ({"max_stream_duration": {"grpc_timeout_header_max": span(0)}}, None, False, True),
        (
            {"max_stream_duration": {"max_stream_duration": span(5), "grpc_timeout_header_max": span(4)}},
            4.0,
            True,
            True,
        ),
        ({"max_grpc_timeout": span(6)}, 6.0, True, True),
        ({"max_grpc_timeout": span(0)}, None, False, True),
        ({"max_grpc_timeout": span(6), "timeout": span(7)}, 7.0, False, True),
    ],
)
def test_timeout(fields: dict[str, Any], timeout: float | None, cap_only: bool, said: bool) -> None:
    result = action(**fields)
    assert (result.timeout, result.cap_only, result.timeout_set) == (timeout, cap_only, said)


# ---- retries (A44)


def test_no_retry_policy_means_no_retries() -> None:
    assert action().retry is None


def test_retry_policy_of_istio() -> None:
    policy = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": {"value": 2},
        "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts"}],
        "retriable_status_codes": [503],
        "per_try_timeout": span(2),
    }
    assert action(retry_policy=policy).retry == RetryPolicy(
        retry_on=(
            "connect-failure",
            "refused-stream",
            "unavailable",
            "cancelled",
            "retriable-status-codes",
        ),
        num_retries=2,
        per_try_timeout=2.0,
        retriable_status_codes=(503,),
        previous_hosts=True,
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, RetryPolicy()),
        ({"num_retries": {"value": 0}}, None),
        ({"retry_on": " a , ,b"}, RetryPolicy(("a", "b"))),
        (
            {"retry_back_off": {"base_interval": span(0.1)}},
            RetryPolicy(base_interval=0.1, max_interval=1.0),
        ),
        (
            {"retry_back_off": {"base_interval": span(0.1), "max_interval": span(0.1)}},
            RetryPolicy(base_interval=0.1, max_interval=0.1),
        ),
        ({"per_try_timeout": span(0)}, RetryPolicy()),
    ],
)
def test_retry_policy_defaults(policy: dict[str, Any], expected: RetryPolicy | None) -> None:
    assert action(retry_policy=policy).retry == expected


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"retry_back_off": {}}, "base_interval must be more than 0"),
        ({"retry_back_off": {"base_interval": span(0)}}, "base_interval must be more than 0"),
        (
            {"retry_back_off": {"base_interval": span(2), "max_interval": span(1)}},
            "max_interval is shorter",
        ),
        ({"per_try_timeout": {"seconds": -1}}, "per_try_timeout"),
    ],
)
def test_bad_retry_policy_is_refused(policy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ResourceInvalid, match=reason):
        action(retry_policy=policy)


def test_retry_policy_of_the_host_is_the_default_of_its_routes_only() -> None:
    own = route(route=Action(cluster="c", retry_policy={"num_retries": {"value": 3}}))
    message = route_config("r", [route(), own], retry_policy={"num_retries": {"value": 2}})
    message.virtual_hosts.add(name="other", domains=["b"], routes=[route()])
    first, second = decoded(message).virtual_hosts
    retries = [kept.action.retry for kept in (*first.routes, *second.routes)]  # type: ignore[union-attr]
    assert [retry and retry.num_retries for retry in retries] == [2, 3, None]


# ---- filter overrides (A39)

ABORT = fault_pb2.HTTPFault(abort=fault_pb2.FaultAbort(http_status=503))


def test_fault_of_a_route_is_noted_as_not_applied() -> None:
    message = route_config(
        "r", [route(name="x", typed_per_filter_config={"f": any_of(ABORT)}, route=Action(cluster="c"))]
    )
    assert decoded(message).notes == (
        "virtual host 'host': route 'x': filter 'f': fault injection (abort) is not applied",
    )


@pytest.mark.parametrize("level", ["configuration", "host", "route", "weighted cluster"])
def test_unsupported_override_is_refused_at_every_level_and_left_out_where_optional(level: str) -> None:
    def message(override: AnyMessage) -> Any:
        result = route_config("r", [route(route=Action(weighted_clusters=weighted(("c", 1))))])
        host = result.virtual_hosts[0]
        place = {
            "configuration": result,
            "host": host,
            "route": host.routes[0],
            "weighted cluster": host.routes[0].route.weighted_clusters.clusters[0],
        }[level]
        place.typed_per_filter_config["guard"].CopyFrom(override)
        return result

    with pytest.raises(ResourceInvalid, match=r"typed_per_filter_config\['guard'\].*RBACPerRoute"):
        decoded(message(any_of(rbac_pb2.RBACPerRoute())))
    assert "guard" in decoded(message(optional(rbac_pb2.RBACPerRoute()))).notes[0]
    assert decoded(message(optional(rbac_pb2.RBACPerRoute(), disabled=True))).notes == ()
    assert decoded(message(any_of(cors_pb2.CorsPolicy()))).notes == ()


def test_broken_override_is_refused() -> None:
    override = any_of(route_components_pb2.FilterConfig())
    override.value = b"\xff"
    with pytest.raises(ResourceInvalid, match=r"not a envoy\.config\.route\.v3\.FilterConfig"):
        routes(route(typed_per_filter_config={"f": override}, route=Action(cluster="c")))


def test_rewrites_mirrors_and_header_changes_are_noted_as_not_applied() -> None:
    message = route_config(
        "r",
        [
            route(
                name="x",
                route=Action(cluster="c", prefix_rewrite="/y", request_mirror_policies=[{"cluster": "m"}]),
                request_headers_to_remove=["h"],
            )
        ],
    )
    message.vhds.config_source.ads.SetInParent()
    assert [note.rpartition(": ")[2] for note in decoded(message).notes] == [
        "virtual hosts on demand are not supported",
        "prefix_rewrite is not applied",
        "request_mirror_policies is not applied",
        "request_headers_to_remove is not applied",
    ]


# ---- of a sidecar


def test_bad_virtual_host_among_many_is_marked_and_costs_the_others_nothing() -> None:
    message = route_config("80")
    message.virtual_hosts.add(name="bad", domains=["bad"]).routes.add(
        match={"prefix": "/"}, route={"cluster": ""}
    )
    with pytest.raises(ResourceInvalid, match="'bad'"):
        decode_route_configuration(message.SerializeToString())
    good, bad = decode_shared_route_configuration(message.SerializeToString()).virtual_hosts
    assert (good.refused, len(good.routes)) == ("", 1)
    assert (bad.name, bad.domains, bad.routes) == ("bad", ("bad",), ())
    assert "cluster is empty" in bad.refused
