"""Dubbo's configuration file: where it is, its YAML, the profile that is active.

As dubbo-go 3.3 does (config_loader.go), except that a key that YAML gives twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError, missing_extra
from .placeholders import fill, fill_dubbo

PATH_VARIABLE = "DUBBO_GO_CONFIG_PATH"
#: dubbo-go's own default is the second: it is started in a folder beside conf/.
DEFAULT_PATHS = ("conf/dubbogo.yaml", "../conf/dubbogo.yaml")
MAX_BYTES = 4 * 1024 * 1024
_PREFIX = "dubbo."
_NO_PROFILE = ("", "default")
# What is part of a file's name, and never leads out of its folder.
_PROFILE = re.compile(r"[\w.-]{1,60}")


def find(environ: Mapping[str, str]) -> Path:
    """The file that the environment names in ``DUBBO_GO_CONFIG_PATH``, or the one in its usual place.

    :raises ConfigError: there is none.
    """
    if named := environ.get(PATH_VARIABLE):
        return Path(named)
    for path in map(Path, DEFAULT_PATHS):
        if path.is_file():
            return path
    raise ConfigError(
        f"there is neither {' nor '.join(DEFAULT_PATHS)}",
        where=PATH_VARIABLE,
        hint=f"Set {PATH_VARIABLE} to the path of Dubbo's YAML, or give the path to Dubbo.load()",
    )


def read(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """What stands under ``dubbo`` in a file, with the active profile's file over it and placeholders filled in.

    :raises ConfigError: it cannot be read, is not YAML, or says nothing of Dubbo.
    """
    found = under_dubbo(_load(path), str(path))
    if found is None:
        raise ConfigError("has no key 'dubbo'", where=str(path), hint="Dubbo's keys stand under it")
    tree: dict[str, Any] = {"dubbo": found}
    active = str(fill("dubbo.profiles.active", tree, environ, str(path)) or "")
    if active not in _NO_PROFILE:
        key = f"{path}: dubbo.profiles.active"
        if not _PROFILE.fullmatch(active):
            raise ConfigError(
                f"{active[:80]!r} names no file",
                where=key,
                hint=f"{path.stem}-NAME{path.suffix} stands beside it: letters, digits, '.', '_' and '-', at most 60",
            )
        profile = path.with_name(f"{path.stem}-{active}{path.suffix}")
        if not profile.is_file():
            raise ConfigError(
                f"names {active!r}, and there is no {profile}",
                where=key,
                hint="Add that file, or leave the key out",
            )
        tree = _merged(tree, {"dubbo": under_dubbo(_load(profile), str(profile)) or {}})
    return fill_dubbo(tree, environ, str(path))


def under_dubbo(document: object, where: str) -> dict[str, Any] | None:
    """The mapping under ``dubbo``, with ``dubbo.registry.address: ...`` (as in properties) put in its place; ``None``:
    the document is not Dubbo's.

    :raises ConfigError: ``dubbo`` is no mapping, or a dotted key contradicts it.
    """
    if not isinstance(document, dict):
        return None
    dotted = {key: value for key, value in document.items() if str(key).startswith(_PREFIX)}
    if "dubbo" not in document and not dotted:
        return None
    nested = document.get("dubbo")
    if nested is not None and not isinstance(nested, dict):
        raise ConfigError("is not a mapping", where=f"{where}: dubbo", hint="Check the indentation")
    tree: dict[str, Any] = dict(nested or {})
    for key, value in dotted.items():
        *parents, last = key.removeprefix(_PREFIX).split(".")
        inner = tree
        for parent in parents:
            below = inner.get(parent)
            inner[parent] = inner = dict(below) if isinstance(below, dict) else {}
        if last in inner:
            raise ConfigError("is given twice", where=f"{where}: {key}", hint="Keep one")
        inner[last] = value
    return tree


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"is larger than {MAX_BYTES} bytes", where=str(path), hint="Is it the right file?"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint="Check path and rights"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason}", where=str(path)) from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Any:
    """The one document of a YAML text that is Dubbo's, or its only one.

    :raises ConfigError: it is not YAML, has a key twice, or several documents are Dubbo's.
    """
    yaml, loader = _yaml()
    try:
        documents = [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"this is not YAML: {problem}", where=f"{where}{line}", hint="Correct it") from None
    except RecursionError:
        raise ConfigError("this is nested too deeply", where=where, hint="Is it the right file?") from None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        # PyYAML's own, of values such as the date 2026-13-45.
        raise ConfigError(
            f"a value is not what it looks like: {error}", where=where, hint="Quote it"
        ) from None
    ours = [document for document in documents if under_dubbo(document, where) is not None]
    if len(ours) > 1:
        raise ConfigError(f"{len(ours)} documents have the key 'dubbo'", where=where, hint="Keep one of them")
    return ours[0] if ours else documents[0] if documents else None


@cache
def _yaml() -> tuple[Any, Any]:
    """PyYAML, and a loader that refuses what PyYAML would drop: the first of two equal keys.

    Not libyaml's: that one ends the process where YAML is nested too deeply.
    """
    try:
        import yaml
    except ImportError:
        raise missing_extra("dubbo", "yaml", "Dubbo's YAML") from None

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return yaml, Loader


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        nested = isinstance(below, dict) and isinstance(value, dict)
        result[key] = _merged(below or {}, value) if nested else value
    return result
