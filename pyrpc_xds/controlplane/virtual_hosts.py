"""Which virtual hosts a port has: their names, their domains, and where their routes come from.

Source: istiod's answers. VirtualServices come before services without one, older ones before younger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .domains import service_domains, virtual_host_domains
from .matches import applies, matches_everything
from .names import NodeView, host_port, is_wildcard, wildcard_matches
from .registry import MeshService, Scope
from .resources import HttpMatch, HttpRoute, VirtualService

HTTP_PORT = 80  # istiod serves every VirtualService on it, whether or not it names a service


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A virtual host before it is built: its name, its domains, and where its routes come from."""

    name: str
    domains: tuple[str, ...]
    service: MeshService | None
    virtual_service: VirtualService | None


class PortPlan:
    """All virtual hosts of one port, and which of them have a given host among their domains."""

    def __init__(self, hosts: Iterable[HostPlan], port: int) -> None:
        self._port = port
        self._by_domain: dict[str, list[HostPlan]] = defaultdict(list)
        self._wildcards: list[tuple[str, HostPlan]] = []
        for plan in hosts:
            names = dict.fromkeys(domain.lower().removesuffix(f":{port}") for domain in plan.domains)
            for name in names:
                if is_wildcard(name):
                    self._wildcards.append((name, plan))
                else:
                    self._by_domain[name].append(plan)

    def serving(self, host: str) -> list[HostPlan]:
        """The virtual hosts one of whose domains is ``host``, at this port or at any."""
        host = host.lower()
        found = list(self._by_domain.get(host, ()))
        found.extend(
            plan for name, plan in self._wildcards if wildcard_matches(name, host) and plan not in found
        )
        return found


def port_plan(scope: Scope, node: NodeView, port: int) -> PortPlan:
    """The plan of one port, made once for all nodes to which it is the same."""
    key = (port, node.domain, node.labels)
    found = scope.port_plans.get(key)
    if not isinstance(found, PortPlan):
        found = scope.port_plans[key] = PortPlan(plan_hosts(scope, node, port), port)
    return found


def plan_hosts(scope: Scope, node: NodeView, port: int) -> list[HostPlan]:
    """All virtual hosts of one port. VirtualServices come first, the oldest first; a name is taken once."""
    on_port = scope.services_on(port)
    routed = {host: service for host, service in on_port.items() if _speaks_http(service, port)}
    known = {service.host for service in routed.values()} | {host_port(host, port) for host in routed}
    taken_names: set[str] = set()
    taken_domains: set[str] = set()
    plans: list[HostPlan] = []

    def add(host: str, service: MeshService | None, virtual_service: VirtualService | None) -> None:
        name = host_port(host, port)
        if name in taken_names:
            return
        taken_names.add(name)
        if service is None:
            candidates, short = virtual_host_domains(host, port), frozenset[str]()
        else:
            candidates, short = service_domains(service, port, node.domain)
        domains = []
        for domain in candidates:
            # A short form never takes the place of a host that really has that name.
            if domain.lower() not in taken_domains and not (domain in short and domain in known):
                taken_domains.add(domain.lower())
                domains.append(domain)
        if domains:
            plans.append(HostPlan(name, tuple(domains), service, virtual_service))

    done: set[str] = set()
    for virtual_service in scope.virtual_services:
        if not _concerns(virtual_service, on_port, port) or not live_routes(virtual_service, node, port):
            continue
        matching, others = _split_hosts(scope, virtual_service, on_port)
        services = [service for service in matching if _speaks_http(service, port)]
        if not services and port != HTTP_PORT:
            continue
        for host in others:
            add(host.lower(), None, virtual_service)
        for service in services:
            add(service.host, service, virtual_service)
            done.add(service.host.lower())
    for host, service in sorted(routed.items()):
        if host not in done and not service.external_name:
            add(service.host, service, None)
    return plans


def _speaks_http(service: MeshService, port: int) -> bool:
    found = service.port(port)
    return found is not None and found.protocol.routed


def _concerns(virtual_service: VirtualService, on_port: Mapping[str, MeshService], port: int) -> bool:
    """Whether a VirtualService names a service of the port. On port 80 all do, as in istiod."""
    if port == HTTP_PORT:
        return True
    for host in virtual_service.hosts:
        if host in on_port:
            return True
        if any(wildcard_matches(host, known) or wildcard_matches(known, host) for known in on_port if known):
            return True
    return False


def _split_hosts(
    scope: Scope, virtual_service: VirtualService, on_port: Mapping[str, MeshService]
) -> tuple[list[MeshService], list[str]]:
    """The services among a VirtualService's hosts, and the hosts that are no services."""
    services: list[MeshService] = []
    others: list[str] = []
    for host in sorted(virtual_service.hosts, key=is_wildcard):
        if not is_wildcard(host):
            service = on_port.get(host)
            if service is None:
                others.append(host)
            else:
                services.append(service)
            continue
        within = [known for known in on_port if wildcard_matches(host, known)]
        own = (known for known in sorted(within) if _most_specific(scope, known) is virtual_service)
        services.extend(on_port[known] for known in own)
        if not within:
            others.append(host)
    return services, others


def _most_specific(scope: Scope, host: str) -> VirtualService | None:
    """The VirtualService whose host comes closest to ``host``; of equals, the oldest."""
    best: tuple[int, int] | None = None
    found = None
    for virtual_service in scope.virtual_services:
        for pattern in virtual_service.hosts:
            if not wildcard_matches(pattern, host):
                continue
            rank = (0 if is_wildcard(pattern) else 1, len(pattern))
            if best is None or rank > best:
                best, found = rank, virtual_service
    return found


def live_routes(
    virtual_service: VirtualService, node: NodeView, port: int
) -> list[tuple[HttpRoute, HttpMatch | None]]:
    """The routes that concern a node and port, in order, up to the first that matches everything."""
    found: list[tuple[HttpRoute, HttpMatch | None]] = []
    for route in virtual_service.http:
        matches: Iterable[HttpMatch | None] = route.match or (None,)
        for match in matches:
            if match is not None and not applies(match, node, port):
                continue
            found.append((route, match))
            if matches_everything(match):
                return found
    return found
