"""What a consistent hash is taken of, on the routes to hosts whose DestinationRule asks for one.

Source: gRFC A42, the Envoy API (RouteAction.HashPolicy) and istiod's answers.
"""

from __future__ import annotations

from .envoy import (
    RouteActionHashPolicy,
    RouteActionHashPolicyConnectionProperties,
    RouteActionHashPolicyCookie,
    RouteActionHashPolicyCookieAttribute,
    RouteActionHashPolicyHeader,
    RouteActionHashPolicyQueryParameter,
)
from .names import NodeView
from .policies import ConsistentHash, HashKey, TrafficPolicy
from .registry import Mesh, MeshService, Scope
from .resources import Destination


def service_hash(mesh: Mesh, node: NodeView, service: MeshService, port: int) -> ConsistentHash | None:
    """The hash of a service that no VirtualService routes."""
    rule = mesh.rule(node.namespace, node.label_map, service)
    if rule is None:
        return None
    return _port_hash(rule.policy, port) or _hash_of(rule.policy)


def destination_hash(
    mesh: Mesh, scope: Scope, node: NodeView, destination: Destination
) -> ConsistentHash | None:
    """The hash of a destination: of the subset's port, the subset, the host's port, the host."""
    service = scope.service(destination.host)
    rule = mesh.rule(node.namespace, node.label_map, service) if service is not None else None
    if rule is None:
        return None
    subset = rule.subset(destination.subset)
    own = subset.policy if subset is not None else None
    return (
        _port_hash(own, destination.port)
        or _hash_of(own)
        or _port_hash(rule.policy, destination.port)
        or _hash_of(rule.policy)
    )


def _hash_of(policy: TrafficPolicy | None) -> ConsistentHash | None:
    if policy is None or policy.load_balancer is None:
        return None
    return policy.load_balancer.consistent_hash


def _port_hash(policy: TrafficPolicy | None, port: int) -> ConsistentHash | None:
    if policy is None or not port:
        return None
    return next((_hash_of(own) for number, own in policy.ports if number == port), None)


def hash_policy(hashed: ConsistentHash | None) -> RouteActionHashPolicy | None:
    """The route's side of a consistent hash."""
    if hashed is None:
        return None
    match hashed.key:
        case HashKey.HEADER:
            return RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name=hashed.name))
        case HashKey.COOKIE:
            cookie = RouteActionHashPolicyCookie(
                name=hashed.name,
                path=hashed.cookie_path,
                ttl=hashed.cookie_ttl,
                attributes=[
                    RouteActionHashPolicyCookieAttribute(name=name, value=value)
                    for name, value in hashed.cookie_attributes
                ],
            )
            return RouteActionHashPolicy(cookie=cookie)
        case HashKey.SOURCE_IP:
            properties = RouteActionHashPolicyConnectionProperties(source_ip=True)
            return RouteActionHashPolicy(connection_properties=properties)
        case HashKey.QUERY:
            return RouteActionHashPolicy(
                query_parameter=RouteActionHashPolicyQueryParameter(name=hashed.name)
            )
        case None:
            return None
