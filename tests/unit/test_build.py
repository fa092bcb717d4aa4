"""What is built and shipped, with and without a C compiler; in a copy of the tree that tests may spoil."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "ext").glob("_*.py"))
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
COMPILER = shutil.which(os.environ.get("CC", "cc"))
WARNING = "WARNING: pyrpc-xds runs uncompiled"

UNCOMPILED = {"PYRPC_XDS_NO_EXTENSIONS": "1"}
NO_COMPILER = {"CC": "no-such-compiler", "CXX": "no-such-compiler"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The sources as a checkout has them: nothing built."""
    copy = tmp_path / "tree"
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", *(f"{name}.py" for name in MODULES))
    shutil.copytree(ROOT / "pyrpc_xds", copy / "pyrpc_xds", ignore=built)
    for folder in ("ext", "examples", "idl"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "README.md").write_text("")
    return copy


@pytest.fixture
def one(tree: Path) -> str:
    """The only module left to compile in the tree: the rule is the same for all, and each takes seconds."""
    smallest = min(MODULES, key=lambda name: (ROOT / "ext" / f"{name}.py").stat().st_size)
    for path in (tree / "ext").glob("_*"):
        if path.stem != smallest:
            path.unlink()
    return smallest


def run(tree: Path, *command: str, **environment: str) -> str:
    """Standard output and error of a command that succeeds."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build_wheel(tree: Path, **environment: str) -> tuple[list[str], str]:
    """The files of the wheel, installed at ``tree/site`` as well, and what was printed."""
    pip = (
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--verbose",
        "--no-deps",
        "--no-build-isolation",
    )
    printed = run(tree, *pip, "--wheel-dir", "wheels", ".", **environment)
    [wheel] = (tree / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / "site")
        return archive.namelist(), printed


def inplace(tree: Path, **environment: str) -> str:
    return run(tree, "setup.py", "--quiet", "build_ext", "--inplace", **environment)


def modules_in(folder: Path) -> list[str]:
    """The importable forms of the modules of ext/, their stubs left out."""
    return sorted(
        path.name
        for name in MODULES
        for path in folder.glob(f"{name}.*")
        if path.suffix in {".py", ".so", ".pyd"}
    )


IMPORTED = """
import importlib, sys
sys.path.insert(0, "site")
import pyrpc_xds
assert pyrpc_xds.__file__.startswith(sys.argv[1]), pyrpc_xds.__file__
for name in sys.argv[2:]:
    print(importlib.import_module("pyrpc_xds." + name).__file__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "reason"),
    [(UNCOMPILED, "PYRPC_XDS_NO_EXTENSIONS is set"), (NO_COMPILER, "no working C compiler")],
    ids=["not wanted", "no compiler"],
)
def test_wheel_built_without_compiling_imports_and_warns_once(
    tree: Path, environment: dict[str, str], reason: str
) -> None:
    files, printed = build_wheel(tree, **environment)
    assert printed.count(WARNING) == 1
    assert reason in printed
    assert not [name for name in files if name.endswith((".so", ".pyd"))]
    site = str(tree / "site")
    paths = run(tree, "-c", IMPORTED, site, *MODULES, PYTHONSAFEPATH="1", PYTHONPATH=site).split()
    assert paths == [str(tree / "site" / "pyrpc_xds" / f"{name}.py") for name in MODULES]


@pytest.mark.slow
def test_wheel_carries_types_and_no_sources_of_compiled_modules(tree: Path, one: str) -> None:
    if COMPILER is None:
        pytest.skip("there is no C compiler here")
    inplace(tree, **UNCOMPILED)  # leaves staged sources in the tree, which must not win or be shipped
    files, printed = build_wheel(tree)
    assert WARNING not in printed
    assert [name for name in files if name.startswith(f"pyrpc_xds/{one}.")] == [
        f"pyrpc_xds/{one}{SUFFIX}",
        f"pyrpc_xds/{one}.pyi",
    ]
    assert {
        "pyrpc_xds/py.typed",
        "pyrpc_xds/idl/greeter.proto",
        "pyrpc_xds/examples/greeter/mesh/base.yaml",
    } <= set(files)
    assert {name.split("/")[0] for name in files if not name.startswith("pyrpc_xds-")} == {"pyrpc_xds"}


@pytest.mark.slow
def test_source_distribution_carries_what_a_build_needs(tree: Path) -> None:
    run(tree, "setup.py", "--quiet", "sdist")
    [path] = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {
        f"ext/{path.name}" for path in (ROOT / "ext").glob("_*.p*") if path.suffix in {".py", ".pyx", ".pxd"}
    }
    shipped = {"idl/greeter.proto", "idl/greeter.thrift", "examples/greeter/mesh/base.yaml"}
    assert {"setup.py", "pyproject.toml", "pyrpc_xds/py.typed", *shipped, *sources} <= files
    assert {f"pyrpc_xds/{name}.pyi" for name in MODULES} <= files
    assert not [name for name in files if name.startswith(("build/", "tests/"))]


@pytest.mark.slow
def test_build_in_place_follows_the_environment_and_leaves_nothing_stale(tree: Path, one: str) -> None:
    """Compiled, then not wanted, then compiled again: only the last is ever importable."""
    if COMPILER is None:
        pytest.skip("there is no C compiler here")
    compiled, plain = f"{one}{SUFFIX}", f"{one}.py"
    assert inplace(tree) == ""
    assert modules_in(tree / "pyrpc_xds") == [compiled]
    assert inplace(tree, **UNCOMPILED).count(WARNING) == 1
    assert modules_in(tree / "pyrpc_xds") == [plain]
    assert inplace(tree) == ""
    assert modules_in(tree / "pyrpc_xds") == [compiled]
    with (tree / "ext" / plain).open("a") as source:
        source.write("\nCHANGED = 1\n")
    assert WARNING in inplace(tree, **NO_COMPILER)
    assert modules_in(tree / "pyrpc_xds") == [plain]
    assert "CHANGED" in (tree / "pyrpc_xds" / plain).read_text()


@pytest.mark.parametrize("name", MODULES)
def test_installed_modules_are_compiled_where_there_is_a_compiler(name: str) -> None:
    """Else every other test and benchmark would quietly run the uncompiled twin."""
    if COMPILER is None or os.environ.get("PYRPC_XDS_NO_EXTENSIONS"):
        pytest.skip("uncompiled on purpose, or for want of a C compiler")
    assert str(importlib.import_module(f"pyrpc_xds.{name}").__file__).endswith(SUFFIX)
