"""The stubs of the compiled modules say what the sources do; ``make check`` compares them at run time too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "ext").glob("_*.py"))
# Stubtest alone compares these with their stubs.
COMPILED_ONLY = [path.stem for path in (ROOT / "ext").glob("_*.pyx")]


def signature(function: ast.FunctionDef) -> str:
    """Parameter names and kinds, with which have a default; types are the type checker's business."""
    arguments = function.args
    first_default = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    parts = []
    for number, argument in enumerate([*arguments.posonlyargs, *arguments.args]):
        parts.append(argument.arg + ("=" if number >= first_default else ""))
        if number + 1 == len(arguments.posonlyargs):
            parts.append("/")
    if arguments.vararg:
        parts.append("*" + arguments.vararg.arg)
    elif arguments.kwonlyargs:
        parts.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(argument.arg + ("=" if default else ""))
    if arguments.kwarg:
        parts.append("**" + arguments.kwarg.arg)
    return f"({', '.join(parts)})"


SPECIAL = {"__init__", "__call__", "__len__", "__iter__", "__next__", "__contains__"}


def public(name: str) -> bool:
    return not name.startswith("_") or name in SPECIAL


def is_property(function: ast.FunctionDef) -> bool:
    """A stub has these for the attributes that the ``.pxd`` makes read-only."""
    return any(
        isinstance(decorator, ast.Name) and decorator.id == "property"
        for decorator in function.decorator_list
    )


def interface(path: Path) -> dict[str, str]:
    """Every public function, class and method of a module, inherited ones included, with its signature."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and public(node.name):
            found[node.name] = signature(node)
        elif isinstance(node, ast.ClassDef):
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            inherited = {
                f"{node.name}.{name.removeprefix(base + '.')}": value
                for base in bases
                for name, value in found.items()
                if name.startswith(base + ".")
            }
            found[node.name] = "class"
            found |= inherited | {
                f"{node.name}.{member.name}": signature(member)
                for member in node.body
                if isinstance(member, ast.FunctionDef) and public(member.name) and not is_property(member)
            }
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_stub_claims_nothing_that_the_source_has_not(name: str) -> None:
    """What the package uses and the stub lacks, mypy reports."""
    stub = ROOT / "pyrpc_xds" / f"{name}.pyi"
    assert stub.is_file(), f"ext/{name}.py has no stub: type checkers cannot see into compiled modules"
    claimed, there = interface(stub), interface(ROOT / "ext" / f"{name}.py")
    assert claimed
    assert {name: there.get(name) for name in claimed} == claimed


def test_every_stub_is_of_a_module() -> None:
    assert sorted(path.stem for path in (ROOT / "pyrpc_xds").glob("*.pyi")) == sorted(
        [*MODULES, *COMPILED_ONLY]
    )
