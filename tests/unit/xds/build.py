"""Resources for tests, built with the gRPC team's protobuf classes: a good one of each type, to be bent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.message import Message

from pyrpc_xds.xds.decode.envelope import DiscoveryResponse, RawResource
from pyrpc_xds.xds.types import ResourceType

HCM = http_connection_manager_pb2.HttpConnectionManager
TARGET = "greeter:9090"
ROUTES = "outbound|9090||greeter"
ACTIONS = frozenset({"route", "redirect", "direct_response", "filter_action", "non_forwarding_action"})
ADS = config_source_pb2.ConfigSource(ads={})


def http_filter(name: str, config: Message | None, optional: bool = False) -> Any:
    result = http_connection_manager_pb2.HttpFilter(name=name, is_optional=optional)
    if config is not None:
        result.typed_config.Pack(config)
    return result


def router() -> Any:
    return http_filter("envoy.filters.http.router", router_pb2.Router())


def hcm(**fields: Any) -> Any:
    fields.setdefault("http_filters", [router()])
    if "route_config" not in fields and "scoped_routes" not in fields:
        fields.setdefault("rds", http_connection_manager_pb2.Rds(config_source=ADS, route_config_name=ROUTES))
    return HCM(**fields)


def listener(name: str = TARGET, manager: Message | None = None) -> Any:
    result = listener_pb2.Listener(name=name)
    result.api_listener.api_listener.Pack(hcm() if manager is None else manager)
    return result


def route(match: Any = None, **fields: Any) -> Any:
    if not ACTIONS & fields.keys():
        fields["route"] = route_components_pb2.RouteAction(cluster="c")
    return route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix="/") if match is None else match, **fields
    )


def route_config(name: str = ROUTES, routes: Iterable[Any] | None = None, **host: Any) -> Any:
    host.setdefault("domains", ["*"])
    return route_pb2.RouteConfiguration(
        name=name,
        virtual_hosts=[
            route_components_pb2.VirtualHost(
                name="host", routes=[route()] if routes is None else routes, **host
            )
        ],
    )


def cluster(name: str = "c", **fields: Any) -> Any:
    fields.setdefault("type", cluster_pb2.Cluster.EDS)
    fields.setdefault("eds_cluster_config", cluster_pb2.Cluster.EdsClusterConfig(eds_config=ADS))
    return cluster_pb2.Cluster(name=name, **fields)


def lb_endpoint(host: str = "10.0.0.1", port: int = 80, **fields: Any) -> Any:
    result = endpoint_components_pb2.LbEndpoint(**fields)
    result.endpoint.address.socket_address.address = host
    result.endpoint.address.socket_address.port_value = port
    return result


def locality(
    endpoints: Iterable[Any] | None = None, *, zone: str = "z", weight: int | None = 1, priority: int = 0
) -> Any:
    result = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[lb_endpoint()] if endpoints is None else endpoints, priority=priority
    )
    result.locality.zone = zone
    if weight is not None:
        result.load_balancing_weight.value = weight
    return result


def assignment(name: str = "c", localities: Iterable[Any] | None = None) -> Any:
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name, endpoints=[locality()] if localities is None else localities
    )


def response(
    kind: ResourceType, *resources: Message | bytes, version: str = "1", nonce: str = "n1"
) -> DiscoveryResponse:
    """A response as the session sees it."""
    return DiscoveryResponse(
        kind.type_url,
        version,
        nonce,
        tuple(
            RawResource(kind.type_url, item if isinstance(item, bytes) else item.SerializeToString())
            for item in resources
        ),
    )
