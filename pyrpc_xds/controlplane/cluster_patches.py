"""What EnvoyFilters merge into clusters, as frozen values: metadata, and the form of Thrift messages.

istiod merges for sidecars only. Here it is done for proxyless nodes, the only ones that there are: to them the form
of Thrift messages is of use as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .meta import Labels, Meta, no_labels
from .names import NodeView, parse_cluster_name
from .rules import ROOT_NAMESPACE, selects

THRIFT_OPTIONS = "envoy.filters.network.thrift_proxy"
"""The key of Envoy's ThriftProtocolOptions among ``typed_extension_protocol_options``."""


@dataclass(frozen=True, slots=True)
class ClusterPatch:
    """An entry of ``configPatches`` that merges into outbound clusters.

    :param name: of the one cluster that it is for; then nothing else is looked at. Empty, or a port of 0: any.
    :param metadata: of ``filter_metadata``, by key: what YAML gave.
    :param thrift: ``transport`` and ``protocol`` of ThriftProtocolOptions.
    """

    name: str = ""
    service: str = ""
    subset: str = ""
    port: int = 0
    metadata: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    thrift: tuple[str, str] | None = None

    def meets(self, cluster: str) -> bool:
        """Whether it is for the cluster of that name."""
        if self.name:
            return self.name == cluster
        parsed = parse_cluster_name(cluster)
        if parsed is None:
            return False
        subset, host, port = parsed
        return (
            self.subset in ("", subset)
            and self.service in ("", host)
            and (not self.port or self.port == port)
        )


@dataclass(frozen=True, slots=True)
class EnvoyFilter:
    """An Istio EnvoyFilter, as far as it is served."""

    meta: Meta
    patches: tuple[ClusterPatch, ...] = ()
    workload_labels: Labels = field(default_factory=no_labels)
    priority: int = 0

    def concerns(self, node: NodeView) -> bool:
        """Whether it is for that node: one of its own namespace, or any where the filter is in the root namespace."""
        return self.meta.namespace in (ROOT_NAMESPACE, node.namespace) and selects(
            self.workload_labels, node.label_map
        )


def in_order(filters: Iterable[EnvoyFilter]) -> tuple[EnvoyFilter, ...]:
    """The filters in istiod's order: by priority; the root namespace's first, then the older ones."""
    return tuple(
        sorted(
            filters,
            key=lambda each: (
                each.priority,
                each.meta.namespace != ROOT_NAMESPACE,
                each.meta.created,
                f"{each.meta.name}.{each.meta.namespace}",
            ),
        )
    )
