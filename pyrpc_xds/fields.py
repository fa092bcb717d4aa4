"""Typed reading of one YAML mapping, with errors that say which field and what it should have been."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NoReturn, Self

from .errors import ConfigError

# Go's duration syntax, as Istio's API takes it: "1.5s", "100ms", "1h30m".
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|m|us|µs|ns|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
MAX_PORT = 65535
_NEAREST = 5  # fields shown where none is spelt like an unknown one
MIN_DURATION = timedelta(milliseconds=1)  # istiod refuses shorter ones, 0s among them


def parse_duration(text: str) -> timedelta | None:
    """Seconds of a duration in Go's syntax, or None where it is not one."""
    if text == "0":
        return timedelta(0)
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part.group(0) for part in parts) != text:
        return None
    return timedelta(seconds=sum(float(part.group(1)) * _SECONDS[part.group(2)] for part in parts))


class Fields:
    """One mapping of a document, read field by field.

    :param value: the mapping as YAML gave it; anything else is an error.
    :param where: file, document and object, for messages.
    :param path: the mapping's own field path, ``spec.http[0]``.
    :param notes: where to put what is valid but has no effect.

    Every getter raises :class:`~pyrpc_xds.errors.ConfigError`. :meth:`finish` refuses the fields that
    nobody asked for, so that a misspelt one is an error and not silence.
    """

    def __init__(
        self,
        value: object,
        where: str,
        path: str = "",
        *,
        notes: list[str] | None = None,
    ) -> None:
        self.where = where
        self.path = path
        self._notes = [] if notes is None else notes
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.fail("", f"is {_kind(value)}, not a mapping", "Check the indentation.")
        self._value: dict[str, Any] = value
        self._used: set[str] = set()

    def fail(self, name: str, what: str, hint: str = "") -> NoReturn:
        """Raise the error that field ``name`` of this mapping ``what``."""
        raise ConfigError(f"{self._field(name)} {what}", where=self.where, hint=hint)

    def _instead_of(self, name: str) -> str:
        """What to do about a missing field: perhaps it is there, misspelt."""
        alike = difflib.get_close_matches(
            name, [key for key in map(str, self._value) if key not in self._used], 1
        )
        return f"Did you mean it by {alike[0]!r}?" if alike else "Add it."

    def _field(self, name: str) -> str:
        return ".".join(part for part in (self.path, name) if part) or "the document"

    def _inner(self, value: object, path: str) -> Self:
        return type(self)(value, self.where, path, notes=self._notes)

    def note(self, text: str) -> None:
        """Write down what a user should know although nothing is wrong."""
        self._notes.append(f"{self.where}: {text}")

    def no_effect(self, *names: str) -> None:
        """Mark fields as known, and note of those that are there that they do nothing here."""
        for name in names:
            if self.has(name):
                self.note(f"{self._field(name)} has no effect on proxyless nodes")
        self.ignore(*names)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:
        """The field as YAML gave it, marked as read."""
        self._used.add(name)
        return self._value.get(name)

    def text(self, name: str, default: str | None = "") -> str:
        """A string; with ``default=None`` it must be there and not empty."""
        value = self.raw(name)
        if value is None or value == "":
            if default is None:
                self.fail(name, "is missing", self._instead_of(name))
            return default
        if not isinstance(value, str):
            self.fail(name, f"is {_shown(value)}, not a string", "Put it in quotes.")
        return value

    def integer(self, name: str, default: int | None = 0, *, low: int = 0, high: int = 2**32 - 1) -> int:
        """A whole number within ``low`` and ``high``; with ``default=None`` it must be there."""
        value = self.raw(name)
        if value is None:
            if default is None:
                self.fail(name, "is missing", "Add it.")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, f"is {value!r}, not a whole number")
        if not low <= value <= high:
            self.fail(name, f"is {value}, which is not within {low} and {high}")
        return value

    def port(self, name: str, default: int | None = None) -> int:
        """A port number."""
        return self.integer(name, default, low=1, high=MAX_PORT)

    def number(self, name: str, *, low: float, high: float) -> float | None:
        """A number within ``low`` and ``high``, or None where the field is absent."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, f"is {value!r}, not a number")
        if not low <= value <= high:
            self.fail(name, f"is {value}, which is not within {low:g} and {high:g}")
        return float(value)

    def boolean(self, name: str, default: bool | None = False) -> bool:
        """True or false."""
        value = self.raw(name)
        if value is None:
            return bool(default)
        if not isinstance(value, bool):
            self.fail(name, f"is {value!r}, not true or false")
        return value

    def optional_boolean(self, name: str) -> bool | None:
        """True, false, or None where the field is absent."""
        return self.boolean(name) if self.has(name) else self.raw(name)

    def duration(self, name: str, *, zero: bool = False) -> timedelta | None:
        """A duration in Go's syntax, or None where the field is absent; 0s only with ``zero``."""
        value = self.raw(name)
        if value is None:
            return None
        parsed = parse_duration(str(value)) if isinstance(value, str) else None
        if parsed is None:
            self.fail(name, f"is {value!r}, not a duration", "Write it with its unit, such as 1.5s or 200ms.")
        if parsed < MIN_DURATION and not (zero and not parsed):
            self.fail(
                name, f"is {value!r}, less than 1ms", "Leave the field out where there is to be no limit."
            )
        return parsed

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """One of ``allowed``."""
        value = self.text(name, default)
        if value not in allowed:
            self.fail(name, f"is {value!r}", f"It can be {', '.join(allowed)}.")
        return value

    def items(self, name: str) -> tuple[Any, ...]:
        """A list; absent is empty."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.fail(name, f"is {_kind(value)}, not a list", "Begin each entry with a dash.")
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        found = []
        for index, value in enumerate(self.items(name)):
            if not isinstance(value, str) or not value:
                self.fail(f"{name}[{index}]", f"is {value!r}, not a string")
            found.append(value)
        return tuple(found)

    def labels(self, name: str) -> Mapping[str, str]:
        """A mapping of strings."""
        value = self.raw(name)
        if value is None:
            return MappingProxyType({})
        if not isinstance(value, dict):
            self.fail(name, f"is {_kind(value)}, not a mapping of strings")
        for key, entry in value.items():
            if not isinstance(entry, str) or not isinstance(key, str):
                self.fail(f"{name}.{key}", f"is {entry!r}, not a string", "Put it in quotes.")
        return MappingProxyType(dict(value))

    def child(self, name: str) -> Self:
        """The mapping under ``name``; absent is empty."""
        return self._inner(self.raw(name), self._field(name))

    def optional_child(self, name: str) -> Self | None:
        """The mapping under ``name``, or None where it is absent. An empty mapping is there."""
        return self.child(name) if self.has(name) else self.raw(name)

    def children(self, name: str) -> Iterator[Self]:
        """The mappings of the list under ``name``."""
        for index, value in enumerate(self.items(name)):
            yield self._inner(value, f"{self._field(name)}[{index}]")

    def entries(self, name: str) -> Iterator[tuple[str, Self]]:
        """The mappings of the mapping under ``name``, by key."""
        inner = self.child(name)
        for key, value in inner._value.items():
            # YAML has keys that are no strings.
            yield str(key), self._inner(value, inner._field(str(key)))

    def ignore(self, *names: str) -> None:
        """Mark fields as known although nothing here reads them."""
        self._used.update(names)

    def finish(self) -> None:
        """Refuse the fields that were neither read nor ignored."""
        unknown = sorted(str(name) for name in self._value if name not in self._used)
        if unknown:
            alike = difflib.get_close_matches(unknown[0], self._used, 1)
            near = difflib.get_close_matches(unknown[0], self._used, _NEAREST, cutoff=0.0)
            some = "Known" if len(near) == len(self._used) else f"The nearest of the {len(self._used)} known"
            hint = f"Did you mean {alike[0]}?" if alike else f"{some} are: {', '.join(sorted(near))}."
            self.fail(unknown[0], "is not a field that is known here", hint)


def _shown(value: object) -> str:
    return _kind(value) if isinstance(value, list | dict) else repr(value)


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")
