"""The greeter's manifests and chart, judged by istioctl, helm and Kubernetes' own types."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.interop.peers import kubernetes
from tests.interop.peers.api_server import api_server
from tests.interop.peers.kubernetes import CHART, MANIFESTS, analyze, command, decode, rendered

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

BASE = sorted(MANIFESTS.glob("*.yaml"))
STEPS = sorted((MANIFESTS / "virtualservices").glob("*.yaml"))
RULES = [MANIFESTS / "destinationrule.yaml", *STEPS]
OBJECTS = [path for path in BASE if path not in RULES]
V2 = ("--set", "image.tag=2.0.0", "--set", "version.labels.dubbogoAppVersion=v2")
CLIENT = ("--values", CHART.parent / "client.yaml")
RELEASES: dict[str, tuple[str | Path, ...]] = {
    "dubbo-go-server-v1": (),
    "dubbo-go-server-v2": V2,
    "dubbo-go-client": CLIENT,
}


@pytest.fixture(autouse=True)
def built() -> Iterator[None]:
    if reason := kubernetes.skip_reason():
        pytest.skip(reason)
    yield


def changed(source: Path, to: Path, old: str, new: str) -> Path:
    text = source.read_text()
    assert old in text
    to.write_text(text.replace(old, new))
    return to


def by_name(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    objects, errors = decode(text)
    assert not errors
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_manifest_has_no_field_that_kubernetes_does_not_know(path: Path) -> None:
    objects, errors = decode(path.read_text())
    assert objects
    assert not errors


def test_field_that_kubernetes_does_not_know_is_found(tmp_path: Path) -> None:
    bad = changed(
        MANIFESTS / "dubbo-go-server.yaml", tmp_path / "bad.yaml", "readinessProbe", "readynessProbe"
    )
    _, errors = decode(bad.read_text())
    assert [
        error
        for error in errors
        if 'unknown field "spec.template.spec.containers[0].readynessProbe"' in error
    ]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rule_is_valid_for_istioctl(path: Path) -> None:
    done = command("istioctl", "validate", "-f", path)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout + done.stderr


def test_field_that_istio_does_not_know_is_found(tmp_path: Path) -> None:
    bad = changed(STEPS[0], tmp_path / "bad.yaml", "subset:", "subsets:")
    done = command("istioctl", "validate", "-f", bad)
    assert done.returncode != 0
    assert 'unknown field "subsets"' in done.stderr


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.name)
def test_istioctl_analyze_finds_nothing_in_the_manifests(step: Path) -> None:
    assert analyze([*BASE, step]) == []


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.name)
def test_istioctl_analyze_finds_nothing_in_the_rendered_chart(step: Path, tmp_path: Path) -> None:
    # Without a cluster every release renders the Service, which is the first one's.
    objects = {
        key: each
        for release, values in RELEASES.items()
        for key, each in by_name(rendered(release, *values)).items()
    }
    charts = tmp_path / "charts.yaml"
    charts.write_text(yaml.safe_dump_all(objects.values()))
    assert analyze([charts, RULES[0], step]) == []


def test_istioctl_analyze_finds_a_subset_that_is_not_there(tmp_path: Path) -> None:
    bad = changed(STEPS[1], tmp_path / "bad.yaml", "subset: v2", "subset: v3")
    found = analyze([*BASE, bad])
    assert [(message["level"], message["code"]) for message in found] == [("Error", "IST0101")]
    assert "dubbo-go-server+v3" in found[0]["message"]


def test_helm_lint_finds_nothing_to_correct() -> None:
    done = command("helm", "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_chart_renders_what_the_manifests_say() -> None:
    charts: dict[tuple[str, str], dict[str, Any]] = {}
    for release, values in RELEASES.items():
        charts |= by_name(rendered(release, *values))
    plain = by_name("\n---\n".join(path.read_text() for path in OBJECTS if path.name != "namespace.yaml"))
    # What only helm needs: the Service outlives the release that has made it.
    for (kind, name), each in charts.items():
        if kind == "Deployment":
            given = charts["ConfigMap", name]["data"]["dubbogo.yaml"]
            checksums = each["spec"]["template"]["metadata"].pop("annotations")
            assert checksums == {"checksum/config": hashlib.sha256(given.encode()).hexdigest()}
    annotations = charts["Service", "dubbo-go-server"]["metadata"].pop("annotations")
    assert annotations == {"helm.sh/resource-policy": "keep"}
    assert charts == plain


def services(release: str, *values: str | Path, server: str) -> set[str]:
    """The names of the Services that a release has in a cluster."""
    arguments = ("--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", server)
    objects = by_name(rendered(release, *values, *arguments))
    assert ("Deployment", f"{release.removesuffix('-v1').removesuffix('-v2')}-{release[-2:]}") in objects
    return {name for kind, name in objects if kind == "Service"}


def test_service_is_made_by_the_first_release_only() -> None:
    with api_server() as empty:
        assert services("dubbo-go-server-v1", server=empty) == {"dubbo-go-server"}
    made = yaml.safe_load(rendered("dubbo-go-server-v1", "--show-only", "templates/service.yaml"))
    # Helm writes these into what a release has made.
    made["metadata"]["annotations"] |= {
        "meta.helm.sh/release-name": "dubbo-go-server-v1",
        "meta.helm.sh/release-namespace": "default",
    }
    with api_server(made) as cluster:
        assert services("dubbo-go-server-v2", *V2, server=cluster) == set()
        # An upgrade that left it out would delete it.
        assert services("dubbo-go-server-v1", "--is-upgrade", server=cluster) == {"dubbo-go-server"}


def test_service_that_helm_has_not_made_is_left_alone() -> None:
    plain = next(yaml.safe_load_all((MANIFESTS / "dubbo-go-server.yaml").read_text()))
    with api_server(plain) as cluster:
        assert services("dubbo-go-server-v1", server=cluster) == set()


def test_client_has_no_service() -> None:
    assert {kind for kind, _ in by_name(rendered("dubbo-go-client", *CLIENT))} == {"ConfigMap", "Deployment"}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("image.tag=2", "/image/tag"),
        ("version.labels.dubbogoAppVersion=V_2", "/version/labels/dubbogoAppVersion"),
        ("version.labels.app=other", "/version/labels/app"),
        ("ports[0].name=triple", "/ports/0/name"),
        ("replica=2", "'replica'"),
    ],
)
def test_wrong_value_is_refused_by_the_schema(value: str, where: str) -> None:
    done = command("helm", "template", "wrong", CHART, "--set", value)
    assert done.returncode != 0
    assert where in done.stderr
