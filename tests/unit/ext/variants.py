"""The two builds of the hot path: ``python`` (the sources of ``ext/``, uncompiled) and ``cython``.

Every test of the hot path takes both. Where the modules are not compiled the ``cython`` half fails, unless
``PYRPC_XDS_NO_EXTENSIONS`` says that this is meant.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyrpc_xds

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("python",) if os.environ.get("PYRPC_XDS_NO_EXTENSIONS") else ("python", "cython")
TWIN = "pyrpc_xds_uncompiled"


class Variant(NamedTuple):
    """One build, with the Python modules that stand on it."""

    name: str
    matcher: Any
    picker: Any
    regex: Any
    table: Any


@cache
def variant(name: str) -> Variant:
    """The build ``name``; fails the test where it is not there."""
    return uncompiled() if name == "python" else compiled()


def compiled() -> Variant:
    modules = [importlib.import_module(f"pyrpc_xds.{module}") for module in ("_matcher", "_picker")]
    for module in modules:
        assert not str(module.__file__).endswith(".py"), (
            f"{module.__name__} is not compiled: run python setup.py build_ext --inplace, "
            "or set PYRPC_XDS_NO_EXTENSIONS=1"
        )
    return Variant(
        "cython",
        *modules,
        importlib.import_module("pyrpc_xds.routing.regex"),
        importlib.import_module("pyrpc_xds.routing.table"),
    )


def uncompiled() -> Variant:
    """A second package over the same files, in which the two modules are the uncompiled sources."""
    twin = ModuleType(TWIN)
    twin.__path__ = list(pyrpc_xds.__path__)
    sys.modules[TWIN] = twin
    for shared in ("errors", "model", "model.route", "routing.explain"):
        sys.modules[f"{TWIN}.{shared}"] = importlib.import_module(f"pyrpc_xds.{shared}")
    modules = [source(module) for module in ("_matcher", "_picker")]
    return Variant(
        "python",
        *modules,
        importlib.import_module(f"{TWIN}.routing.regex"),
        importlib.import_module(f"{TWIN}.routing.table"),
    )


def source(name: str) -> ModuleType:
    path = ROOT / "ext" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{TWIN}.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
