"""Who may import whom (docs: the architecture page); one table, checked on the sources themselves."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROTOBUF = ("google", "envoy", "xds", "udpa", "istio")
"""Top-level packages of protobuf and of xds-protos."""

CORE = ("model/*", "xds/*", "routing/*", "balancing/*", "resilience/*")
ABOVE_THE_MODEL = tuple(
    "pyrpc_xds." + name
    for name in ("xds", "routing", "balancing", "resilience", "transports", "client", "bootstrap")
)
WAITING = ("socket", "ssl", "select", "selectors", "asyncio", "concurrent", "subprocess", "multiprocessing")
CHANCE_AND_TIME = ("random", "secrets", "time", "datetime")


@dataclass(frozen=True)
class Rule:
    """Files that match ``where`` and not ``but`` import none of ``never`` (packages and all below them)."""

    why: str
    where: tuple[str, ...]
    never: tuple[str, ...]
    but: tuple[str, ...] = ()


RULES = [
    Rule(
        "protobuf types end where resources are decoded",
        where=("*",),
        # The JSON of Triple's messages, which are the application's own.
        but=("xds/decode/*", "xds/driver.py", "controlplane/*", "transports/triple/json_messages.py"),
        never=PROTOBUF,
    ),
    Rule(
        "Envoy's generated modules, eighty of them, are slow to import: what is read is declared in xds/decode",
        where=("*",),
        never=("envoy", "xds", "udpa"),
    ),
    Rule(
        "envoy-data-plane's pure-Python codec is too slow for the client",
        where=("*",),
        but=("controlplane/*",),
        never=("envoy_data_plane", "betterproto", "betterproto2"),
    ),
    Rule(
        "grpcio is the ADS stream's, Triple's and the control plane's",
        where=("*",),
        but=("xds/stream.py", "transports/triple/*", "controlplane/*"),
        never=("grpc",),
    ),
    Rule(
        "Thrift is a transport",
        where=("*",),
        but=("transports/thrift/*",),
        never=("thriftpy2",),
    ),
    Rule(
        "a transport knows nothing of xDS",
        where=("transports/*",),
        never=(
            "pyrpc_xds.xds",
            "pyrpc_xds.client",
            "pyrpc_xds.bootstrap",
            "pyrpc_xds.controlplane",
            "pyrpc_xds.cli",
        ),
    ),
    Rule(
        "a transport knows nothing of another",
        where=("transports/thrift/*",),
        never=("pyrpc_xds.transports.triple", "grpc"),
    ),
    Rule(
        "a transport knows nothing of another",
        where=("transports/triple/*",),
        never=("pyrpc_xds.transports.thrift",),
    ),
    Rule(
        "the core knows no protocol",
        where=CORE,
        never=(
            "pyrpc_xds.transports.thrift",
            "pyrpc_xds.transports.triple",
            "pyrpc_xds.cli",
            "pyrpc_xds.controlplane",
        ),
    ),
    Rule(
        "the model is plain data: it depends on nothing of the package but itself and the errors",
        where=("model/*",),
        never=ABOVE_THE_MODEL,
    ),
    Rule(
        "sans-IO parts neither wait nor start anything (the decoder of endpoints uses socket.inet_pton)",
        where=CORE,
        but=("xds/driver.py", "xds/stream.py", "routing/router.py", "xds/decode/endpoint.py"),
        never=WAITING,
    ),
    Rule(
        "sans-IO parts are given their clock and their randomness",
        where=CORE,
        but=("xds/driver.py", "routing/router.py"),
        never=CHANCE_AND_TIME,
    ),
    Rule(
        "sans-IO parts have no threads; live clusters and endpoints are shared by them, and may lock",
        where=CORE,
        but=(
            "xds/driver.py",
            "xds/stream.py",
            "routing/router.py",
            "balancing/cluster.py",
            "balancing/endpoint.py",
        ),
        never=("threading", "_thread", "queue"),
    ),
    Rule(
        "only the command line prints and parses arguments",
        where=("*",),
        but=("cli/*",),
        never=("click", "rich", "argparse", "pyrpc_xds.cli"),
    ),
    Rule(
        "only the control plane and the command line watch files",
        where=("*",),
        but=("controlplane/*", "cli/*"),
        never=("watchfiles", "pyrpc_xds.controlplane"),
    ),
    Rule(
        "YAML is the control plane's, the command line's and Dubbo's",
        where=("*",),
        but=("controlplane/*", "cli/*", "dubbo/*"),
        never=("yaml",),
    ),
    Rule(
        "Dubbo's YAML configures the package from outside: nothing but the command line knows of it",
        where=("*",),
        but=("dubbo/*", "cli/*", "__init__.py"),
        never=("pyrpc_xds.dubbo",),
    ),
    Rule(
        "compiled modules are leaves: the standard library only, and Cython not even at run time",
        where=("../ext/*",),
        never=("pyrpc_xds", "grpc", "thriftpy2", "cython", "Cython", *PROTOBUF, *WAITING, "threading"),
    ),
]

EXTRAS = {
    "google-re2": ("re2",),
    "control-plane": ("envoy_data_plane", "yaml", "watchfiles"),
    "cli": ("click", "rich"),
}
"""What may be absent, by the extra that brings it."""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module that ``path`` imports, absolute, at any depth and under any condition."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *filter(None, [node.module])))
            yield base, node.lineno
            yield from ((f"{base}.{name.name}", node.lineno) for name in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def matches(path: Path, patterns: tuple[str, ...]) -> bool:
    name = os.path.relpath(path, ROOT / "pyrpc_xds").replace(os.sep, "/")
    return any(
        fnmatch(name, pattern) and name.startswith("..") == pattern.startswith("..") for pattern in patterns
    )


def breaches(rule: Rule, paths: list[Path]) -> set[str]:
    return {
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in paths
        if matches(path, rule.where) and not matches(path, rule.but)
        for module, line in imports(path)
        if any(within(module, package) for package in rule.never)
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.why)
def test_imports_obey_the_rule(rule: Rule) -> None:
    assert not breaches(rule, sources("pyrpc_xds", "ext"))


def test_rules_see_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = tmp_path / "pyrpc_xds" / "transports" / "thrift" / "client.py"
    bad.parent.mkdir(parents=True)
    bad.write_text(
        "import pyrpc_xds.xds\n"
        "from pyrpc_xds import xds\n"
        "from ... import xds\n"
        "from ...xds import session\n"
        "def late():\n    from ...xds.cache import Cache\n"
        "from ..base import Mesh\n"
    )
    rule = next(rule for rule in RULES if rule.why == "a transport knows nothing of xDS")
    assert {int(breach.split(":")[1].split()[0]) for breach in breaches(rule, [bad])} == {1, 2, 3, 4, 6}


USE_EVERYTHING = """
import json, sys, pyrpc_xds
for name in getattr(pyrpc_xds, "__all__", []):
    getattr(pyrpc_xds, name)
