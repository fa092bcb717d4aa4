"""What 10,000 endpoints cost: resident memory of a fresh process above that of the same client with one.

The client is a whole one, over a real ADS stream. ``python -m benchmarks.memory`` is the process measured.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import mesh
from .push import Unconnected

ENDPOINTS = 10_000
READY_SECONDS = 60.0
ONE, MANY = "one", "many"


def world() -> list[dict[str, Any]]:
    """A service of one endpoint and a service of ENDPOINTS; nothing listens there."""

    def entry(name: str, count: int) -> dict[str, Any]:
        addresses = [
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(1, count + 1)
        ]
        return mesh.entry(name, [{"address": address} for address in addresses], port=20000)

    return [entry(ONE, 1), entry(MANY, ENDPOINTS)]


def measure(control_plane: str = "embedded") -> dict[str, Any]:
    """Megabytes (of 1,000,000 bytes) above idle, at rest and at the highest."""
    with mesh.CONTROL_PLANES[control_plane](world()) as address:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory"],
            cwd=mesh.ROOT,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": mesh.bootstrap(address)},
            capture_output=True,
            text=True,
            timeout=3 * READY_SECONDS,
        )
    if done.returncode != 0:
        raise RuntimeError(f"the measured process failed: {done.stderr.strip().splitlines()[-1:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def resident() -> int:
    """Bytes of the process that are in memory now (Linux), or were at the most (elsewhere)."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most bytes that the process has had in memory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Have :func:`peak` start again from what is in memory now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def follow(xds: Any, name: str, endpoints: int) -> None:
    """Have the client hold the service, and pick one endpoint of it; nothing is connected."""
    snapshot = xds.router(f"xds:///{mesh.host(name)}:20000", Unconnected()).wait(READY_SECONDS)
    cluster = snapshot.route("/bench.Greeter/SayHello", {}).cluster
    cluster.pick()
    if len(cluster.addresses) != endpoints:
        raise RuntimeError(f"{name} has {len(cluster.addresses)} endpoints instead of {endpoints}")


if __name__ == "__main__":
    import pyrpc_xds

    with pyrpc_xds.XdsClient.from_env() as xds:
        follow(xds, ONE, 1)
        idle = resident()
        reset_peak()
        follow(xds, MANY, ENDPOINTS)
        time.sleep(0.5)
        rest, top = resident(), peak()
    print(
        json.dumps(
            {
                "endpoints": ENDPOINTS,
                "idle_mb": round(idle / 1e6, 1),
                "above_idle_mb": round((rest - idle) / 1e6, 1),
                "peak_above_idle_mb": round((top - idle) / 1e6, 1),
            }
        )
    )
