"""The benchmarks run, and their report is whole; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_quick_benchmark_measures_ours_beside_the_bare_library(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        "--quick",
        "--only",
        "thrift,eds",
        "--json",
        str(report),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = json.loads(report.read_text())["groups"]
    assert {"bare thriftpy2", "pyrpc-xds"} <= set(groups["thrift"]["figures"])
    assert {"bare parse and walk", "pyrpc-xds"} <= set(groups["eds"]["figures"])
    for group in groups.values():
        assert all(figure["p50_us"] > 0 for figure in group["figures"].values())
        assert group["goals"]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["thrift-mux", "thrift-server", "thrift-storm"])
def test_quick_benchmark_of_thrift_under_load_is_whole(group: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", group, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(report.read_text())["groups"][group]
    assert all(goal["seen"] or "Envoy" in goal["text"] for goal in result["goals"])
    if group == "thrift-storm":
        assert result["figures"]["acknowledged"] > 0
    else:
        assert "p99_us" in json.dumps(result["figures"])
        assert result["title"] in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("group", ["triple-callers", "triple-streams", "start"])
def test_quick_benchmark_of_triple_tells_every_goal(group: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", group, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(report.read_text())["groups"][group]
    assert result["goals"]
    assert all(goal["seen"] > 0 and len(goal["interval"]) == 2 for goal in result["goals"])
