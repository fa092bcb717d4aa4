"""``dubbo.consumer``: what is called. A reference takes what it does not say from the consumer and the application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import not_applied
from .config import Reference, Registry
from .keys import Keys
from .protocols import TRIPLE, checked, spoken
from .registries import chosen

#: dubbo-go's and Dubbo Java's port of a service in a mesh (DefaultMeshPort, DEFAULT_MESH_PORT).
MESH_PORT = 80
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Consumer:
    """What stands at the consumer for all references."""

    registry_ids: tuple[str, ...]
    protocol: str
    group: str
    version: str
    timeout: float | None
    check: bool | None
    ready_timeout: float | None


def consumer(keys: Keys, application: Mapping[str, str]) -> Consumer:
    """Read all of it but the references.

    :raises ConfigError: something in it is wrong.
    """
    keys.not_applied("warning", not_applied.CONSUMER_WARNINGS)
    keys.not_applied("note", not_applied.CONSUMER_NOTES)
    return Consumer(
        keys.ids(keys.one_of("registry-ids", "registry")),
        checked(keys, "protocol", keys.text("protocol", TRIPLE[0])),
        keys.text("group") or application["group"],
        keys.text("version") or application["version"],
        keys.seconds(keys.one_of("request-timeout", "timeout")),
        keys.optional_boolean("check"),
        keys.seconds("max-wait-time-for-service-discovery"),
    )


def reference(name: str, keys: Keys, above: Consumer, registries: Mapping[str, Registry]) -> Reference:
    """Read one.

    :raises ConfigError: something in it is wrong.
    """
    spoken(keys, "protocol", checked(keys, "protocol", keys.text("protocol") or above.protocol))
    timeout = keys.seconds(keys.one_of("timeout", "request-timeout"))
    check = keys.optional_boolean("check")
    found = Reference(
        name,
        keys.place(),
        keys.text("interface"),
        keys.text("url"),
        keys.text("provided-by"),
        keys.port(keys.one_of("mesh-provider-port", "provider-port", "provided-port"), MESH_PORT),
        keys.text("provider-namespace"),
        exact(keys, "group", above.group),
        exact(keys, "version", above.version),
        above.timeout if timeout is None else timeout,
        _method_timeouts(keys),
        above.check if check is None else check,
        chosen(keys, registries, above.registry_ids),
    )
    keys.not_applied("warning", not_applied.REFERENCE_WARNINGS)
    keys.not_applied("note", not_applied.REFERENCE_NOTES)
    keys.finish()
    return found


def exact(keys: Keys, key: str, above: str) -> str:
    """A group or version: its own, or that of above.

    :raises ConfigError: it is a pattern; a call selects by equality.
    """
    value = keys.text(key) or above
    if _ANY in value or "," in value:
        keys.fail(key, f"is {value!r}: a call selects one, by equality", "Name one, or leave it out")
    return value


def _method_timeouts(keys: Keys) -> Mapping[str, float]:
    found = {}
    for method in keys.children("methods"):
        name = method.text("name", None)
        seconds = method.seconds(method.one_of("timeout", "request-timeout"))
        if seconds is not None:
            found[name] = seconds
        method.not_applied("warning", not_applied.METHOD_WARNINGS)
        method.finish()
    return found
