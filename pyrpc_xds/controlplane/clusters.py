"""Clusters: always by EDS on the same stream, with what of a traffic policy a proxyless node can use.

Sources: gRFC A27 (EDS clusters), A32 (max_requests), A42 (ring hash), A48 (least request), A29 (TLS), and
istiod's answers. Outlier detection is not among them: istiod sends it to sidecars only.
"""

from __future__ import annotations

from dataclasses import replace

from .cluster_patches import THRIFT_OPTIONS
from .envoy import (
    CertificateProviderPluginInstance,
    CertificateValidationContext,
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
    ClusterMaglevLbConfig,
    ClusterRingHashLbConfig,
    CommonTlsContext,
    CommonTlsContextCertificateProviderInstance,
    CommonTlsContextCombinedCertificateValidationContext,
    Metadata,
    ProtocolType,
    Struct,
    ThriftProtocolOptions,
    TransportSocket,
    TransportType,
    UpstreamTlsContext,
)
from .names import NodeView, parse_cluster_name
from .policies import ConsistentHash, TrafficPolicy
from .registry import Mesh
from .wire import ads, packed

_DEFAULT_RING_SIZE = 1024


def build_cluster(mesh: Mesh, node: NodeView, name: str) -> Cluster | None:
    """The cluster of that name; None where the service, the port or the subset does not exist."""
    parsed = parse_cluster_name(name)
    if parsed is None:
        return None
    subset_name, host, port = parsed
    service = mesh.scope(node.namespace).service(host)
    if service is None or service.port(port) is None:
        return None
    rule = mesh.rule(node.namespace, node.label_map, service)
    policy = port_policy(rule.policy, port)[0] if rule is not None else None
    if subset_name:
        subset = rule.subset(subset_name) if rule is not None else None
        if subset is None:
            return None
        policy = merge_subset_policy(policy, subset.policy, port)
    cluster = Cluster(
        name=name,
        alt_stat_name=f"{name};",
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(service_name=name, eds_config=ads()),
    )
    if policy is not None:
        _apply(cluster, policy)
    _patch(cluster, mesh, node)
    return cluster


def port_policy(policy: TrafficPolicy | None, port: int) -> tuple[TrafficPolicy | None, bool]:
    """The policy for one port, and whether it is the port's own: that one inherits nothing."""
    if policy is not None:
        for number, own in policy.ports:
            if number == port:
                return own, True
    return policy, False


def merge_subset_policy(
    original: TrafficPolicy | None, subset: TrafficPolicy | None, port: int
) -> TrafficPolicy | None:
    """A subset's policy over that of its host. A port's own settings replace all four parts."""
    if subset is None:
        return original
    own, by_port = port_policy(subset, port)
    if original is None or own is None:
        return own
    merged = replace(original, ports=())
    if own.connection_pool or by_port:
        merged = replace(
            merged, connection_pool=own.connection_pool, http2_max_requests=own.http2_max_requests
        )
    if own.load_balancer is not None or by_port:
        merged = replace(merged, load_balancer=own.load_balancer)
    if own.tls_mode is not None or by_port:
        merged = replace(merged, tls_mode=own.tls_mode)
    if own.outlier_detection or by_port:
        merged = replace(
            merged, outlier_detection=own.outlier_detection, min_health_percent=own.min_health_percent
        )
    return merged


def _patch(cluster: Cluster, mesh: Mesh, node: NodeView) -> None:
    """Merge what EnvoyFilters say: as in istiod the entry of a map replaces the one of the same key."""
    patches = [patch for each in mesh.envoy_filters if each.concerns(node) for patch in each.patches]
    metadata: dict[str, Struct] = {}
    for patch in patches:
        if not patch.meets(cluster.name):
            continue
        metadata.update((key, Struct.from_dict(dict(value))) for key, value in patch.metadata)
        if patch.thrift is not None:
            transport, protocol = patch.thrift
            options = ThriftProtocolOptions(
                transport=TransportType[transport], protocol=ProtocolType[protocol]
            )
            cluster.typed_extension_protocol_options = {THRIFT_OPTIONS: packed(options)}
    if metadata:
        cluster.metadata = Metadata(filter_metadata=metadata)


def _apply(cluster: Cluster, policy: TrafficPolicy) -> None:
    balancer = policy.load_balancer
    if balancer is not None and balancer.consistent_hash is not None:
        _apply_hash(cluster, balancer.consistent_hash)
    elif balancer is not None and balancer.simple == "LEAST_REQUEST":
        cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    if policy.http2_max_requests:
        thresholds = [CircuitBreakersThresholds(max_requests=policy.http2_max_requests)]
        cluster.circuit_breakers = CircuitBreakers(thresholds=thresholds)
    if policy.tls_mode == "ISTIO_MUTUAL":
        context = UpstreamTlsContext(common_tls_context=_mesh_tls())
        cluster.transport_socket = TransportSocket(
            name="envoy.transport_sockets.tls", typed_config=packed(context)
        )


def _apply_hash(cluster: Cluster, hashed: ConsistentHash) -> None:
    kind, size = hashed.table or ("", hashed.minimum_ring_size or _DEFAULT_RING_SIZE)
    if kind == "maglev":
        cluster.lb_policy = ClusterLbPolicy.MAGLEV
        if size:
            cluster.maglev_lb_config = ClusterMaglevLbConfig(table_size=size)
    else:
        cluster.lb_policy = ClusterLbPolicy.RING_HASH
        if size:
            cluster.ring_hash_lb_config = ClusterRingHashLbConfig(minimum_ring_size=size)


def _mesh_tls() -> CommonTlsContext:
    """The mesh's certificates, from the bootstrap's provider ``default``, in the new fields and the old.

    The old ones are set on the finished messages: their constructors warn of deprecated fields.
    """
    own = CommonTlsContextCertificateProviderInstance(instance_name="default", certificate_name="default")
    root = CommonTlsContextCertificateProviderInstance(instance_name="default", certificate_name="ROOTCA")
    validation = CertificateValidationContext(
        ca_certificate_provider_instance=CertificateProviderPluginInstance(
            instance_name="default", certificate_name="ROOTCA"
        )
    )
    combined = CommonTlsContextCombinedCertificateValidationContext(default_validation_context=validation)
    combined.validation_context_certificate_provider_instance = root
    context = CommonTlsContext(
        tls_certificate_provider_instance=CertificateProviderPluginInstance(
            instance_name="default", certificate_name="default"
        ),
        combined_validation_context=combined,
    )
    context.tls_certificate_certificate_provider_instance = own
    return context
