"""The table of meshes on which the embedded control plane is compared with the real istiod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.interop.peers.ads_dump import Dump, dump, grpc_node

FOLDER = Path(__file__).parent
MESH = Path(__file__).resolve().parents[3] / "examples" / "greeter" / "mesh"


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
    found = [Case(path.stem, path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))]
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


CASES = _cases()
