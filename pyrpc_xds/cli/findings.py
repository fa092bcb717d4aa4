"""What a folder of YAML will do and what it will not: found by running it through both ends.

The embedded control plane makes of it what istiod would, the client decodes that as it would in production, and
what gets lost on the way, or leads nowhere, is a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..controlplane.documents import config_files, read_files
from ..controlplane.findings import ENDPOINTS, Finding, looked_up_by_nobody, may_be_refused, rule_findings
from ..controlplane.names import NodeView, parse_cluster_name
from ..controlplane.registry import Mesh, MeshService
from ..controlplane.resources import ServiceEntry
from ..errors import ResourceInvalid
from ..model.route import RouteConfiguration
from ..routing.snapshot import cluster_names
from ..xds.names import join_host_port
from ..xds.types import CDS, EDS, LDS, RDS, ResourceType

if TYPE_CHECKING:
    from .references import Mapped


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
    findings += rule_findings(documents, mesh)
    references, found = check_references(dubbos, mesh)
    findings += found
    targets = []
    explained = {
        host
        for entry in documents.resources
        if isinstance(entry, ServiceEntry) and looked_up_by_nobody(entry)
        for host in entry.hosts
    }
    if may_be_refused(documents, *ENDPOINTS):
        explained.update(service.host for service in mesh.services)
    for service in sorted(mesh.services, key=lambda service: service.host):
        for port in service.ports:
            target, found = _target(mesh, service, port.number, explained)
            findings += found
            if target is not None:
                targets.append(target)
    return Report(tuple(targets), tuple(dict.fromkeys(findings)), tuple(references))


def _note(text: str) -> Finding:
    where, found, what = text.rpartition("): ")
    return Finding("note", f"{where})" if found else "", what)


# -- what a client gets -------------------------------------------------------------------------------------------


def _target(
    mesh: Mesh, service: MeshService, number: int, explained: set[str]
) -> tuple[Target | None, list[Finding]]:
    """:param explained: hosts of which it has been said why they have no endpoints."""
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
        parsed = parse_cluster_name(cluster_name)
        if cluster is not None and not count and (parsed is None or parsed[1] not in explained):
            findings.append(
                Finding("warning", name, f"cluster {cluster_name} has no usable endpoints: calls to it fail")
            )
    port = service.port(number)
    routes = sum(len(host.routes) for host in config.virtual_hosts)
    return Target(name, port.protocol.value if port else "", routes, tuple(clusters)), findings
