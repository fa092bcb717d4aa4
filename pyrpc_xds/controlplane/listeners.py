"""Listeners: the answer to ``host:port`` (a client's target) and to an inbound name (a server's address).

Sources: gRFC A27 (client side: an ApiListener naming a route configuration), gRFC A36 (server side: a
filter chain with inline, non-forwarding routes), and istiod's own answers.
"""

from __future__ import annotations

from .envoy import (
    ApiListener,
    Filter,
    FilterChain,
    HttpConnectionManager,
    HttpFault,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Rds,
    Route,
    RouteConfiguration,
    RouteMatch,
    Router,
    VirtualHost,
)
from .names import INBOUND_PREFIX, NodeView, cluster_name, host_port, split_host_port
from .registry import Mesh, MeshService, Scope
from .wire import ads, packed, socket_address

_FAULT = HttpFilter(name="envoy.filters.http.fault", typed_config=packed(HttpFault()))
_ROUTER = HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router()))


def build_listeners(mesh: Mesh, node: NodeView, name: str) -> dict[str, Listener]:
    """What there is for one requested name: nothing, a listener, or (no port given) one for each port.

    The answer carries the host as it was asked for, because that is what the client looks for.
    """
    if name.startswith(INBOUND_PREFIX):
        inbound = _inbound(mesh, node, name)
        return {} if inbound is None else {name: inbound}
    parts = split_host_port(name)
    host, port = parts if parts is not None else (name, "")
    service = find_service(mesh.scope(node.namespace), node, host)
    if service is None:
        return {}
    found = {}
    for candidate in service.ports:
        if not port or str(candidate.number) == port:
            listener = _outbound(host_port(host, candidate.number), service, candidate.number)
            found[listener.name] = listener
    return found


def find_service(scope: Scope, node: NodeView, host: str) -> MeshService | None:
    """The service that a node means by ``host``: the full name, or short for it within the node's domain."""
    for candidate in (host, _full_name(node, host)):
        if candidate and (service := scope.services.get(candidate)) is not None:
            return service
    return None


def _full_name(node: NodeView, host: str) -> str:
    if "." not in host:
        return f"{host}.{node.domain}"
    for suffix in (node.namespace, f"{node.namespace}.svc"):
        short = host.removesuffix(f".{suffix}")
        if short != host and node.domain.startswith(suffix):
            return f"{short}.{node.domain}"
    return ""


def _outbound(name: str, service: MeshService, port: int) -> Listener:
    manager = HttpConnectionManager(
        rds=Rds(config_source=ads(), route_config_name=cluster_name("", service.host, port)),
        http_filters=[_FAULT, _ROUTER],
    )
    return Listener(
        name=name,
        address=socket_address(service.addresses[0], port),
        api_listener=ApiListener(api_listener=packed(manager)),
    )


def _inbound(mesh: Mesh, node: NodeView, name: str) -> Listener | None:
    """The listener of a server, or None while no service targets its port."""
    parts = split_host_port(name.removeprefix(INBOUND_PREFIX))
    if parts is None or not parts[1].isdigit():
        return None
    host, port = parts[0], int(parts[1])
    if port not in _target_ports(mesh, node):
        return None
    routes = RouteConfiguration(
        name="inbound",
        virtual_hosts=[
            VirtualHost(
                domains=["*"],
                routes=[Route(match=RouteMatch(prefix="/"), non_forwarding_action=NonForwardingAction())],
            )
        ],
    )
    manager = HttpConnectionManager(route_config=routes, http_filters=[_ROUTER])
    chain = FilterChain(
        name="inbound-plaintext", filters=[Filter(name="inbound-hcmplaintext", typed_config=packed(manager))]
    )
    return Listener(name=name, address=socket_address(host, port), filter_chains=[chain])


def _target_ports(mesh: Mesh, node: NodeView) -> set[int]:
    """The ports at which services of the node's namespace reach the node."""
    addresses = set(node.addresses)
    return {
        endpoint.port
        for service in mesh.services
        if service.namespace == node.namespace
        for endpoint in mesh.endpoints(service)
        if endpoint.address in addresses
    }
