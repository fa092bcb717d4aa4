"""Placeholders in Dubbo's YAML: ``${name}`` and ``${name:default}``.

As dubbo-go 3.3.0 does (config_resolver.go): a name is another key of the file, and a default is taken as it is written,
placeholders in it included. Beyond it, a name may be an environment variable, a value may have several placeholders and
text around them, and one that nothing fills is an error, where dubbo-go leaves the value empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError

MAX_VALUES = 1_000_000
MAX_TEXT = 64 * 1024
MAX_DEPTH = 8
"""Keys that a value may be led through."""
_BRACE = re.compile(r"\$\{|[{}]")


def fill_dubbo(tree: Mapping[str, Any], environ: Mapping[str, str], where: str) -> dict[str, Any]:
    """What stands under ``dubbo`` in a tree, with its placeholders filled in.

    :param where: the file, for messages.
    :raises ConfigError: nothing fills one of them.
    """
    try:
        if _count(tree["dubbo"], {}) > MAX_VALUES:
            raise ConfigError(
                f"its aliases repeat more than {MAX_VALUES} values", where=where, hint="Is it the right file?"
            )
        found: dict[str, Any] = _fill_all(tree["dubbo"], tree, environ, where, "dubbo")
    except RecursionError:  # an alias within its own anchor
        raise ConfigError("this is nested too deeply", where=where, hint="Is it the right file?") from None
    return found


def fill(path: str, tree: Mapping[str, Any], environ: Mapping[str, str], where: str) -> Any:
    """The value at one place of a tree, with its placeholders filled in; ``None``: there is none.

    :param path: keys with dots between them.
    :param where: the file, for messages.
    :raises ConfigError: nothing fills one of them.
    """
    return _fill(_at(tree, path), tree, environ, f"{where}: {path}", MAX_DEPTH)


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values it is with its aliases written out, each of which is looked at once.

    :param known: the counts of mappings and lists, by :func:`id`.
    """
    if not isinstance(value, dict | list):
        return 1
    count = known.get(id(value))
    if count is None:
        below = value.values() if isinstance(value, dict) else value
        count = known[id(value)] = 1 + sum(_count(each, known) for each in below)
    return count


def _at(tree: Mapping[str, Any], path: str) -> Any:
    found: Any = tree
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _fill_all(value: Any, tree: Mapping[str, Any], environ: Mapping[str, str], where: str, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill_all(each, tree, environ, where, f"{path}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_fill_all(each, tree, environ, where, f"{path}[{i}]") for i, each in enumerate(value)]
    return _fill(value, tree, environ, f"{where}: {path}", MAX_DEPTH)


def _fill(value: Any, tree: Mapping[str, Any], environ: Mapping[str, str], where: str, depth: int) -> Any:
    """A value with its placeholders filled in.

    :param where: file and key, for messages.
    :param depth: how many keys more it may be led through.
    """
    if not isinstance(value, str) or "${" not in value:
        return value
    if not depth:
        raise ConfigError("its placeholders name each other", where=where, hint="Break the circle")
    parts = []
    end = 0
    for start, stop in _placeholders(value):
        name, colon, default = value[start + 2 : stop - 1].partition(":")
        name = name.strip()
        found = _at(tree, name) if "." in name else None
        if found is None or isinstance(found, dict | list):
            found = environ.get(name)
        if found is not None:
            found = _fill(found, tree, environ, where, depth - 1)
        elif colon:
            found = default.strip()
        else:
            raise ConfigError(
                f"nothing fills ${{{name}}}: it is no key of this file and no environment variable",
                where=where,
                hint=f"Set {name}, or write ${{{name}:default}}",
            )
        parts += [value[end:start], str(found)]
        end = stop
    text = "".join([*parts, value[end:]])
    if len(text) > MAX_TEXT:  # what is filled in first is checked first, so placeholders cannot multiply
        raise ConfigError(
            f"is longer than {MAX_TEXT} characters with its placeholders filled in", where=where
        )
    return text


def _placeholders(text: str) -> Iterator[tuple[int, int]]:
    """Where the placeholders of a text begin and end, those within another left out. One that is not closed is none."""
    start = depth = 0
    for brace in _BRACE.finditer(text):
        if not depth:
            if brace[0] == "${":
                start, depth = brace.start(), 1
        elif brace[0] != "}":
            depth += 1
        else:
            depth -= 1
            if not depth:
                yield start, brace.end()
