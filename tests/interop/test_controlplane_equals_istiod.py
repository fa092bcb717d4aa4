"""The embedded control plane sends what the real istiod sends for the same YAML, resource by resource.

The cases are the files of ``cases/`` and the greeter mesh of the examples. Both answers are decoded with
xds-protos, which the control plane does not use. What is not compared is listed in ``_NOT_COMPARED``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.controlplane import ControlPlane
from tests.interop.peers.ads_dump import Dump, dump, grpc_node
from tests.interop.peers.istiod import IstiodProcess, skip_reason

pytestmark = pytest.mark.interop

CASES = Path(__file__).parent / "cases"
MESH = Path(__file__).resolve().parents[2] / "examples" / "greeter" / "mesh"

_NOT_COMPARED = """
- version_info, nonce, control_plane: each server's own, and not part of a resource.
- order of the endpoints within a locality, of the virtual hosts within a route configuration, and of
  headers with the same sort key: istiod takes them from Go maps, so its own order differs from run to run.
"""
SETTLE_SECONDS = 6.0


@pytest.fixture(scope="module")
def istiod() -> Iterator[IstiodProcess]:
    if reason := skip_reason():
        pytest.skip(reason)
    with IstiodProcess() as process:
        yield process


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


class Case:
    """A mesh, and what is asked of it: see cases/README.md."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.asked: dict[str, list[str]] = {"listeners": [], "routes": [], "clusters": [], "node": []}
        for line in text.splitlines():
            key, colon, values = line.removeprefix("# ").partition(":")
            if line.startswith("# ") and colon and key in self.asked:
                self.asked[key].extend(values.split())
        self.node: dict[str, Any] = {"labels": {}}
        for item in self.asked["node"]:
            key, _, value = item.partition("=")
            if key.startswith("label:"):
                self.node["labels"][key.removeprefix("label:")] = value
            else:
                self.node[key] = value

    def ask(self, address: str) -> Dump:
        return dump(
            address,
            self.asked["listeners"],
            node=grpc_node(**self.node),
            extra_routes=self.asked["routes"],
            extra_clusters=self.asked["clusters"],
            extra_endpoints=self.asked["clusters"],
        )


def _cases() -> list[Case]:
    found = [Case(path.stem, path.read_text()) for path in sorted(CASES.glob("*.yaml"))]
    for path in sorted(MESH.glob("rules-*.yaml")):
        asked = "# listeners: dubbo-go-app:20000 dubbo-go-app.default.svc.cluster.local:20000 greeter:9090\n"
        asked += "# clusters: outbound|20000|v1|dubbo-go-app.default.svc.cluster.local\n"
        text = f"{asked}{(MESH / 'base.yaml').read_text()}\n---\n{path.read_text()}"
        found.append(Case(f"greeter_{path.stem}", text))
    return found


def normalised(found: Dump) -> dict[str, dict[str, Any]]:
    """The answers as JSON values, with what has no order of its own put into one."""
    values = found.as_json()
    for routes in values["RouteConfiguration"].values():
        routes.get("virtual_hosts", []).sort(key=lambda host: host["name"])
        for host in routes.get("virtual_hosts", []):
            for route in host["routes"]:
                for key in ("headers", "query_parameters"):
                    route.get("match", {}).get(key, []).sort(key=_key)
    for assignment in values["ClusterLoadAssignment"].values():
        for locality in assignment.get("endpoints", []):
            locality["lb_endpoints"].sort(key=_key)
    return values


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.name)
def test_control_plane_equals_istiod(case: Case, istiod: IstiodProcess, plane: ControlPlane) -> None:
    istiod.apply("")
    istiod.apply(case.text)
    plane.apply(case.text)
    ours = normalised(case.ask(plane.address))
    # istiod takes changes in asynchronously, each kind of object by a path of its own: ask until it agrees.
    deadline = time.monotonic() + SETTLE_SECONDS
    theirs = normalised(case.ask(istiod.xds_address))
    while theirs != ours and time.monotonic() < deadline:
        time.sleep(0.3)
        theirs = normalised(case.ask(istiod.xds_address))
    assert ours == theirs


def test_every_case_is_answered_with_something(istiod: IstiodProcess, plane: ControlPlane) -> None:
    """Guards the table itself: a case in which nothing exists would make equality mean nothing."""
    for case in _cases():
        plane.apply(case.text)
        found = case.ask(plane.address)
        assert found.listeners, case.name
        assert found.routes or case.name.startswith("k8s_inbound"), case.name
