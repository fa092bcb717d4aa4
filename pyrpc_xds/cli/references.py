"""Dubbo's files in ``pyrpc-xds check``: where their references lead, and what in them has no effect."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..controlplane.findings import Finding, Level
from ..controlplane.registry import Mesh
from ..dubbo.config import DubboConfig, Reference
from ..dubbo.mapping import CLUSTER_DOMAIN, NAMESPACE, WAYS, Place, place
from ..dubbo.sections import load
from ..errors import ConfigError
from ..xds.names import parse_target

# A key at the left margin: nothing of Kubernetes' or Istio's begins so.
_DUBBO = re.compile(r"^['\"]?dubbo['\"]?[:.]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a reference leads.

    :param where: file and path of the reference.
    :param target: empty: nothing says.
    :param by: the key that said so: ``url``, ``provided_by`` or ``interface``.
    """

    where: str
    interface: str
    target: str
    by: str


def is_dubbos(path: Path) -> bool:
    """Whether a file is Dubbo's configuration."""
    try:
        return _DUBBO.search(path.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def check_references(files: Iterable[Path], mesh: Mesh) -> tuple[list[Mapped], list[Finding]]:
    """Look at Dubbo's files beside the mesh that they are for.

    The environment fills placeholders, and ``POD_NAMESPACE`` and ``CLUSTER_DOMAIN`` complete short names.
    """
    mapped: list[Mapped] = []
    findings: list[Finding] = []
    for file in files:
        try:
            config = load(file, os.environ)
        except ConfigError as error:
            where = error.where.replace(str(file), file.name)
            findings.append(Finding("error", where, f"{error.what}. {error.hint}".rstrip()))
            continue
        findings += [
            Finding(each.level, f"{file.name}: {each.path}", f"not applied: {each.why}")
            for each in config.not_applied
        ]
        for reference in config.references.values():
            where = f"{file.name}: {reference.path}"
            found, problem = _place(config, reference)
            if found is not None:
                mapped.append(Mapped(where, reference.interface, found.target, found.by))
                findings += (Finding(level, where, what) for level, what in _leads(mesh, found))
            elif problem is not None:
                findings.append(Finding("error", where, problem))
    return mapped, findings


def _place(config: DubboConfig, reference: Reference) -> tuple[Place | None, str | None]:
    if not (reference.url or reference.provided_by or reference.interface):
        return None, None  # the stub says its interface, and with it the host
    namespace, domain = os.environ.get("POD_NAMESPACE"), os.environ.get("CLUSTER_DOMAIN")
    try:
        return place(reference, config.source, namespace or NAMESPACE, domain or CLUSTER_DOMAIN), None
    except ConfigError as error:
        return None, f"{error.what}. {error.hint}".rstrip()


def _leads(mesh: Mesh, found: Place) -> Iterator[tuple[Level, str]]:
    target = parse_target(found.target)
    if not found.in_mesh:
        yield (
            "warning",
            f"calls go to {found.target} past the mesh: no rule is applied; write url: xds:///host:port",
        )
        return
    if not mesh.services:
        yield "note", f"leads to {found.target}; no Service is among the documents to say whether it is there"
        return
    services = {service.host.lower(): service for service in mesh.services}
    service = services.get(target.host)
    if service is None:
        alike = difflib.get_close_matches(target.host, services, 1)
        meant = f"; did you mean {alike[0]}?" if alike else ""
        ways = f". {WAYS}" if found.by == "interface" else ""
        yield "error", f"no Service or ServiceEntry has the host {target.host} (by {found.by}){meant}{ways}"
        return
    port = service.port(target.port)
    if port is None:
        fix = "" if found.by == "url" else "; write mesh-provider-port"
        there = ", ".join(f"{each.number} ({each.name})" for each in service.ports) or "none"
        yield "error", f"{service.host} has no port {target.port}: it has {there}{fix}"
    elif not port.protocol.routed:
        named = f"port {port.number} ({port.name}) of {service.host}"
        yield "warning", f"http rules are not applied to {named}: name it grpc-..., or set appProtocol: grpc"
