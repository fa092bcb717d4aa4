"""The objects of a mesh by kind, in the order in which they count: the oldest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .cluster_patches import EnvoyFilter
from .policies import DestinationRule
from .resources import (
    Endpoints,
    EndpointSlice,
    Node,
    Pod,
    Resource,
    Service,
    ServiceEntry,
    VirtualService,
    WorkloadEntry,
)


@dataclass(slots=True)
class Inputs:
    """What a mesh is made from."""

    services: list[Service] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    slices: dict[tuple[str, str], list[EndpointSlice]] = field(default_factory=lambda: defaultdict(list))
    endpoints: dict[tuple[str, str], Endpoints] = field(default_factory=dict)
    service_entries: list[ServiceEntry] = field(default_factory=list)
    workload_entries: list[WorkloadEntry] = field(default_factory=list)
    virtual_services: list[VirtualService] = field(default_factory=list)
    destination_rules: list[DestinationRule] = field(default_factory=list)
    envoy_filters: list[EnvoyFilter] = field(default_factory=list)


def sort_inputs(resources: Iterable[Resource]) -> Inputs:
    """The resources by kind; each kind in order of creation, and of reading where that says nothing."""
    found = Inputs()
    for resource in sorted(resources, key=lambda item: item.meta.created):
        match resource:
            case Service():
                found.services.append(resource)
            case Pod():
                found.pods.append(resource)
            case Node():
                found.nodes[resource.meta.name] = resource
            case EndpointSlice():
                found.slices[(resource.meta.namespace, resource.service)].append(resource)
            case Endpoints():
                found.endpoints[(resource.meta.namespace, resource.meta.name)] = resource
            case ServiceEntry():
                found.service_entries.append(resource)
            case WorkloadEntry():
                found.workload_entries.append(resource)
            case VirtualService():
                found.virtual_services.append(resource)
            case DestinationRule():
                found.destination_rules.append(resource)
            case EnvoyFilter():
                found.envoy_filters.append(resource)
    return found
