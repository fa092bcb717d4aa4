"""Which entry of Dubbo's YAML is meant by a class: dubbo-go's are named after Go's types, or have an interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..errors import ConfigError
from .config import Reference, Service

Entry = TypeVar("Entry", Reference, Service)
# What an entry may be called after the service X, in Go, Java and Python.
_NAMES = "{0} {0}Stub {0}Client {0}ClientImpl {0}Servicer {0}Server {0}ServerImpl {0}Service {0}ServiceImpl {0}Provider"


def meant(known: Mapping[str, Entry], name: str, of_class: str, interface: str, where: str) -> Entry:
    """The entry called ``name``; without one, that of the class's own name, else the one of its interface.

    An entry without an interface is of the interface ``p.X`` if its name is made of X (``XClientImpl``).

    :param known: by name.
    :param where: file and section, for messages.
    :raises ConfigError: there is none or there are several, or the entry is of another interface.
    """
    found = known.get(name or of_class)
    if found is None and not name:
        names = _NAMES.format(interface.rpartition(".")[2]).split()
        alike = [each for each in known.values() if each.interface == interface]
        alike = alike or [each for each in known.values() if not each.interface and each.name in names]
        if len(alike) > 1:
            several = ", ".join(each.name for each in alike)
            raise ConfigError(f"{several} are all {interface}", where=where, hint="Say which, by its name")
        found = alike[0] if alike else None
    if found is None:
        there = ", ".join(known) or "nothing"
        raise ConfigError(
            f"has nothing for {name or of_class} ({interface})", where=where, hint=f"Add it; there is {there}"
        )
    if found.interface and found.interface != interface:
        raise ConfigError(
            f"{found.name} is {found.interface}, and {of_class} is {interface}",
            where=where,
            hint='Correct the interface, or leave it empty ("") to have it read from the class',
        )
    return found
