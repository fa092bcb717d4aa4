"""What a folder of YAML will do and what it will not: found by running it through both ends.

The embedded control plane makes of it what istiod would, the client decodes that as it would in production, and
what gets lost on the way, or leads nowhere, is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..controlplane.documents import Documents, config_files, read_files
from ..controlplane.names import NodeView
from ..controlplane.registry import Mesh, MeshService, Scope
from ..controlplane.resources import Destination, HttpMatch, HttpRoute, MatchKind, VirtualService
from ..errors import ResourceInvalid
from ..model.route import RouteConfiguration
from ..routing.snapshot import cluster_names
from ..xds.names import join_host_port
from ..xds.types import CDS, EDS, LDS, RDS, ResourceType

if TYPE_CHECKING:
    from .references import Mapped

Level = Literal["error", "warning", "note"]


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


@dataclass(frozen=True, slots=True)
class Target:
    """What a client of one host and port gets.

    :param clusters: name and number of endpoints of each cluster that calls can be routed to; a Deployment whose
        pods are not among the documents counts as one.
    """

    target: str
    protocol: str
    routes: int
    clusters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and what works.

    :param references: of the files of Dubbo's that are among the documents.
    """

    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    references: tuple[Mapped, ...] = ()

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return all(finding.level != "error" for finding in self.findings)


def check_folder(path: Path) -> Report:
    """Look at every YAML file of a folder, or at one file.

    :raises ConfigError: there is no such folder, or the control-plane extra is missing.
    """
    from .references import check_references, is_dubbos
    from .workloads import check_services, expected_pods, workloads

    files = config_files(path)
    dubbos = [file for file in files if is_dubbos(file)]
    documents = read_files(file for file in files if file not in dubbos)
    findings = [
        Finding("error", error.where, f"{error.what}. {error.hint}".rstrip()) for error in documents.errors
    ]
    findings += [_note(text) for text in documents.notes]
    known = workloads(file for file in files if file not in dubbos)
    mesh = Mesh((*documents.resources, *expected_pods(known, documents)))
    findings += check_services(documents, known)
    findings += _rules(documents, mesh)
    references, found = check_references(dubbos, mesh)
    findings += found
    targets = []
    for service in sorted(mesh.services, key=lambda service: service.host):
        for port in service.ports:
            target, found = _target(mesh, service, port.number)
            findings += found
            if target is not None:
                targets.append(target)
    return Report(tuple(targets), tuple(dict.fromkeys(findings)), tuple(references))


def _note(text: str) -> Finding:
    where, found, what = text.rpartition("): ")
    return Finding("note", f"{where})" if found else "", what)


# -- what the objects say about each other ------------------------------------------------------------------------


def _rules(documents: Documents, mesh: Mesh) -> Iterator[Finding]:
    for rule in documents.resources:
        if rule.meta.kind == "VirtualService" and isinstance(rule, VirtualService):
            yield from _virtual_service(mesh, rule)
        elif rule.meta.kind == "DestinationRule":
            yield from _destination_rule(mesh, rule)


def _virtual_service(mesh: Mesh, rule: VirtualService) -> Iterator[Finding]:
    where, scope = rule.meta.where, mesh.scope(rule.meta.namespace)
    if rule.gateways and "mesh" not in rule.gateways:
        yield Finding(
            "warning", where, "spec.gateways does not name 'mesh', so calls inside the mesh do not see it"
        )
        return
    for host in rule.hosts:
        service = scope.service(host)
        if service is None and "*" not in host:
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
        yield from _http_route(mesh, scope, rule, index, http)


def _http_route(
    mesh: Mesh, scope: Scope, rule: VirtualService, index: int, http: HttpRoute
) -> Iterator[Finding]:
    where, place = rule.meta.where, f"spec.http[{index}]{f' ({http.name})' if http.name else ''}"
    for weighted in http.route:
        yield from _destination(mesh, scope, rule, place, weighted.destination)
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
    mesh: Mesh, scope: Scope, rule: VirtualService, place: str, destination: Destination
) -> Iterator[Finding]:
    where, named = rule.meta.where, f"{place}: destination {destination.host}"
    service = scope.service(destination.host)
    if service is None:
        yield Finding("error", where, f"{named} is no Service or ServiceEntry: calls routed there fail")
        return
    if destination.port and service.port(destination.port) is None:
        yield Finding("error", where, f"{named} has no port {destination.port}: calls routed there fail")
    if not destination.subset:
        return
    merged = mesh.rule(rule.meta.namespace, {}, service)
    subset = merged.subset(destination.subset) if merged else None
    if subset is None:
        known = ", ".join(entry.name for entry in merged.subsets) if merged else ""
        hint = f"its DestinationRule has {known}" if known else "it has no DestinationRule with subsets"
        yield Finding(
            "error", where, f"{named} has no subset {destination.subset!r} ({hint}): calls routed there fail"
        )


def _destination_rule(mesh: Mesh, rule: Any) -> Iterator[Finding]:
    scope = mesh.scope(rule.meta.namespace)
    service = scope.service(rule.host)
    if service is None:
        if "*" not in rule.host:
            yield Finding("warning", rule.meta.where, f"no Service or ServiceEntry has the host {rule.host}")
        return
    endpoints = mesh.endpoints(service)
    for subset in rule.subsets:
        if endpoints and not any(endpoint.has_labels(subset.labels) for endpoint in endpoints):
            wanted = ", ".join(f"{key}={value}" for key, value in subset.labels.items())
            there = sorted({f"{k}={v}" for e in endpoints for k, v in e.labels if k in subset.labels})
            yield Finding(
                "warning",
                rule.meta.where,
                f"subset {subset.name} has no endpoints: none has {wanted} "
                f"(there is {', '.join(there) or 'no such label'})",
            )


# -- what a client gets -------------------------------------------------------------------------------------------


def _target(mesh: Mesh, service: MeshService, number: int) -> tuple[Target | None, list[Finding]]:
    from ..controlplane.snapshot import Snapshot

    findings: list[Finding] = []
    authority = join_host_port(service.host, number)
    name = f"xds:///{authority}"
    view = NodeView(service.namespace, f"{service.namespace}.svc.{mesh.domain}")
    made = Snapshot(mesh, "check")

    def decoded(kind: ResourceType, resource: str) -> Any:
        raw = made.resources(kind.type_url, view, resource).get(resource)
        if raw is None:
            return None
        try:
            model = kind.decode(raw)[1]
        except ResourceInvalid as error:
            findings.append(
                Finding("error", name, f"the client refuses {kind.short_name} {resource}: {error.reason}")
            )
            return None
        findings.extend(Finding("note", name, note) for note in model.notes)
        return model

    listener = decoded(LDS, authority)
    if listener is None:
        return None, findings
    config: RouteConfiguration | None = listener.route_config or decoded(RDS, listener.route_config_name)
    if config is None:
        return None, findings
    clusters = []
    for cluster_name in cluster_names(config, authority):
        cluster = decoded(CDS, cluster_name)
        assignment = decoded(EDS, cluster.eds_service_name) if cluster else None
        count = len(assignment.endpoints) if assignment else 0
        clusters.append((cluster_name, count))
        if cluster is not None and not count:
            findings.append(
                Finding("warning", name, f"cluster {cluster_name} has no usable endpoints: calls to it fail")
            )
    port = service.port(number)
    routes = sum(len(host.routes) for host in config.virtual_hosts)
    return Target(name, port.protocol.value if port else "", routes, tuple(clusters)), findings
