"""The names that Istio gives things: qualified hosts, cluster names, listener names, nodes.

Sources: istiod's answers to proxyless nodes (tests/data/istiod), gRFC A27 and A36 for the two kinds of
listener names, and Istio's node identifier ``type~ip~pod.namespace~domain``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from .meta import NO_LABELS, Labels

CLUSTER_DOMAIN = "cluster.local"
INBOUND_PREFIX = "xds.istio.io/grpc/lds/inbound/"
UNSPECIFIED_ADDRESS = "0.0.0.0"  # a service without a virtual address
_NODE_PARTS = 4
_CLUSTER_PARTS = 4


def is_ip(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def qualify(host: str, namespace: str, domain: str = CLUSTER_DOMAIN) -> str:
    """The full host name of a short one, as the object's namespace means it.

    Only a name without a dot is short; ``*`` and addresses stay as they are.
    """
    if host == "*" or "." in host or is_ip(host):
        return host
    return f"{host}.{namespace}.svc.{domain}"


def service_host(name: str, namespace: str, domain: str = CLUSTER_DOMAIN) -> str:
    """The host name of a Kubernetes Service."""
    return f"{name}.{namespace}.svc.{domain}"


def host_port(host: str, port: int | str) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(name: str) -> tuple[str, str] | None:
    """The two halves of ``host:port``, or None where there is no port."""
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        return (host, rest[1:]) if bracket and rest.startswith(":") else None
    host, colon, port = name.rpartition(":")
    return (host, port) if colon and ":" not in host else None


def cluster_name(subset: str, host: str, port: int) -> str:
    """The name of an outbound cluster, which is also that of its endpoints and (no subset) of its routes."""
    return f"outbound|{port}|{subset}|{host}"


def parse_cluster_name(name: str) -> tuple[str, str, int] | None:
    """Subset, host and port of an outbound cluster's name, or None if it is not one."""
    parts = name.split("|")
    if len(parts) != _CLUSTER_PARTS or not parts[1].isdigit() or not parts[3] or not int(parts[1]):
        return None
    return parts[2], parts[3], int(parts[1])


def is_wildcard(host: str) -> bool:
    """Whether ``host`` stands for many."""
    return host.startswith("*")


def wildcard_matches(pattern: str, host: str) -> bool:
    """Whether ``host``, which may itself be a wildcard, lies within ``pattern``."""
    if not is_wildcard(pattern):
        return pattern == host
    if pattern == "*":
        return True
    return host.endswith(pattern[1:]) and len(host) >= len(pattern)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the answers to a node depend on. Two nodes with equal views get equal bytes."""

    namespace: str
    domain: str
    labels: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    cluster_id: str = "Kubernetes"
    node_name: str = ""
    locality: tuple[str, str, str] = ("", "", "")

    @property
    def label_map(self) -> Labels:
        """The labels as a mapping."""
        return dict(self.labels) if self.labels else NO_LABELS


def parse_node(
    node_id: str, metadata: Mapping[str, Any], locality: tuple[str, str, str] = ("", "", "")
) -> NodeView:
    """The view of a node, from its identifier and metadata.

    :param node_id: ``sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local``.
    :param metadata: the node's metadata as plain values.
    :param locality: region, zone and sub-zone, as far as the node says.

    Raises ConfigError with what to change in the client's bootstrap.
    """
    where = f"node {node_id!r}"
    parts = node_id.split("~")
    if len(parts) != _NODE_PARTS:
        raise ConfigError(
            f"the id has {len(parts)} parts, not {_NODE_PARTS}",
            where=where,
            hint="Write it as sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local in the bootstrap.",
        )
    generator = metadata.get("GENERATOR")
    if generator != "grpc":
        raise ConfigError(
            f"metadata GENERATOR is {generator!r}; this control plane answers proxyless nodes only"
            f"{'' if generator else ', and has no sidecar mode, unlike istiod'}",
            where=where,
            hint="Unset XDS_MODE, or set it to grpc; a bootstrap's node metadata has GENERATOR: grpc.",
        )
    given = str(metadata.get("INSTANCE_IPS") or parts[1])
    addresses = tuple(address for address in given.split(",") if is_ip(address))
    if not addresses:
        raise ConfigError(
            f"{given!r} is not an IP address", where=where, hint="Put the pod's address into the second part."
        )
    labels = metadata.get("LABELS")
    return NodeView(
        namespace=str(metadata.get("NAMESPACE") or parts[3].partition(".")[0]),
        domain=parts[3],
        labels=tuple(sorted((str(key), str(value)) for key, value in (labels or {}).items())),
        addresses=addresses,
        cluster_id=str(metadata.get("CLUSTER_ID") or "Kubernetes"),
        node_name=str(metadata.get("NODE_NAME") or ""),
        locality=locality,
    )
