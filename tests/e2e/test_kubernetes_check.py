"""``pyrpc-xds check`` of the greeter's manifests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyrpc_xds.cli.findings import check_folder

MANIFESTS = Path(__file__).resolve().parents[2] / "examples" / "greeter" / "kubernetes"
STEPS = sorted((MANIFESTS / "virtualservices").glob("*.yaml"))
SUBSETS = {"1-all-v1": ["v1"], "2-user-admin": ["v2", "v1"], "3-weights-90-10": ["v1", "v2"]}


def copied(to: Path, *steps: Path) -> Path:
    for path in (*MANIFESTS.glob("*.yaml"), *steps):
        shutil.copy(path, to)
    return to


def test_manifests_are_clean() -> None:
    report = check_folder(MANIFESTS)
    assert not report.findings
    assert [target.clusters[0][1] for target in report.targets] == [2, 2]


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.stem)
def test_manifests_are_clean_with_each_step(step: Path, tmp_path: Path) -> None:
    report = check_folder(copied(tmp_path, step))
    assert not report.findings
    for target in report.targets:
        assert [name.split("|")[2] for name, _ in target.clusters] == SUBSETS[step.stem]
        assert {count for _, count in target.clusters} == {1}


def test_slip_in_a_deployments_label_is_found(tmp_path: Path) -> None:
    server = copied(tmp_path, STEPS[1]) / "dubbo-go-server.yaml"
    server.write_text(server.read_text().replace("dubbogoAppVersion: v2", "dubbogoAppVersion: v-2"))
    found = [finding.what for finding in check_folder(tmp_path).findings]
    assert [what for what in found if what.startswith("subset v2 has no endpoints")]
