"""The hand-written stubs say what the sources and the compiled modules have."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from tests.unit.ext.variants import ROOT

MODULES = ("_matcher", "_parts", "_picker", "_ttheader")
Signature = tuple[tuple[str, ...], tuple[str, ...]]


def signatures(path: Path) -> dict[str, Signature | None]:
    """Every class, function and method with its parameters and their defaults; properties count as
    attributes.
    """
    found: dict[str, Signature | None] = {}

    def add(node: ast.AST, prefix: str) -> None:
        if isinstance(node, ast.FunctionDef):
            plain = not node.decorator_list
            names = (
                *(arg.arg for arg in node.args.args),
                *filter(None, [node.args.vararg and node.args.vararg.arg]),
            )
            defaults = tuple(ast.unparse(default) for default in node.args.defaults)
            found[prefix + node.name] = (names, defaults) if plain else None
        elif isinstance(node, ast.ClassDef):
            found[prefix + node.name] = None
            for child in node.body:
                add(child, f"{prefix}{node.name}.")

    for node in ast.parse(path.read_text()).body:
        add(node, "")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_stub_and_source_have_the_same_signatures(name: str) -> None:
    stub = signatures(ROOT / "pyrpc_xds" / f"{name}.pyi")
    source = signatures(ROOT / "ext" / f"{name}.py")
    differing = {
        what: (wanted, source.get(what))
        for what, wanted in stub.items()
        if wanted is not None and source.get(what) != wanted
    }
    assert differing == {}
    assert len(stub) > 3


@pytest.mark.parametrize("name", MODULES)
def test_stub_names_only_what_the_module_has(name: str) -> None:
    module = importlib.import_module(f"pyrpc_xds.{name}")
    missing = []
    for what in signatures(ROOT / "pyrpc_xds" / f"{name}.pyi"):
        at: object = module
        for part in what.split("."):
            # An attribute of an uncompiled class is there once an object is made.
            at = getattr(
                at, part, None if str(module.__file__).endswith(".py") and at is not module else missing
            )
        if at is missing:
            missing.append(what)
    assert missing == []


@pytest.mark.parametrize("name", MODULES)
def test_pxd_declares_only_what_the_source_has(name: str) -> None:
    source = signatures(ROOT / "ext" / f"{name}.py")
    text = (ROOT / "ext" / f"{name}.pxd").read_text()
    declared = [
        line.split("(")[0].split()[-1]
        for line in text.splitlines()
        if line.lstrip().startswith(("cpdef ", "cdef ")) and "(self" in line
    ]
    methods = {what.partition(".")[2] for what in source}
    assert set(declared) <= methods
    assert len(declared) > 3
