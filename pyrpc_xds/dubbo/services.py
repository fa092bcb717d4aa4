"""``dubbo.provider``: what is served. A service takes what it does not say from the provider and the application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from . import not_applied
from .config import Protocol, Registry, Service
from .keys import Keys
from .protocols import spoken
from .references import exact
from .registries import chosen


@dataclass(frozen=True, slots=True)
class Provider:
    """What stands at the provider for all services."""

    registry_ids: tuple[str, ...]
    protocol_ids: tuple[str, ...]
    group: str
    version: str


def provider(keys: Keys, application: Mapping[str, str]) -> Provider:
    """Read all of it but the services.

    :raises ConfigError: something in it is wrong.
    """
    keys.refused(not_applied.SERVICE_REFUSED)
    keys.not_applied("warning", not_applied.PROVIDER_WARNINGS)
    keys.not_applied("note", not_applied.PROVIDER_NOTES)
    return Provider(
        keys.ids(keys.one_of("registry-ids", "registry")),
        keys.ids(keys.one_of("protocol-ids", "protocol")),
        keys.text("group") or application["group"],
        keys.text("version") or application["version"],
    )


def service(
    name: str,
    keys: Keys,
    above: Provider,
    registries: Mapping[str, Registry],
    protocols: Mapping[str, Protocol],
) -> Service:
    """Read one. Without ``protocol-ids`` it is served by every protocol.

    :raises ConfigError: something in it is wrong.
    """
    key = keys.one_of("protocol-ids", "protocol")
    ids = keys.ids(key) or above.protocol_ids or tuple(protocols)
    for each in ids:
        if each not in protocols:
            known = ", ".join(protocols)
            keys.fail(key, f"names {each!r}, which is not under dubbo.protocols", f"There is {known}")
        spoken(keys, key, protocols[each].kind)
    found = Service(
        name,
        keys.place(),
        keys.text("interface"),
        exact(keys, "group", above.group),
        exact(keys, "version", above.version),
        ids,
        chosen(keys, registries, above.registry_ids),
    )
    for method in keys.children("methods"):
        method.text("name", None)
        method.not_applied("warning", not_applied.SERVICE_METHOD_WARNINGS)
        method.finish()
    keys.refused(not_applied.SERVICE_REFUSED)
    keys.not_applied("warning", not_applied.SERVICE_WARNINGS)
    keys.not_applied("note", not_applied.SERVICE_NOTES)
    keys.finish()
    return found


def no_duplicates(services: Iterable[Service], where: str) -> None:
    """:raises ConfigError: two services have one interface, group and version, and a protocol in common."""
    known: dict[tuple[str, ...], Service] = {}
    for each in services:
        if not each.interface:
            continue  # known with the implementation: Dubbo.server() looks again
        for protocol in each.protocols:
            first = known.setdefault((each.interface, each.group, each.version, protocol), each)
            if first is not each:
                raise twice(first, each, each.interface, where)


def twice(first: Service, second: Service, interface: str, where: str) -> ConfigError:
    """The error for two services that no call can tell apart."""
    which = f"group {first.group or 'none'}, version {first.version or 'none'}"
    return ConfigError(
        f"{second.path} and {first.path} are both {interface} with {which}",
        where=where,
        hint="Give each a group or version of its own",
    )
