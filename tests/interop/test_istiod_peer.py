"""The real istiod as a test peer does what the interop suites take for granted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers.ads_dump import dump
from tests.interop.peers.istiod import IstiodProcess, skip_reason

# The first use of istiod on a machine builds it.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

MESH = Path(__file__).resolve().parents[2] / "examples" / "greeter" / "mesh"
TARGET = "dubbo-go-app.default.svc.cluster.local:20000"


@pytest.fixture(scope="module")
def istiod() -> Iterator[IstiodProcess]:
    if reason := skip_reason():
        pytest.skip(reason)
    with IstiodProcess() as process:
        yield process


def mesh(rules: str) -> str:
    return (MESH / "base.yaml").read_text() + "\n---\n" + (MESH / f"{rules}.yaml").read_text()


def test_every_step_of_the_greeter_mesh_is_accepted_and_served_live(istiod: IstiodProcess) -> None:
    clusters = {}
    for rules in ("rules-0-none", "rules-1-all-v1", "rules-2-user-admin", "rules-3-weights-90-10"):
        istiod.apply(mesh(rules))
        clusters[rules] = [name.split("|")[2] for name in sorted(dump(istiod.xds_address, [TARGET]).clusters)]
    assert clusters == {
        "rules-0-none": [""],
        "rules-1-all-v1": ["v1"],
        "rules-2-user-admin": ["v1", "v2"],
        "rules-3-weights-90-10": ["v1", "v2"],
    }


def test_a_document_that_istiod_refuses_changes_nothing(istiod: IstiodProcess) -> None:
    istiod.apply(mesh("rules-1-all-v1"))
    bad = mesh("rules-1-all-v1").replace("subset: v1", "subset: v1\n      weight: -3")
    with pytest.raises(ValueError, match="weight -3 < 0"):
        istiod.apply(bad)
    assert sorted(dump(istiod.xds_address, [TARGET]).clusters) == [
        "outbound|20000|v1|dubbo-go-app.default.svc.cluster.local"
    ]


def test_documents_that_are_left_out_are_deleted(istiod: IstiodProcess) -> None:
    istiod.apply(mesh("rules-1-all-v1"))
    assert istiod.apply("") == {"created": 0, "updated": 0, "deleted": 6}
    assert dump(istiod.xds_address, [TARGET]).listeners == {}
