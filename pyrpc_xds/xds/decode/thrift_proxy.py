"""ThriftProxy (envoy.extensions.filters.network.thrift_proxy.v3): its inline route configuration.

istiod does not make this filter; an EnvoyFilter (Aeraki's, or one's own) puts it where ``tcp_proxy`` was. Routes
become those of one virtual host, in the same order: the first that matches decides, as in Envoy.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ...model.filter_chain import ThriftProxy
from ...model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from .common import MAX_UINT32, Refused, type_name
from .descriptors import declare, message_class
from .matcher import header_matcher

declare("""
package envoy.extensions.filters.network.thrift_proxy.v3;
message Route { RouteMatch match = 1; RouteAction route = 2; }
message RouteAction {
  oneof cluster_specifier { string cluster = 1; WeightedCluster weighted_clusters = 2; string cluster_header = 6; }
  google.protobuf.Empty metadata_match = 3;
  repeated google.protobuf.Empty rate_limits = 4;
  repeated google.protobuf.Empty request_mirror_policies = 7;
}
message RouteConfiguration { string name = 1; repeated Route routes = 2; }
message RouteMatch {
  oneof match_specifier { string method_name = 1; string service_name = 2; }
  bool invert = 3;
  repeated config.route.v3.HeaderMatcher headers = 4;
}
message ThriftFilter { string name = 1; oneof config_type { google.protobuf.Any typed_config = 3; } }
message ThriftProxy {
  RouteConfiguration route_config = 4;
  repeated ThriftFilter thrift_filters = 5;
  google.protobuf.Empty trds = 8;
}
message WeightedCluster {
  message ClusterWeight {
    string name = 1;
    google.protobuf.UInt32Value weight = 2;
    google.protobuf.Empty metadata_match = 3;
  }
  repeated ClusterWeight clusters = 1;
}
""")

THRIFT_PROXY = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"
_ROUTER = "envoy.extensions.filters.network.thrift_proxy.router.v3.Router"
_ROUTER_NAME = "envoy.filters.thrift.router"
# Fields of a RouteAction that change what is sent, or to which endpoint, and that are not done here.
_NOT_APPLIED = ("metadata_match", "rate_limits", "request_mirror_policies")


def thrift_proxy(value: bytes) -> tuple[ThriftProxy, list[str]]:
    """The bytes of a ThriftProxy as model, and notes on what is not applied.

    :raises Refused: it is not one, or breaks a rule; what Envoy refuses is refused.
    """
    try:
        message = message_class(THRIFT_PROXY).FromString(value)
    except DecodeError as error:
        raise Refused(f"not a ThriftProxy: {error}") from None
    if message.HasField("trds"):
        raise Refused("trds: Thrift routes by discovery are not supported, only an inline route_config")
    _check_filters(message.thrift_filters)
    notes: list[str] = []
    routes = []
    for index, entry in enumerate(message.route_config.routes):
        try:
            route = _route(entry, index, notes)
        except Refused as error:
            raise error.inside(f"route_config.routes[{index}]") from None
        if route is not None:
            routes.append(route)
    host = VirtualHost("thrift_proxy", ("*",), tuple(routes))
    return ThriftProxy(RouteConfiguration(message.route_config.name or "thrift_proxy", (host,))), notes


def _check_filters(filters: Any) -> None:
    for index, entry in enumerate(filters):
        kind = type_name(entry.typed_config.type_url)
        router = kind == _ROUTER or (not kind and entry.name == _ROUTER_NAME)
        if not router:
            raise Refused(f"thrift_filters[{index}] {entry.name!r}: type {kind!r} is not supported")
        if index + 1 < len(filters):
            raise Refused(f"thrift_filters[{index}]: the router must be the last one")


def _route(message: Any, index: int, notes: list[str]) -> Route | None:
    match = _match(message.match)
    place = f"thrift_proxy: route {index + 1}"
    if not message.HasField("route"):
        raise Refused("route is missing")
    action = message.route
    if action.WhichOneof("cluster_specifier") == "cluster_header":
        # As gRFC A28 has it for HTTP: the cluster would be the caller's to name.
        notes.append(f"{place} is skipped: cluster_header is not supported")
        return None
    held = {field.name for field, _ in action.ListFields()}
    notes += [f"{place}: {field} is not applied" for field in _NOT_APPLIED if field in held]
    return Route(match, ClusterRoute(_clusters(action, notes, place)), f"thrift route {index + 1}")


def _match(match: Any) -> RouteMatch:
    which = match.WhichOneof("match_specifier")
    if which == "method_name":
        kind, name = PathMatch.METHOD, match.method_name
    elif which == "service_name":
        # Envoy looks for `Service:`, the beginning of a multiplexed method name, and adds the colon itself.
        kind, name = PathMatch.SERVICE, match.service_name.removesuffix(":")
    else:
        raise Refused(f"match: {which or 'neither method_name nor service_name'} is not supported")
    if not name and match.invert:
        raise Refused(f"match: an empty {which} with invert would match nothing")
    headers = []
    for index, entry in enumerate(match.headers):
        try:
            headers.append(header_matcher(entry))
        except Refused as error:
            raise error.inside(f"match: headers[{index}] {entry.name!r}") from None
    path = PathMatcher(kind, name, invert=match.invert) if name else PathMatcher(PathMatch.PREFIX, "")
    return RouteMatch(path, tuple(headers))


def _clusters(action: Any, notes: list[str], place: str) -> tuple[WeightedCluster, ...]:
    which = action.WhichOneof("cluster_specifier")
    if which == "cluster":
        if not action.cluster:
            raise Refused("route: cluster is empty")
        return (WeightedCluster(action.cluster),)
    if which != "weighted_clusters":
        raise Refused(f"route: cluster specifier {which or 'missing or unknown'} is not supported")
    if any(entry.HasField("metadata_match") for entry in action.weighted_clusters.clusters):
        notes.append(f"{place}: metadata_match of weighted_clusters is not applied")
    return weighted(action.weighted_clusters.clusters, lambda entry: int(entry.weight.value))


def weighted(entries: Any, weight_of: Any) -> tuple[WeightedCluster, ...]:
    """The clusters of a ``weighted_clusters`` that have a weight.

    :param weight_of: the weight of an entry.
    :raises Refused: none has one, a name is empty, or they add up to more than 32 bits.
    """
    clusters = []
    for index, entry in enumerate(entries):
        if not entry.name:
            raise Refused(f"weighted_clusters[{index}]: name is empty")
        if weight := weight_of(entry):
            clusters.append(WeightedCluster(entry.name, weight))
    total = sum(cluster.weight for cluster in clusters)
    if not clusters or total > MAX_UINT32:
        raise Refused(
            f"weighted_clusters: the weights add up to {total}, which is not from 1 to {MAX_UINT32}"
        )
    return tuple(clusters)
