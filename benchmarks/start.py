"""How soon a program is ready: importing, and the first call of a fresh process.

Each figure is that of a process of its own; the rivals take turns, and ratios are taken within a round. The modules'
bytecode is there, as after an installation: a first process of each rival writes it, into a temporary folder, and does
not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from . import greeters, mesh
from .envoy import WEIGHTS
from .rounds import against

GRPC = "grpc"
IMPORTS: Mapping[str, str] = {
    GRPC: "import grpc",
    "pyrpc_xds": "import pyrpc_xds",
    "grpc and pyrpc_xds.transports.triple": "import grpc, pyrpc_xds.transports.triple",
}
"""What is imported, the yardstick first."""

BARE, GRPC_XDS, OURS = "bare grpcio", "grpcio xds:///", "pyrpc-xds"
_TIMED = """
import time
start = time.perf_counter()
{statement}
print(1000 * (time.perf_counter() - start))
"""
_SECONDS = 60.0


@contextmanager
def installed() -> Iterator[dict[str, str]]:
    """The environment of a fresh process whose modules are compiled, as those of an installed package are."""
    with tempfile.TemporaryDirectory(prefix="benchmark-bytecode-") as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield environment


def printed(command: Sequence[str], environment: Mapping[str, str]) -> list[float]:
    """The numbers that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=mesh.ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:80]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return [float(number) for number in done.stdout.split()]


def imports(rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds of each of :data:`IMPORTS`, without the start of the interpreter."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with installed() as environment:
        for number in range(-1, rounds):
            for name in rotated(list(IMPORTS), number):
                (taken,) = printed(["-c", _TIMED.format(statement=IMPORTS[name])], environment)
                if number >= 0:
                    times[name].append(taken)
    return compared(times)


def first_calls(rounds: int, control_plane: str = "embedded") -> dict[str, dict[str, dict[str, Any]]]:
    """Milliseconds to the first answer: of the whole process, and of what follows its imports."""
    whole: dict[str, list[float]] = {GRPC_XDS: [], OURS: [], BARE: []}
    after: dict[str, list[float]] = {GRPC_XDS: [], OURS: [], BARE: []}
    with greeters.running("triple", "v1") as port, installed() as environment, stubs() as folder:
        world = mesh.documents({"triple": dict.fromkeys(WEIGHTS, port)})
        with mesh.CONTROL_PLANES[control_plane](world) as address:
            environment["GRPC_XDS_BOOTSTRAP_CONFIG"] = mesh.bootstrap(address)
            targets = dict.fromkeys(whole, mesh.target("triple")) | {BARE: f"127.0.0.1:{port}"}
            for number in range(-1, rounds):
                for name in rotated(list(targets), number):
                    script = str(mesh.ROOT / "benchmarks" / "first_call.py")
                    began = repr(time.monotonic())
                    both = printed([script, name, targets[name], folder, began], environment)
                    if number >= 0:
                        whole[name].append(both[0])
                        after[name].append(both[1])
    return {"from the start of the process": compared(whole), "from the end of the imports": compared(after)}


def measure(rounds: int = 25, control_plane: str = "embedded") -> dict[str, Any]:
    """All of it. :param rounds: processes of each rival."""
    return {"import": imports(rounds), "first call": first_calls(rounds, control_plane)}


@contextmanager
def stubs() -> Iterator[str]:
    """The folder of the greeter's stubs, generated as an application's are."""
    with tempfile.TemporaryDirectory(prefix="benchmark-stubs-") as folder:
        idl = mesh.ROOT / "idl"
        command = [
            f"-I{idl}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            str(idl / "greeter.proto"),
        ]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *command], check=True, timeout=_SECONDS)
        yield folder


def rotated(names: list[str], number: int) -> list[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]


def compared(times: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Medians, and ratios to the first of ``times``."""
    base = next(iter(times.values()))
    return {name: {"ms": round(median(taken), 1), **against(taken, base)} for name, taken in times.items()}
