"""What documents do not say to each other: rules that are never used, lead nowhere, or have no effect.

``pyrpc-xds check`` shows it before anything is deployed, the control plane logs it when it serves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from .cluster_patches import EnvoyFilter
from .documents import Documents
from .names import parse_cluster_name
from .registry import Mesh, MeshService, Scope
from .resources import (
    Destination,
    HttpMatch,
    HttpRoute,
    MatchKind,
    Resolution,
    ServiceEntry,
    VirtualService,
)

Level = Literal["error", "warning", "note"]
SERVICES = ("Service", "ServiceEntry")
"""Kinds that make hosts."""
ENDPOINTS = (*SERVICES, "Endpoints", "EndpointSlice", "Pod", "WorkloadEntry")
"""Kinds that make endpoints."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reader of the YAML may not expect.

    :param level: ``error``: refused, or calls will fail; ``warning``: something has no effect or is likely a
        slip; ``note``: valid, and not applied by a proxyless client of this version.
    :param where: file and object, or the target.
    """

    level: Level
    where: str
    what: str


def may_be_refused(documents: Documents, *kinds: str) -> bool:
    """Whether what is missing may be in a document that is bad: then only that one is worth a finding."""
    return bool(documents.broken) or any(kind in kinds for kind, _, _ in documents.failed - documents.keys)


def looked_up_by_nobody(entry: ServiceEntry) -> bool:
    """Whether its hosts are to be resolved by the proxy: proxyless clients are sent no endpoints of it."""
    return entry.resolution is not Resolution.STATIC


def rule_findings(documents: Documents, mesh: Mesh) -> Iterator[Finding]:
    """What the good documents of ``documents``, which ``mesh`` was made of, will not do."""
    for rule in documents.resources:
        if rule.meta.kind == "VirtualService" and isinstance(rule, VirtualService):
            yield from _virtual_service(documents, mesh, rule)
        elif rule.meta.kind == "DestinationRule":
            yield from _destination_rule(documents, mesh, rule)
        elif isinstance(rule, EnvoyFilter) and rule.patches:
            yield from _envoy_filter(documents, mesh, rule)
        elif isinstance(rule, ServiceEntry) and looked_up_by_nobody(rule):
            yield Finding(
                "warning",
                rule.meta.where,
                f"spec.resolution is {rule.resolution.value}, and proxyless clients look no host up: calls to "
                f"{', '.join(rule.hosts)} find no endpoints; write STATIC with spec.endpoints or the "
                "spec.workloadSelector of WorkloadEntries (IP addresses), or call HOST:PORT without xds:///",
            )


def _virtual_service(documents: Documents, mesh: Mesh, rule: VirtualService) -> Iterator[Finding]:
    where, scope = rule.meta.where, mesh.scope(rule.meta.namespace)
    if rule.gateways and "mesh" not in rule.gateways:
        yield Finding(
            "warning", where, "spec.gateways does not name 'mesh', so calls inside the mesh do not see it"
        )
        return
    for host in rule.hosts:
        service = scope.service(host)
        if service is None and "*" not in host and not may_be_refused(documents, *SERVICES):
            yield Finding(
                "warning", where, f"no Service or ServiceEntry has the host {host}: the rules are never used"
            )
        elif service is not None and rule.http and not any(port.protocol.routed for port in service.ports):
            ports = ", ".join(f"{port.number} ({port.name})" for port in service.ports)
            yield Finding(
                "warning",
                where,
                f"http rules are not applied to {host}: none of its ports is HTTP or gRPC: {ports}; name the port "
                "http-..., http2-... or grpc-..., or set appProtocol",
            )
    for index, http in enumerate(rule.http):
        yield from _http_route(documents, mesh, scope, rule, index, http)


def _http_route(
    documents: Documents, mesh: Mesh, scope: Scope, rule: VirtualService, index: int, http: HttpRoute
) -> Iterator[Finding]:
    where, place = rule.meta.where, f"spec.http[{index}]{f' ({http.name})' if http.name else ''}"
    for weighted in http.route:
        yield from _destination(documents, mesh, scope, rule, place, weighted.destination)
    if http.retries is not None and http.retries.attempts:
        yield Finding(
            "note", where, f"{place}.retries: not applied by this version (a refused connection is retried)"
        )
    if index + 1 < len(rule.http) and any(map(_matches_all, http.match or (HttpMatch(),))):
        later = len(rule.http) - index - 1
        yield Finding(
            "warning",
            where,
            f"{place} matches every call: the {later} after it never do; put it last, or give it a condition",
        )
    total = sum(weighted.weight for weighted in http.route)
    if len(http.route) > 1 and total != 100:
        shares = ", ".join(
            f"{_destination_name(each.destination)} {each.weight / total:.0%}" for each in http.route
        )
        yield Finding(
            "warning",
            where,
            f"{place}: the weights sum up to {total}, not to 100; they count as shares: {shares}",
        )


def _matches_all(match: HttpMatch) -> bool:
    """Whether every call meets it: it has no condition, or none but a path that begins with a slash."""
    any_path = match.uri is None or (match.uri.kind is MatchKind.PREFIX and match.uri.value in ("", "/"))
    return (
        any_path and replace(match, name="", stat_prefix="", uri=None, ignore_uri_case=False) == HttpMatch()
    )


def _destination_name(destination: Destination) -> str:
    return f"{destination.host} {destination.subset}".rstrip()


def _destination(
    documents: Documents, mesh: Mesh, scope: Scope, rule: VirtualService, place: str, destination: Destination
) -> Iterator[Finding]:
    where, named = rule.meta.where, f"{place}: destination {destination.host}"
    service = scope.service(destination.host)
    if service is None:
        if not may_be_refused(documents, *SERVICES):
            yield Finding("error", where, f"{named} is no Service or ServiceEntry: calls routed there fail")
        return
    if destination.port and service.port(destination.port) is None:
        yield Finding("error", where, f"{named} has no port {destination.port}: calls routed there fail")
    if not destination.subset:
        return
    merged = mesh.rule(rule.meta.namespace, {}, service)
    subset = merged.subset(destination.subset) if merged else None
    if subset is None and not may_be_refused(documents, "DestinationRule"):
        known = ", ".join(entry.name for entry in merged.subsets) if merged else ""
        hint = f"its DestinationRule has {known}" if known else "it has no DestinationRule with subsets"
        yield Finding(
            "error", where, f"{named} has no subset {destination.subset!r} ({hint}): calls routed there fail"
        )


def _destination_rule(documents: Documents, mesh: Mesh, rule: Any) -> Iterator[Finding]:
    scope = mesh.scope(rule.meta.namespace)
    service = scope.service(rule.host)
    if service is None:
        if "*" not in rule.host and not may_be_refused(documents, *SERVICES):
            yield Finding("warning", rule.meta.where, f"no Service or ServiceEntry has the host {rule.host}")
        return
    endpoints = mesh.endpoints(service)
    for subset in rule.subsets:
        if may_be_refused(documents, *ENDPOINTS):
            return
        if endpoints and not any(endpoint.has_labels(subset.labels) for endpoint in endpoints):
            wanted = ", ".join(f"{key}={value}" for key, value in subset.labels.items())
            there = sorted({f"{k}={v}" for e in endpoints for k, v in e.labels if k in subset.labels})
            yield Finding(
                "warning",
                rule.meta.where,
                f"subset {subset.name} has no endpoints: none has {wanted} "
                f"(there is {', '.join(there) or 'no such label'})",
            )


def _envoy_filter(documents: Documents, mesh: Mesh, rule: EnvoyFilter) -> Iterator[Finding]:
    where, scope = rule.meta.where, mesh.scope(rule.meta.namespace)
    yield Finding(
        "note",
        where,
        "istiod patches the clusters of sidecars only: behind it this reaches clients with XDS_MODE=sidecar and no "
        "others; this control plane patches those of every client",
    )
    if may_be_refused(documents, *SERVICES, "DestinationRule"):
        return
    for patch in rule.patches:
        subset, host, port = parse_cluster_name(patch.name) or (patch.subset, patch.service, patch.port)
        service = scope.service(host) if host else None
        if patch.name and parse_cluster_name(patch.name) is None:
            missing = f"{patch.name} is no name of an outbound cluster (outbound|PORT|SUBSET|HOST)"
        elif host and service is None:
            missing = f"no Service or ServiceEntry has the host {host}, which is written out in full"
        elif service is not None and port and service.port(port) is None:
            missing = f"{host} has no port {port}"
        elif service is not None and subset and not _has_subset(mesh, rule, service, subset):
            missing = f"{host} has no subset {subset!r}"
        else:
            continue
        yield Finding("warning", where, f"a patch meets no cluster: {missing}")


def _has_subset(mesh: Mesh, rule: EnvoyFilter, service: MeshService, subset: str) -> bool:
    merged = mesh.rule(rule.meta.namespace, {}, service)
    return merged is not None and merged.subset(subset) is not None