"""

WATCHED_IMPORT = """
import inspect, json, sys, threading
import pyrpc_xds.errors  # what the standard library does at its own import is not ours

for name in [name for name in sys.modules if name.startswith("pyrpc_xds")]:
    del sys.modules[name]
touched, locks = [], []
ACTIONS = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.putenv", "_thread.start_new_thread")

def audit(event, args):
    if event.startswith(ACTIONS):
        touched.append(event)
    elif event == "open" and "pyrpc_xds" in str(args[0]) and ".py" not in args[0] and ".so" not in args[0]:
        touched.append(f"open {args[0]}")

def counted(make):
    def lock(*args, **kwargs):
        maker = sys._getframe(1).f_globals.get("__name__", "")
        if maker.split(".")[0] == "pyrpc_xds":
            locks.append(maker)
        return make(*args, **kwargs)
    return lock

for name in ("Lock", "RLock", "Condition", "Event", "Semaphore", "Thread"):
    setattr(threading, name, counted(getattr(threading, name)))
sys.addaudithook(audit)
"""

EACH_ALONE = """
import importlib, json, sys
broken = {}

def unload(names):
    for name in names:
        if name.split(".")[0] == "pyrpc_xds":
            del sys.modules[name]
            package, _, child = name.rpartition(".")
            if package in sys.modules:
                vars(sys.modules[package]).pop(child, None)

