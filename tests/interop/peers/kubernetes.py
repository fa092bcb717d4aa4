"""istioctl, helm, Kubernetes' decoder and Docker's parser, built from their sources: what judges manifests and chart.

None of them is given a cluster or an engine: they read files only.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .built import ROOT, PeerUnavailable, built, run, tool

SOURCE = Path(__file__).resolve().parent.parent / "kubernetes"
MANIFESTS = ROOT / "examples" / "greeter" / "kubernetes"
CHART = MANIFESTS / "chart" / "app"
BUILD_SECONDS = 1200.0  # istioctl and helm share most packages with istiod; 2 minutes once that is built
COMMAND_SECONDS = 60.0


@functools.cache
def build() -> Path:
    """The folder of the programs.

    :raises PeerUnavailable: they cannot be built here.
    """
    go = tool("go", "istioctl and helm")

    def compile_in(folder: Path) -> None:
        environment = {"GOFLAGS": "-buildvcs=false -mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        command = [go, "build", "-ldflags=-s -w", "-o", f"bin{os.sep}", "./decode", "./dockerfile", "tool"]
        run(command, folder, BUILD_SECONDS, environment)

    return built("kubernetes", SOURCE, [], compile_in) / "bin"


@functools.cache
def skip_reason() -> str | None:
    """Why they cannot run here, or None. Builds them on first use."""
    try:
        build()
    except PeerUnavailable as reason:
        return str(reason)
    return None


def command(
    name: str, *arguments: str | Path, input: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``istioctl``, ``helm`` or ``decode``."""
    # A cluster of whoever runs the tests must not be seen.
    alone = {**os.environ, "KUBECONFIG": os.devnull, "HELM_PLUGINS": os.devnull, **(environment or {})}
    return subprocess.run(
        [build() / name, *arguments],
        input=input,
        env=alone,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def analyze(files: Iterable[Path]) -> list[dict[str, Any]]:
    """What ``istioctl analyze`` says of files, without a cluster."""
    done = command("istioctl", "analyze", "--use-kube=false", "--output=json", *files)
    assert done.returncode == 0, done.stderr  # JSON tells of findings, not the exit code
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def decode(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Kubernetes objects as their types write them, and what is wrong in the YAML."""
    done = command("decode", input=text)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["objects"], found["errors"]


def rendered(release: str, *arguments: str | Path) -> str:
    """The YAML that ``helm template`` makes of the chart."""
    done = command("helm", "template", release, CHART, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout
