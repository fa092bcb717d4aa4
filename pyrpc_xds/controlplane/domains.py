"""The domains of a virtual host: every spelling by which a node may call a service.

Source: istiod's answers; the search path of Kubernetes' DNS.
"""

from __future__ import annotations

from .names import UNSPECIFIED_ADDRESS, host_port, is_ip
from .registry import MeshService


def virtual_host_domains(host: str, port: int) -> list[str]:
    """The domains of a host that is no service: itself, without and with the port."""
    return _both(host, port)


def service_domains(service: MeshService, port: int, node_domain: str) -> tuple[list[str], frozenset[str]]:
    """The domains of a service in order, and which of them are other spellings of its name."""
    domains: list[str] = []
    spellings: list[str] = []
    for host in (service.host, *service.aliases):
        others = other_spellings(host, port, node_domain)
        domains.extend(_both(host, port))
        domains.extend(others)
        spellings.extend(others)
    if service.headless and service.kubernetes:
        # The pods of a headless service have names of their own below the service's.
        domains.extend([f"*.{domain}" for domain in domains])
    for address in service.addresses:
        if address != UNSPECIFIED_ADDRESS:
            domains.extend(_both(address, port))
    return domains, frozenset(spellings)


def other_spellings(host: str, port: int, node_domain: str) -> list[str]:
    """The ways to write ``host`` beside the full one, as seen from a node's domain."""
    found = [] if is_ip(host) else [f"{host}."]
    found.append(f"{host}.:{port}")
    namespace, separator, suffix = node_domain.partition(".svc.")
    if not separator:
        return found
    before, inside, after = host.partition(".svc.")
    if not inside or after != suffix or "." not in before:
        return found
    name, _, owner = before.partition(".")
    if owner == namespace:
        return [*found, *_both(name, port), *_both(f"{before}.svc", port), *_both(before, port)]
    return [*found, *_both(before, port), *_both(f"{before}.svc", port)]


def _both(host: str, port: int) -> list[str]:
    return [f"[{host}]" if ":" in host else host, host_port(host, port)]
