"""Services and the workloads behind them: selectors that select nothing, ports that no container has.

In a cluster they are only seen as a service without endpoints.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..controlplane.documents import Documents, read_yaml
from ..controlplane.findings import Finding
from ..controlplane.meta import Meta
from ..controlplane.resources import Endpoints, EndpointSlice, Pod, Service

# Kinds with a template of pods at spec.template, and CronJob's at spec.jobTemplate.spec.template.
_TEMPLATES = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "Rollout",
)
# Of pods that are expected: 198.18.0.0/15, which no network has (RFC 2544).
_ADDRESSES = ipaddress.IPv4Address("198.18.0.1")


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods, or what makes them.

    :param label: kind, namespace and name.
    :param ports: its containers' ports, by name.
    :param makes: how many pods it makes; a Pod makes none.
    """

    label: str
    namespace: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    makes: int


def workloads(files: Iterable[Path]) -> tuple[Workload, ...]:
    """The workloads of YAML files. What is not in order is passed over: reading the documents has said so."""
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for _, document in read_yaml(text):
            items = _at(document, "items") if _at(document, "kind") == "List" else [document]
            found += [made for item in items or () if (made := _workload(item)) is not None]
    return tuple(found)


def expected_pods(known: Iterable[Workload], documents: Documents) -> Iterator[Pod]:
    """A pod of each workload that makes some, as it will be; none where some are among the documents.

    So rules can be followed to their end before anything is deployed.
    """
    there = [each.meta for each in documents.resources if isinstance(each, Pod)]
    for number, each in enumerate(known):
        if each.makes and not any(
            meta.namespace == each.namespace and each.labels.items() <= meta.labels.items() for meta in there
        ):
            meta = Meta("Pod", each.namespace, f"{each.label} expected", labels=each.labels)
            yield Pod(meta, ip=str(_ADDRESSES + number), container_ports=each.ports)


def check_services(documents: Documents, known: tuple[Workload, ...]) -> Iterator[Finding]:
    """What is wrong between the Services of ``documents`` and the workloads beside them.

    A Service is passed over where its endpoints are given, or where its namespace has no workload here: its pods
    are described elsewhere.
    """
    given = {
        (
            resource.meta.namespace,
            resource.service if isinstance(resource, EndpointSlice) else resource.meta.name,
        )
        for resource in documents.resources
        if isinstance(resource, EndpointSlice | Endpoints)
    }
    for service in documents.resources:
        if not isinstance(service, Service) or not service.selector:
            continue
        beside = [each for each in known if each.namespace == service.meta.namespace]
        if beside and (service.meta.namespace, service.meta.name) not in given:
            yield from _check(service, beside)


def _check(service: Service, beside: list[Workload]) -> Iterator[Finding]:
    wanted = service.selector.items()
    selected = [each for each in beside if wanted <= each.labels.items()]
    where = service.meta.where
    if not selected:
        words = ", ".join(f"{key}={value}" for key, value in wanted)
        nearest = max(beside, key=lambda each: (len(wanted & each.labels.items()), _likeness(wanted, each)))
        there = ", ".join(f"{key}={nearest.labels[key]}" for key, _ in wanted if key in nearest.labels)
        yield Finding(
            "warning",
            where,
            f"spec.selector {words} selects none of the {len(beside)} workloads beside it (the nearest, "
            f"{nearest.label}, has {there or 'no such label'}): correct the selector or the pods' labels",
        )
        return
    names = sorted({name for each in selected for name in each.ports})
    for index, port in enumerate(service.ports):
        if isinstance(port.target_port, str) and port.target_port not in names:
            alike = difflib.get_close_matches(port.target_port, names, 1)
            there = (
                f"did you mean {alike[0]}?" if alike else f"there is {', '.join(names) or 'no named port'}"
            )
            yield Finding(
                "warning",
                where,
                f"spec.ports[{index}].targetPort {port.target_port!r} is the name of no container port of "
                f"{', '.join(each.label for each in selected)}: {there}",
            )


def _likeness(wanted: Iterable[tuple[str, str]], workload: Workload) -> float:
    return max(
        difflib.SequenceMatcher(None, value, workload.labels.get(key, "")).ratio() for key, value in wanted
    )


def _workload(document: Any) -> Workload | None:
    kind = _at(document, "kind")
    if kind == "Pod":
        pod = document
    elif kind in _TEMPLATES:
        pod = _at(document, "spec", "template")
    elif kind == "CronJob":
        pod = _at(document, "spec", "jobTemplate", "spec", "template")
    else:
        return None
    namespace, name = _at(document, "metadata", "namespace") or "default", _at(document, "metadata", "name")
    labels = _at(pod, "metadata", "labels")
    containers = _at(pod, "spec", "containers")
    ports = [
        port
        for container in (containers if isinstance(containers, list) else ())
        for port in (_at(container, "ports") or ())
    ]
    return Workload(
        f"{kind} {namespace}/{name}",
        str(namespace),
        {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {},
        {
            str(_at(port, "name")): number
            for port in ports
            if _at(port, "name") and isinstance(number := _at(port, "containerPort"), int)
        },
        _number(_at(document, "spec", "replicas"), 1) if kind in _TEMPLATES else 0,
    )


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) else default


def _at(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document
