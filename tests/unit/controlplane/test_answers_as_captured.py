"""The control plane's answers are those that the real istiod gave, as written down in tests/data/istiod.

The live comparison is tests/interop/test_controlplane_equals_istiod.py; this one needs no Go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrpc_xds.controlplane import ControlPlane
from tests.interop.cases import CASES, Case, normalised

DATA = Path(__file__).resolve().parents[2] / "data" / "istiod"


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_equal_those_captured_from_istiod(case: Case, plane: ControlPlane) -> None:
    plane.apply(case.text)
    assert normalised(case.ask(plane.address)) == json.loads((DATA / f"{case.name}.json").read_text())


def test_every_case_has_been_captured() -> None:
    assert {case.name for case in CASES} == {path.stem for path in DATA.glob("*.json")}
