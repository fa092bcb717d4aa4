"""``dubbo.registries``: the control planes, and which of them a reference or a service is found by."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..xds.names import split_host_port
from . import not_applied
from .address import host_and_port, unread
from .config import Registry
from .keys import Keys

XDS = "xds"
XDS_PORT = 15010
_TLS_PORT = 15012
_OTHERS = (
    "nacos",
    "zookeeper",
    "etcdv3",
    "polaris",
    "kubernetes",
    "service-discovery",
    "consul",
    "multicast",
)
_NONE = "n/a"
_SCHEME = re.compile(r"([a-z0-9.+-]+)://", re.IGNORECASE)


def registry(name: str, keys: Keys) -> Registry:
    """Read one. The scheme of an address such as ``xds://istiod:15010`` wins over ``protocol``, as in dubbo-go.

    :raises ConfigError: something in it is wrong.
    """
    protocol, address = keys.text("protocol").lower(), keys.text("address")
    port = keys.port("port", XDS_PORT)
    scheme = _SCHEME.match(address)
    if scheme is not None:
        protocol, address = scheme[1].lower(), address[scheme.end() :]
    elif address.lower() == _NONE:
        protocol = _NONE
    keys.refused(not_applied.REGISTRY_REFUSED)
    keys.not_applied("warning", not_applied.REGISTRY_WARNINGS)
    keys.not_applied("note", not_applied.REGISTRY_NOTES)
    keys.finish()
    if not protocol:
        keys.fail("protocol", "is missing", "Write protocol: xds")
    if protocol == XDS:
        return Registry(name, protocol, _control_plane(keys, address, port))
    if protocol not in (*_OTHERS, _NONE):
        keys.fail("protocol", f"is {protocol!r}, which is no registry of Dubbo's", "Write protocol: xds")
    return Registry(name, protocol, host_and_port(address))


def _control_plane(keys: Keys, address: str, port: int) -> str:
    if not address:
        keys.fail("address", "is missing", "Write istiod's: istiod.istio-system.svc.cluster.local:15010")
    if more := unread(address):
        keys.fail("address", more, f"Write host:port alone; istiod's is {XDS_PORT}")
    address = address.rstrip("/")
    if ":" not in address or address.endswith("]"):
        address = f"{address}:{port}"
    try:
        _, number = split_host_port(address)
    except ValueError as error:
        keys.fail("address", f"is no address: {error}", f"Write host:port; istiod's is {XDS_PORT}")
    if number == _TLS_PORT:
        why = f"{_TLS_PORT} is istiod's port for TLS: write {XDS_PORT}, or describe TLS in GRPC_XDS_BOOTSTRAP"
        keys.not_applied("warning", {"address": why})
    return address


def chosen(keys: Keys, registries: Mapping[str, Registry], inherited: tuple[str, ...]) -> str:
    """The registry of a reference or service, by its ``registry-ids``, those above it, or because there is one.

    :returns: its name; empty: none is configured, so that the environment says where the control plane is.
    :raises ConfigError: an id names none, none chosen is of protocol xds, or several are.
    """
    name = keys.one_of("registry-ids", "registry")
    ids = keys.ids(name) or inherited
    known = ", ".join(registries) or "none"
    for each in ids:
        if each not in registries:
            keys.fail(name, f"names {each!r}, which is not under dubbo.registries", f"There is {known}")
    candidates = [registries[each] for each in ids] if ids else list(registries.values())
    found = [each.name for each in candidates if each.protocol == XDS]
    if candidates and not found:
        others = ", ".join(f"{each.name} is {each.protocol}" for each in candidates)
        keys.fail(name, f"leaves no registry that is spoken here: {others}", "Add one of protocol: xds")
    if len(found) > 1:
        keys.fail(name, f"leaves {len(found)} registries: {', '.join(found)}", "Name one of them here")
    return found[0] if found else ""
