"""Endpoints of a cluster, by locality, weighted, and with what telemetry needs to name the workload.

Sources: gRFC A27 (localities and weights) and istiod's answers. A cluster that nobody knows has an empty
assignment, not none: the client then fails its calls at once and says why.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from .clusters import merge_subset_policy, port_policy
from .envoy import ClusterLoadAssignment, LocalityLbEndpoints
from .localities import parse_locality, prioritise
from .mesh_endpoints import Health, MeshEndpoint
from .names import NodeView, is_ip, parse_cluster_name
from .policies import TrafficPolicy
from .registry import Mesh, MeshService
from .rules import MergedRule
from .wire import append_encoded, length_delimited, varint

_LB_ENDPOINTS = 2  # number of the field in LocalityLbEndpoints


def build_endpoints(mesh: Mesh, node: NodeView, name: str) -> ClusterLoadAssignment:
    """The endpoints of the cluster of that name."""
    assignment = ClusterLoadAssignment(cluster_name=name)
    parsed = parse_cluster_name(name)
    if parsed is None:
        return assignment
    subset, host, port = parsed
    service = mesh.scope(node.namespace).service(host)
    if service is None or service.dns:
        return assignment
    rule = mesh.rule(node.namespace, node.label_map, service)
    mutual_tls = _tls_mode(rule, subset, port) in {None, "ISTIO_MUTUAL"}
    by_locality: dict[str, list[MeshEndpoint]] = defaultdict(list)
    for endpoint in _selected(mesh, node, service, rule, subset, port):
        by_locality[endpoint.locality].append(endpoint)
    for locality, members in sorted(by_locality.items()):
        part = LocalityLbEndpoints(
            locality=parse_locality(locality),
            load_balancing_weight=min(sum(endpoint.weight for endpoint in members), 2**32 - 1),
        )
        members_encoded = (
            encode_endpoint(endpoint, mesh.cluster_id, mutual_tls and endpoint.tls_mode == "istio")
            for endpoint in members
        )
        append_encoded(part, _LB_ENDPOINTS, members_encoded)
        assignment.endpoints.append(part)
    prioritise(assignment.endpoints, node.locality, _policy(rule, subset, port))
    return assignment


def _selected(
    mesh: Mesh, node: NodeView, service: MeshService, rule: MergedRule | None, subset: str, port: int
) -> list[MeshEndpoint]:
    mesh_port = service.port(port)
    if mesh_port is None:
        return []
    # A subset that no rule defines selects everything, because it asks for no label.
    found = rule.subset(subset) if rule is not None and subset else None
    labels = found.labels if found is not None else {}
    policy = _policy(rule, subset, port)
    # With a minimum health percentage, endpoints that are not ready are not sent.
    send_unhealthy = policy is None or not policy.min_health_percent
    return [
        endpoint
        for endpoint in mesh.endpoints(service)
        if endpoint.port_name == mesh_port.name
        and (is_ip(endpoint.address) or endpoint.is_unix)
        and endpoint.has_labels(labels)
        and (send_unhealthy or endpoint.health is not Health.UNHEALTHY)
        and (not service.node_local or endpoint.node_name == node.node_name)
    ]


def _policy(rule: MergedRule | None, subset: str, port: int) -> TrafficPolicy | None:
    """The traffic policy of a cluster."""
    if rule is None:
        return None
    own = rule.subset(subset)
    return merge_subset_policy(
        port_policy(rule.policy, port)[0], own.policy if own is not None else None, port
    )


def _tls_mode(rule: MergedRule | None, subset: str, port: int) -> str | None:
    """The TLS mode that a rule gives: that of the subset, or else of the host; None where none is given."""
    if rule is None:
        return None
    found = rule.subset(subset) if subset else None
    if subset and found is None:
        return None
    for policy in (found.policy if found is not None else None, rule.policy):
        if policy is None:
            continue
        own = next((settings.tls_mode for number, settings in policy.ports if number == port), None)
        if (mode := own or policy.tls_mode) is not None:
            return mode
    return None


@lru_cache(maxsize=65_536)
def encode_endpoint(endpoint: MeshEndpoint, cluster_id: str, mutual_tls: bool) -> bytes:
    """One ``envoy.config.endpoint.v3.LbEndpoint``, encoded.

    The one message that is written by hand: there can be tens of thousands of it, and the library needs a
    hundred times as long. Kept between versions, because a change seldom touches more than a few of many.
    """
    canonical, revision = endpoint.canonical()
    workload = ";".join((endpoint.workload, endpoint.namespace, canonical, revision, cluster_id))
    if endpoint.is_unix:
        address = length_delimited(2, length_delimited(1, endpoint.address.encode()))
    else:
        socket = length_delimited(2, endpoint.address.encode()) + b"\x18" + varint(endpoint.port)
        address = length_delimited(1, socket)
    found = length_delimited(1, length_delimited(1, address))
    if endpoint.health:
        found += b"\x10" + varint(endpoint.health)
    metadata = length_delimited(1, _filter_metadata("istio", "workload", workload))
    if mutual_tls:
        metadata += length_delimited(1, _filter_metadata("envoy.transport_socket_match", "tlsMode", "istio"))
    found += length_delimited(3, metadata)
    return found + length_delimited(4, b"\x08" + varint(endpoint.weight))


def _filter_metadata(name: str, key: str, value: str) -> bytes:
    """An entry of ``Metadata.filter_metadata``: a Struct of one string, under the name of a filter."""
    fields = length_delimited(1, key.encode()) + length_delimited(2, length_delimited(3, value.encode()))
    return length_delimited(1, name.encode()) + length_delimited(2, length_delimited(1, fields))
