"""``pyrpc-xds check`` on a folder with Dubbo's YAML: which mapping a reference uses, and whether it leads anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyrpc_xds.cli import main  # noqa: F401  (registers the commands)
from pyrpc_xds.cli.app import app
from pyrpc_xds.cli.findings import check_folder

GREETER = "org.apache.dubbo.sample.Greeter"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: dubbo-go-server, namespace: default}
spec: {ports: [{name: grpc-triple, port: 20000}, {name: tcp-plain, port: 20001}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-interface, namespace: default}
spec:
  hosts: [org.apache.dubbo.sample.greeter]
  ports: [{number: 80, name: grpc, protocol: GRPC}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("POD_NAMESPACE", "CLUSTER_DOMAIN"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "services.yaml").write_text(SERVICES)
    return tmp_path


def write(folder: Path, **reference: Any) -> None:
    references = {"R": {"interface": GREETER, **reference}}
    registries = {"xds": {"protocol": "xds", "address": "istiod:15010"}}
    document = {"dubbo": {"registries": registries, "consumer": {"references": references}}}
    # JSON is YAML; Dubbo's key has to stand at the left margin.
    (folder / "dubbogo.yaml").write_text("dubbo: " + json.dumps(document["dubbo"], indent=1))


def about_reference(folder: Path) -> list[tuple[str, str]]:
    place = "dubbogo.yaml: dubbo.consumer.references.R"
    return [(each.level, each.what) for each in check_folder(folder).findings if each.where.startswith(place)]


@pytest.mark.parametrize(
    ("keys", "target", "by"),
    [
        (
            {"provided_by": "dubbo-go-server", "mesh-provider-port": 20000},
            "dubbo-go-server.default",
            "provided_by",
        ),
        ({"url": "xds:///dubbo-go-server.default.svc.cluster.local:20000"}, "dubbo-go-server.default", "url"),
        ({}, "org.apache.dubbo.sample.greeter:80", "interface"),
    ],
)
def test_reference_that_leads_somewhere_is_shown_with_its_mapping(
    folder: Path, keys: dict[str, Any], target: str, by: str
) -> None:
    write(folder, **keys)
    (mapped,) = check_folder(folder).references
    assert target in mapped.target and mapped.by == by
    assert about_reference(folder) == []


def test_namespace_of_short_names_is_that_of_the_pod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, provided_by="dubbo-go-server", **{"mesh-provider-port": 20000})
    monkeypatch.setenv("POD_NAMESPACE", "other")
    ((level, what),) = about_reference(folder)
    assert level == "error"
    assert "no Service or ServiceEntry has the host dubbo-go-server.other.svc.cluster.local" in what


def test_host_that_is_nearly_there_is_suggested(folder: Path) -> None:
    write(folder, provided_by="dubbo-go-sever")
    ((level, what),) = about_reference(folder)
    assert level == "error" and "did you mean dubbo-go-server.default.svc.cluster.local?" in what


def test_interface_that_no_host_has_names_all_ways(folder: Path) -> None:
    write(folder, interface="p.Unknown")
    ((level, what),) = about_reference(folder)
    assert level == "error"
    assert all(way in what for way in ("provided_by", "url: xds:///", "ServiceEntry"))


def test_port_that_the_service_has_not_is_an_error_with_those_it_has(folder: Path) -> None:
    write(folder, provided_by="dubbo-go-server")
    ((level, what),) = about_reference(folder)
    assert (level, what) == (
        "error",
        "dubbo-go-server.default.svc.cluster.local has no port 80: it has 20000 (grpc-triple), 20001 (tcp-plain); "
        "write mesh-provider-port",
    )


def test_port_without_http_rules_is_a_warning(folder: Path) -> None:
    write(folder, provided_by="dubbo-go-server:20001")
    ((level, what),) = about_reference(folder)
    assert level == "warning" and "http rules are not applied to port 20001 (tcp-plain)" in what


def test_reference_past_the_mesh_is_a_warning(folder: Path) -> None:
    write(folder, url="tri://dubbo-go-server:20000")
    ((level, what),) = about_reference(folder)
    assert level == "warning" and "past the mesh: no rule is applied" in what


def test_key_without_effect_is_a_finding_of_its_level(folder: Path) -> None:
    write(folder, retries=3, **{"tracing-key": "x"})
    assert [level for level, _ in about_reference(folder)] == ["warning", "note"]


def test_file_that_is_wrong_is_an_error_with_its_key(folder: Path) -> None:
    write(folder, verison="1")
    (finding,) = [each for each in check_folder(folder).findings if each.level == "error"]
    assert finding.where == "dubbogo.yaml"
    assert finding.what == (
        "dubbo.consumer.references.R.verison is not a field that is known here. Did you mean version?"
    )


def test_file_alone_says_where_it_leads_and_that_nothing_is_known_of_the_mesh(folder: Path) -> None:
    write(folder, provided_by="dubbo-go-server")
    report = check_folder(folder / "dubbogo.yaml")
    assert report.ok and [finding.level for finding in report.findings] == ["note"]


def test_command_prints_the_mapping(folder: Path) -> None:
    write(folder, provided_by="dubbo-go-server:20000")
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert (
        "dubbogo.yaml: dubbo.consumer.references.R calls "
        "xds:///dubbo-go-server.default.svc.cluster.local:20000 (by provided_by)"
    ) in done.output
    found = json.loads(CliRunner().invoke(app, ["check", "--json", str(folder)]).output)
    assert found["references"] == [
        {
            "where": "dubbogo.yaml: dubbo.consumer.references.R",
            "interface": GREETER,
            "target": "xds:///dubbo-go-server.default.svc.cluster.local:20000",
            "by": "provided_by",
        }
    ]
