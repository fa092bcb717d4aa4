"""One mapping of Dubbo's YAML, read key by key: every key is applied, named as not applied, refused, or unknown.

dubbo-go spells its keys with hyphens, some with underscores; Dubbo Java has capitals in code and hyphens in files.
All three name the same key here, as they do in Spring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from ..fields import Fields, parse_duration
from .config import NotApplied

_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")
_TRUTH = {"true": True, "false": False}
# dustin/go-humanize, which dubbo-go reads sizes with: 1mb is 1000kb, 1mib is 1024kib.
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\Z", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAX_SIZE = 2**31 - 1
_OFF: tuple[Any, ...] = (None, "", False, "false", [], {})


def spelling(key: str) -> str:
    """The one spelling of a key: ``providedBy`` and ``provided_by`` are ``provided-by``."""
    return _CAPITAL.sub(lambda letter: "-" + letter[0], key).lower().replace("_", "-")


class Keys(Fields):
    """One mapping; see the module and :class:`pyrpc_xds.fields.Fields`. Names are given with hyphens.

    :param not_applied: takes what has no effect.
    """

    def __init__(
        self, value: object, where: str, path: str = "", *, not_applied: list[NotApplied] | None = None
    ) -> None:
        self._spelt: dict[str, str] = {}
        self._not_applied = [] if not_applied is None else not_applied
        super().__init__(value, where, path)
        values: dict[str, Any] = {}
        for key, entry in self._value.items():
            name = spelling(str(key))
            if name in values:
                self.fail(name, f"is given twice, as {self._spelt[name]} and {key}", "Keep one.")
            values[name] = entry
            self._spelt[name] = str(key)
        self._value = values

    def _field(self, name: str) -> str:
        return super()._field(self._spelt.get(name, name))

    def _inner(self, value: object, path: str) -> Self:
        return type(self)(value, self.where, path, not_applied=self._not_applied)

    def place(self, name: str = "") -> str:
        """The path of a key, for messages."""
        return self._field(name)

    # -- values -------------------------------------------------------------------------------------------------------

    def raw(self, name: str) -> Any:
        """The value, marked as read. Numbers and truth values may be written as strings, which placeholders give."""
        value = super().raw(name)
        return value.strip() if isinstance(value, str) else value

    def integer(self, name: str, default: int | None = 0, *, low: int = 0, high: int = 2**32 - 1) -> int:
        """As :meth:`Fields.integer`; ``"20000"`` is one."""
        value = self.raw(name)
        if isinstance(value, str) and _WHOLE_NUMBER.match(value):
            self._value[name] = int(value)
        elif value == "":
            self._value[name] = None
        return super().integer(name, default, low=low, high=high)

    def boolean(self, name: str, default: bool | None = False) -> bool:
        """As :meth:`Fields.boolean`; ``"true"`` is one."""
        value = self.raw(name)
        if isinstance(value, str):
            self._value[name] = _TRUTH.get(value.lower(), value)
        return super().boolean(name, default)

    def seconds(self, name: str, *, low: float = 0.001) -> float | None:
        """A time: dubbo-go's (``3s``, ``500ms``) or, as a number, Dubbo Java's milliseconds. Absent: ``None``.

        :param low: the least there may be; a time limit of 0 would leave no time at all.
        """
        value = self.raw(name)
        if value is None or value == "":
            return None
        found: float | None = None
        if isinstance(value, str) and not _WHOLE_NUMBER.match(value):
            parsed = parse_duration(value)
            found = None if parsed is None else parsed.total_seconds()
        elif isinstance(value, int | str) and not isinstance(value, bool):
            found = int(value) / 1000
        if found is None:
            self.fail(name, f"is {value!r}, not a duration", "Write 3s or 500ms; a number is milliseconds.")
        if found < low:
            self.fail(name, f"is {value!r}, less than 1ms", "Leave it out where there is to be no limit.")
        return found

    def size(self, name: str) -> int | None:
        """Bytes: ``4mib``, ``1mb`` or a number. Absent: ``None``."""
        value = self.raw(name)
        if value is None or value == "":
            return None
        found = None if isinstance(value, bool) else _SIZE.match(str(value))
        if found is None:
            self.fail(name, f"is {value!r}, not a size", "Write 4mib, 500kb or a number of bytes.")
        number, unit, binary = found.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])
        if size > _MAX_SIZE:
            self.fail(name, f"is {value!r}, more than gRPC can take", "2047mib is the most.")
        return size

    def ids(self, name: str) -> tuple[str, ...]:
        """Keys of other mappings: a list, or one string with commas."""
        value = self.raw(name)
        if isinstance(value, str):
            return tuple(filter(None, (part.strip() for part in value.split(","))))
        return self.texts(name)

    def entries(self, name: str) -> Iterator[tuple[str, Self]]:
        """The mappings of the mapping under ``name``, by keys that are the user's own."""
        for key, value in self.named(name).items():
            yield key, self._inner(value, f"{self._field(name)}.{key}")

    def named(self, name: str) -> Mapping[str, Any]:
        """The mapping under ``name``, whose keys are the user's own; absent is empty."""
        value = self.raw(name)
        if value is None or value == "":
            return {}
        if not isinstance(value, dict):
            self.fail(name, "is not a mapping", "Each entry is a name of yours with its keys below it.")
        return {str(key): entry for key, entry in value.items()}

    def one_of(self, *names: str) -> str:
        """Which of several spellings of one thing is there; the first where none is."""
        there = [name for name in names if self.has(name)]
        self.ignore(*names)
        if len(there) > 1:
            self.fail(there[1], f"says the same as {self._spelt[there[0]]}", "Keep one of the two.")
        return there[0] if there else names[0]

    # -- what has no effect -----------------------------------------------------------------------------------------

    def not_applied(self, level: Literal["warning", "note"], reasons: Mapping[str, str]) -> None:
        """Know the keys of ``reasons``; write down those that are there, and why they have no effect."""
        for name, why in reasons.items():
            if self.has(name):
                self._not_applied.append(NotApplied(level, self._field(name), why))
        self.ignore(*reasons)

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Know the keys of ``reasons``; refuse those that are there and on: left out, they would open a door.

        :raises ConfigError: one of them is on.
        """
        for name, hint in reasons.items():
            if self.raw(name) not in _OFF:
                self.fail(name, "protects the service, and cannot be applied here", hint)
