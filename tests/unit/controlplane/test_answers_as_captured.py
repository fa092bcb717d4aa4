"""The control plane's answers are those that the real istiod gave, as written down in tests/data/istiod.

The live comparison is tests/interop/test_controlplane_equals_istiod.py; this one needs neither Go nor gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from pyrpc_xds.controlplane.documents import read_text
from pyrpc_xds.controlplane.names import parse_node
from pyrpc_xds.controlplane.registry import Mesh
from pyrpc_xds.controlplane.snapshot import Snapshot
from tests.interop.cases import CASES, Case, normalised
from tests.interop.peers.ads_dump import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    Dump,
    cluster_names,
    decode,
    grpc_node,
    route_names,
)

DATA = Path(__file__).resolve().parents[2] / "data" / "istiod"


def answers(case: Case) -> Dump:
    """What ads_dump.dump() would gather, from the snapshot itself."""
    documents = read_text(case.text)
    assert not documents.errors
    snapshot = Snapshot(Mesh(documents.resources), "1")
    given = grpc_node(**case.node)
    where = given.locality
    node = parse_node(given.id, MessageToDict(given.metadata), (where.region, where.zone, where.sub_zone))

    def fetch(type_url: str, names: Iterable[str]) -> dict[str, Message]:
        return {
            found: decode(type_url, value)
            for name in names
            for found, value in snapshot.resources(type_url, node, name).items()
        }

    dump = Dump()
    dump.listeners = fetch(LISTENER, case.asked["listeners"])
    dump.routes = fetch(ROUTE, {*route_names(dump.listeners.values()), *case.asked["routes"]})
    dump.clusters = fetch(CLUSTER, {*cluster_names(dump.routes.values()), *case.asked["clusters"]})
    dump.endpoints = fetch(ENDPOINT, {*dump.clusters, *case.asked["clusters"]})
    return dump


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_equal_those_captured_from_istiod(case: Case) -> None:
    assert normalised(answers(case)) == json.loads((DATA / f"{case.name}.json").read_text())


def test_every_case_has_been_captured() -> None:
    assert {case.name for case in CASES} == {path.stem for path in DATA.glob("*.json")}
