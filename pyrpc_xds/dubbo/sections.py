"""The whole of Dubbo's YAML: its sections, one by one, into a :class:`.config.DubboConfig`.

What is inherited from where is dubbo-go's (config/reference_config.go, service_config.go).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import not_applied
from .config import DubboConfig, NotApplied, Protocol, Reference, Service
from .files import read
from .keys import Keys
from .protocols import ANY_ADDRESS, DEFAULT_PORT, TRIPLE, different_ports, protocol
from .references import consumer, reference
from .registries import registry
from .services import no_duplicates, provider, service

_ONLY = "default"  # the name of a registry or protocol that has none, as Dubbo Java writes a single one


def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> DubboConfig:
    """Read a file of Dubbo's YAML.

    :param environ: for placeholders; ``None``: that of the process.
    :raises ConfigError: it cannot be read, or something in it is wrong; the text names file, key and what to do.
    """
    file = Path(path)
    return sections(read(file, os.environ if environ is None else environ), str(file))


def sections(tree: Mapping[str, Any], source: str) -> DubboConfig:
    """What stands under ``dubbo``, read and checked.

    :param source: the file, for messages.
    :raises ConfigError: something is wrong.
    """
    unused: list[NotApplied] = []
    root = Keys(dict(tree), source, "dubbo", not_applied=unused)
    root.ignore("profiles")  # applied when the file was read
    root.refused(not_applied.ROOT_REFUSED)
    root.not_applied("warning", not_applied.ROOT_WARNINGS)
    root.not_applied("note", not_applied.ROOT_NOTES)
    application = _application(root.child("application"))
    registries = {name: registry(name, keys) for name, keys in _several(root, "registries", "registry")}
    protocols = {name: protocol(name, keys) for name, keys in _several(root, "protocols", "protocol")}
    different_ports(protocols.values(), source)
    if not protocols:
        protocols = {TRIPLE[0]: Protocol(TRIPLE[0], TRIPLE[0], ANY_ADDRESS, DEFAULT_PORT)}

    calls, serves = root.child("consumer"), root.child("provider")
    of_all = consumer(calls, application)
    references: dict[str, Reference] = {
        name: reference(name, keys, of_all, registries)
        for name, keys in _below(root, calls, "references", "reference")
    }
    calls.finish()
    for_all = provider(serves, application)
    services: dict[str, Service] = {
        name: service(name, keys, for_all, registries, protocols)
        for name, keys in _below(root, serves, "services", "service")
    }
    serves.finish()
    no_duplicates(services.values(), source)

    grace, drain = _shutdown(root.child("shutdown"))
    root.finish()
    if not references and not services:
        root.fail(
            "", "names nothing to call and nothing to serve", "Add consumer.references or provider.services"
        )
    config = DubboConfig(
        source,
        application["name"],
        MappingProxyType(registries),
        MappingProxyType(protocols),
        MappingProxyType(references),
        MappingProxyType(services),
        of_all.ready_timeout,
        grace,
        drain,
    )
    return replace(config, not_applied=(*unused, *_idle(config)))


def _several(root: Keys, many: str, one: str) -> Iterator[tuple[str, Keys]]:
    """A mapping of mappings or, as Dubbo Java writes a single one, that one itself."""
    if root.one_of(many, one) == many:
        yield from root.entries(many)
    else:
        yield _ONLY, root.child(one)


def _below(root: Keys, section: Keys, many: str, one: str) -> Iterator[tuple[str, Keys]]:
    """The entries of ``consumer.references``; Dubbo Java has them at the root."""
    yield from section.entries(many)
    for name, keys in root.entries(root.one_of(many, one)):
        if name in section.named(many):
            keys.fail("", f"stands under {section.place()} too", "Keep one of the two")
        yield name, keys


def _application(keys: Keys) -> Mapping[str, str]:
    said = {name: keys.text(name) for name in ("name", "group", "version")}
    keys.not_applied("warning", not_applied.APPLICATION_WARNINGS)
    keys.not_applied("note", not_applied.APPLICATION_NOTES)
    keys.finish()
    return said


def _shutdown(keys: Keys) -> tuple[float | None, float | None]:
    """Grace and drain."""
    grace, drain = keys.seconds("timeout"), keys.seconds("consumer-update-wait-time", low=0.0)
    keys.not_applied("note", not_applied.SHUTDOWN_NOTES)
    keys.finish()
    return grace, drain


def _idle(config: DubboConfig) -> Iterator[NotApplied]:
    for each in config.registries.values():
        if each.name not in config.followed:
            why = f"nothing follows it: it is of protocol {each.protocol}"
            yield NotApplied("warning", f"dubbo.registries.{each.name}", why)