for package, modules in json.loads(sys.argv[1]).items():
    unload(list(sys.modules))
    importlib.import_module(package)
    # Each begins with what its package imports, which need not be loaded anew.
    theirs = set(sys.modules)
    for name in modules:
        unload(set(sys.modules) - theirs)
        try:
            importlib.import_module(name)
        except Exception as error:
            broken[name] = repr(error)
print(json.dumps(broken))
"""


def run(code: str, *arguments: str, seconds: float = 60.0) -> object:
    """What ``code`` prints as JSON at its end, in a fresh interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_loads_no_transport_and_no_extra() -> None:
    heavy = {
        "grpc",
        "thriftpy2",
        "google",
        "envoy",
        "asyncio",
        *(name for names in EXTRAS.values() for name in names),
    }
    loaded = run("import json, sys, pyrpc_xds\nprint(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert not heavy & set(loaded)


def test_importing_the_package_starts_nothing_and_touches_nothing() -> None:
    """No lock, thread, process, socket, or file beyond the modules' own."""
    report = "print(json.dumps([touched, locks, [thread.name for thread in threading.enumerate()]]))"
    assert run(WATCHED_IMPORT + USE_EVERYTHING + report) == [[], [], ["MainThread"]]


@pytest.mark.parametrize("extra", EXTRAS)
def test_package_imports_without_the_extra(extra: str) -> None:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS[extra]!r}))"
    assert run(blocked + USE_EVERYTHING + "print(json.dumps('imported'))") == "imported"


def test_every_module_imports_on_its_own() -> None:
    """No module works only because another was imported first."""
    modules: dict[str, list[str]] = {}
    for path in sources("pyrpc_xds"):
        *package, name = path.relative_to(ROOT).with_suffix("").parts
        if not name.startswith("_"):
            modules.setdefault(".".join(package), []).append(".".join((*package, name)))
    assert len(modules) > 10
    assert run(EACH_ALONE, json.dumps(modules), seconds=100.0) == {}


MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/|\.local/share/|find-links|index-url", re.IGNORECASE
)
TEXT = re.compile(r"\.(py|pyi|pxd|toml|md|ya?ml|json|proto|thrift|go|mod|txt)$|Makefile$|run$")


def test_tree_names_no_machine() -> None:
    """A checkout works anywhere: no path of the machine that it was written on."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    if listing.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files belong to the project")
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in filter(None, listing.stdout.split("\0"))
        if TEXT.search(name) and (ROOT / name).is_file() and ROOT / name != Path(__file__)
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found


def test_first_configuration_imports_nothing() -> None:
    """What decodes it and what calls comes with the client, so that no call waits for an import, no thread of ours
    imports while another forks, and forked children share it; what only sidecar mode and asyncio need does not."""
    loaded = run("import json, sys, pyrpc_xds.client\nprint(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    decoders = {name.rpartition(".")[2] for name in loaded if name.startswith("pyrpc_xds.xds.decode.")}
    assert {"cluster", "endpoint", "listener", "route"} <= decoders
    assert not {"proxy_listener", "name_table", "thrift_proxy"} & decoders
    assert {"grpc._channel", "pyrpc_xds.transports.triple.channel"} <= set(loaded)
    assert not {"pyrpc_xds.transports.triple.aio_channel", "thriftpy2"} & set(loaded)


def test_own_transports_are_those_of_the_entry_points() -> None:
    """The client has them in a table of its own, and does not read the entry points for them."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    known = run("import json, pyrpc_xds.client as client\nprint(json.dumps(client._OWN_TRANSPORTS))")
    assert isinstance(known, dict)
    named = {name: f"pyrpc_xds{module}:{attribute}" for name, (module, attribute) in known.items()}
    assert named == declared["pyrpc_xds.transports"]
