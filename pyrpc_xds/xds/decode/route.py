"""RouteConfiguration (RDS): gRFC A27 and A28, timeouts of A31, retries of A44."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Unroutable,
    VirtualHost,
    WeightedCluster,
)
from ..names import SubsetKey
from .common import MAX_UINT32, Refused, decoder, limit, seconds
from .descriptors import message_class
from .http_filter import overrides
from .matcher import route_match

_Proto = message_class("envoy.config.route.v3.RouteConfiguration")
_DEFAULT_BASE_INTERVAL = 0.025
_MAX_INTERVAL_FACTOR = 10
_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"

# Fields of a RouteAction that change what is sent or where, and that an RPC client of ours does not do.
_NOT_APPLIED = (
    "prefix_rewrite",
    "regex_rewrite",
    "path_rewrite",
    "path_rewrite_policy",
    "request_mirror_policies",
    "hash_policy",
    "rate_limits",
    "hedge_policy",
    "metadata_match",
)
_HEADERS_NOT_APPLIED = (
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
)


class _Scope:
    """What a route inherits from the message around it, and where its notes go.

    :param plugins: cluster specifier plugins of the RouteConfiguration, and whether each is optional.
    """

    __slots__ = ("notes", "plugins", "retry")

    def __init__(self, notes: list[str], plugins: Mapping[str, bool]) -> None:
        self.notes = notes
        self.plugins = plugins
        self.retry: RetryPolicy | None = None


def route_configuration(message: Any, *, shared: bool = False) -> RouteConfiguration:
    """A parsed RouteConfiguration as model; a Listener may hold one inline.

    :param shared: its virtual hosts are those of many services: a bad one is marked and costs the others nothing.
    :raises Refused: it breaks a rule.
    """
    notes: list[str] = []
    if message.HasField("vhds"):
        notes.append("vhds: virtual hosts on demand are not supported")
    notes += _left_out(message, _HEADERS_NOT_APPLIED, "the route configuration")
    notes += overrides(message.typed_per_filter_config, "the route configuration")
    plugins = {plugin.extension.name: plugin.is_optional for plugin in message.cluster_specifier_plugins}
    hosts = []
    owners: dict[str, str] = {}
    for index, host in enumerate(message.virtual_hosts):
        try:
            hosts.append(_virtual_host(host, _Scope(notes, plugins)))
        except Refused as error:
            if not shared:
                raise error.inside(f"virtual_hosts[{index}] {host.name!r}") from None
            hosts.append(VirtualHost(host.name, tuple(host.domains), refused=error.reason))
        for domain in host.domains:
            owner = owners.setdefault(domain.lower(), host.name)
            if owner != host.name:
                notes.append(
                    f"domain {domain!r} of {host.name!r} is already that of {owner!r}, which is used"
                )
    if not message.virtual_hosts and (default := _whole_service(message.name)) is not None:
        hosts.append(default)
        notes.append(
            "no virtual hosts: the port's protocol is not HTTP or gRPC, so VirtualService http routes are not applied; "
            "name the Service's port http-..., http2-... or grpc-... (or set appProtocol) to have them"
        )
    return RouteConfiguration(message.name, tuple(hosts), tuple(notes))


def _whole_service(name: str) -> VirtualHost | None:
    """The way to a service whose port istiod does not route (``tcp-...``): an empty RDS named like its cluster."""
    key = SubsetKey.parse(name)
    if key is None or key.direction != "outbound" or key.subset:
        return None
    match = RouteMatch(PathMatcher(PathMatch.PREFIX, ""))
    return VirtualHost(
        "not routed", ("*",), (Route(match, ClusterRoute((WeightedCluster(name),)), "whole service"),)
    )


def _virtual_host(host: Any, scope: _Scope) -> VirtualHost:
    if not host.domains:
        raise Refused("domains is empty")
    for domain in host.domains:
        # A27 knows `*`, `*suffix` and `prefix*`: one star, at one end.
        if not domain or "*" in domain[1:-1] or (len(domain) > 1 and domain[0] == domain[-1] == "*"):
            raise Refused(f"domain {domain!r} is not a valid pattern")
    if host.HasField("matcher"):
        raise Refused("matcher is not supported")
    place = f"virtual host {host.name!r}"
    scope.notes += _left_out(host, _HEADERS_NOT_APPLIED, place)
    scope.notes += overrides(host.typed_per_filter_config, place)
    if host.HasField("retry_policy"):
        scope.retry = _retry_policy(host.retry_policy)
    routes = []
    for index, message in enumerate(host.routes):
        try:
            route = _route(message, f"{place}: route {message.name or index!r}", scope)
        except Refused as error:
            label = f"routes[{index}]" + (f" {message.name!r}" if message.name else "")
            raise error.inside(label) from None
        if route is not None:
            routes.append(route)
    return VirtualHost(host.name, tuple(host.domains), tuple(routes))


def _route(message: Any, place: str, scope: _Scope) -> Route | None:
    """One route; ``None``: it can match no call, or the gRFC says to pass over it (a note says which)."""
    if not message.HasField("match"):
        raise Refused("match is missing")
    if message.match.query_parameters:
        # A28: no call has query parameters, so the route can never be taken.
        scope.notes.append(f"{place} is skipped: calls have no query_parameters")
        return None
    try:
        match = route_match(message.match)
    except Refused as error:
        raise error.inside("match") from None
    which = message.WhichOneof("action")
    action: RouteAction | None
    if which == "route":
        try:
            action = _cluster_route(message.route, place, scope)
        except Refused as error:
            raise error.inside("route") from None
        if action is None:
            return None
    else:
        action = Unroutable(which or "unknown action")
    scope.notes += _left_out(message, _HEADERS_NOT_APPLIED, place)
    scope.notes += overrides(message.typed_per_filter_config, place)
    return Route(match, action, message.name)


def _cluster_route(action: Any, place: str, scope: _Scope) -> ClusterRoute | None:
    clusters = _clusters(action, place, scope)
    if clusters is None:
        return None
    scope.notes += _left_out(action, _NOT_APPLIED, place)
    timeout, cap_only, timeout_set = _timeout(action)
    retry = _retry_policy(action.retry_policy) if action.HasField("retry_policy") else scope.retry
    return ClusterRoute(clusters, timeout, cap_only, timeout_set, retry)


def _clusters(action: Any, place: str, scope: _Scope) -> tuple[WeightedCluster, ...] | None:
    which = action.WhichOneof("cluster_specifier")
    if which == "cluster":
        if not action.cluster:
            raise Refused("cluster is empty")
        return (WeightedCluster(action.cluster),)
    if which == "weighted_clusters":
        return _weighted(action.weighted_clusters, place, scope)
    if which == "cluster_header":
        # A28 passes over such routes: the cluster would be the caller's to name.
        scope.notes.append(f"{place} is skipped: cluster_header is not supported")
        return None
    if which == "cluster_specifier_plugin" and scope.plugins.get(action.cluster_specifier_plugin):
        scope.notes.append(f"{place} is skipped: optional cluster_specifier_plugin is not supported")
        return None
    raise Refused(f"cluster specifier {which or 'missing or unknown'} is not supported")


def _weighted(message: Any, place: str, scope: _Scope) -> tuple[WeightedCluster, ...]:
    clusters = []
    total = 0
    for index, entry in enumerate(message.clusters):
        if not entry.name:
            raise Refused(f"weighted_clusters[{index}]: name is empty (cluster_header is not supported)")
        try:
            scope.notes += overrides(entry.typed_per_filter_config, f"{place}: cluster {entry.name!r}")
        except Refused as error:
            raise error.inside(f"weighted_clusters[{index}]") from None
        weight = entry.weight.value
        total += weight
        if weight:
            clusters.append(WeightedCluster(entry.name, weight))
    if total > MAX_UINT32:
        raise Refused(f"weighted_clusters: the weights add up to {total}, more than {MAX_UINT32}")
    if not clusters:
        raise Refused("weighted_clusters: no cluster has a weight")
    return tuple(clusters)


def _timeout(action: Any) -> tuple[float | None, bool, bool]:
    """Timeout in seconds, whether it only caps the caller's deadline, and whether the route says anything.

    ``max_stream_duration`` first (A31; its ``grpc_timeout_header_max`` before itself), then ``timeout``,
    which is all that a sidecar-mode route has beside the deprecated ``max_grpc_timeout``.
    """
    duration = action.max_stream_duration
    if duration.HasField("grpc_timeout_header_max"):
        cap = limit(duration.grpc_timeout_header_max, "max_stream_duration.grpc_timeout_header_max")
        return cap, cap is not None, True
    if duration.HasField("max_stream_duration"):
        return limit(duration.max_stream_duration, "max_stream_duration"), False, True
    if action.HasField("timeout"):
        return limit(action.timeout, "timeout"), False, True
    if action.HasField("max_grpc_timeout"):
        cap = limit(action.max_grpc_timeout, "max_grpc_timeout")
        return cap, cap is not None, True
    return None, False, False


def _retry_policy(message: Any) -> RetryPolicy | None:
    """envoy.config.route.v3.RetryPolicy with the defaults of A44; ``None``: it asks for no retries."""
    attempts = message.num_retries.value if message.HasField("num_retries") else 1
    if attempts == 0:
        return None
    base, longest = _DEFAULT_BASE_INTERVAL, None
    if message.HasField("retry_back_off"):
        back_off = message.retry_back_off
        base = seconds(back_off.base_interval, "retry_policy.retry_back_off.base_interval")
        if not base:
            raise Refused("retry_policy.retry_back_off.base_interval must be more than 0")
        if back_off.HasField("max_interval"):
            longest = seconds(back_off.max_interval, "retry_policy.retry_back_off.max_interval")
            if longest < base:
                raise Refused("retry_policy.retry_back_off.max_interval is shorter than base_interval")
    return RetryPolicy(
        retry_on=tuple(filter(None, (condition.strip() for condition in message.retry_on.split(",")))),
        num_retries=attempts,
        per_try_timeout=limit(message.per_try_timeout, "retry_policy.per_try_timeout"),
        base_interval=base,
        max_interval=base * _MAX_INTERVAL_FACTOR if longest is None else longest,
        retriable_status_codes=tuple(message.retriable_status_codes),
        previous_hosts=any(predicate.name == _PREVIOUS_HOSTS for predicate in message.retry_host_predicate),
    )


def _left_out(message: Any, fields: tuple[str, ...], place: str) -> list[str]:
    held = {field.name for field, _ in message.ListFields()}
    return [f"{place}: {field} is not applied" for field in fields if field in held]


decode_route_configuration = decoder("RDS", _Proto, lambda message: message.name, route_configuration)
"""Bytes of an envoy.config.route.v3.RouteConfiguration to its model.

:raises ResourceInvalid: it is not, or breaks a rule.
"""

decode_shared_route_configuration = decoder(
    "RDS",
    _Proto,
    lambda message: message.name,
    lambda message: route_configuration(message, shared=True),
)
"""The same for a sidecar, whose RouteConfiguration of a port has the virtual hosts of every service there.

:raises ResourceInvalid: as :data:`decode_route_configuration`, but not for a bad virtual host.
"""
