"""From an interface to where it is called: what dubbo-go's application-level discovery does, said in YAML.

dubbo-go's own xds registry (up to 3.3) had each provider put interface -> host into its node's labels, and consumers
read it back from istiod's debug port, of one istiod and with its token. Neither is for production, and istiod itself
knows hosts only. So a reference says where its interface is, in one of three ways, the first that is there:

1. ``url``: a host of the mesh (``xds:///host:port``), or one server past the mesh (``tri://host:port``), as in Dubbo.
2. ``provided_by``: the Kubernetes service, as for both Dubbos' mesh mode, with ``mesh-provider-port`` (80, as there).
3. The interface's own name as a host of the mesh: a ServiceEntry with that host and a workloadSelector is, for istiod,
   what the mapping is for dubbo-go. It is looked up when the reference is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError, UsageError
from ..xds.names import TargetKind, join_host_port, parse_target
from .address import unread
from .config import Reference
from .protocols import TRIPLE

CLUSTER_DOMAIN = "cluster.local"
NAMESPACE = "default"
_SCHEME = re.compile(r"([A-Za-z0-9.+-]+)://(?:/)?")
#: What to write where no target was found.
WAYS = (
    "Say where it is: provided_by: NAME-OF-THE-KUBERNETES-SERVICE with mesh-provider-port, or url: xds:///host:port; "
    "or give the mesh a ServiceEntry whose host is the interface in lower case"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls of a reference go.

    :param target: as :meth:`pyrpc_xds.transports.triple.TripleTransport.channel` takes it.
    :param by: the key that said so.
    :param in_mesh: whether the mesh's rules apply.
    """

    target: str
    by: Literal["url", "provided_by", "interface"]
    in_mesh: bool


def place(
    reference: Reference, source: str, namespace: str = NAMESPACE, domain: str = CLUSTER_DOMAIN
) -> Place:
    """Where a reference is called.

    :param source: the file, for messages.
    :param namespace: of the caller: short names of services are of it, unless the reference names another.
    :param domain: the cluster's domain.
    :raises ConfigError: its url or provided_by is none; it has neither and no interface.
    """
    if reference.url:
        return _url(reference, source)
    if reference.provided_by:
        host, port = _provider(reference, source)
        if "." not in host:
            host = f"{host}.{reference.namespace or namespace}.svc.{domain}"
        return _in_mesh(reference, source, host, port, "provided_by")
    if reference.interface:
        return _in_mesh(reference, source, reference.interface.lower(), reference.port, "interface")
    raise ConfigError("has no interface", where=f"{source}: {reference.path}", hint=WAYS)


def _provider(reference: Reference, source: str) -> tuple[str, int]:
    host, colon, port = reference.provided_by.partition(":")
    where = f"{source}: {reference.path}.provided_by"
    if "," in host:
        raise ConfigError(
            f"names several services: {reference.provided_by}", where=where, hint="A call is routed from one"
        )
    if not colon:
        return host, reference.port
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise ConfigError(
            f"is {reference.provided_by!r}", where=where, hint="Write a service, or service:port"
        )
    return host, int(port)


def _in_mesh(
    reference: Reference, source: str, host: str, port: int, by: Literal["provided_by", "interface"]
) -> Place:
    target = f"xds:///{join_host_port(host, port)}"
    try:
        return Place(str(parse_target(target)), by, True)
    except UsageError as error:
        raise ConfigError(str(error), where=f"{source}: {reference.path}.{by}", hint=WAYS) from None


def _url(reference: Reference, source: str) -> Place:
    where, url = f"{source}: {reference.path}.url", reference.url
    hint = "Write xds:///host:port for a host of the mesh, tri://host:port for one server past it"
    if ";" in url or "," in url:
        raise ConfigError("has several addresses", where=where, hint=f"A reference has one. {hint}")
    if more := unread(url):
        raise ConfigError(more, where=where, hint="Write it without, and parameters as keys of the reference")
    scheme = _SCHEME.match(url)
    kind = scheme[1].lower() if scheme else ""
    if kind in TRIPLE:
        authority, _, path = url[scheme.end() if scheme else 0 :].partition("/")
        if path and reference.interface and path != reference.interface:
            raise ConfigError(
                f"names {path}, and interface {reference.interface}", where=where, hint="Keep one"
            )
        url = authority
    elif kind not in ("", "xds", "direct"):
        raise ConfigError(f"is of protocol {kind!r}, which is not spoken here", where=where, hint=hint)
    try:
        target = parse_target(url)
    except UsageError as error:
        raise ConfigError(str(error), where=where, hint=hint) from None
    return Place(str(target), "url", target.kind is TargetKind.XDS)
