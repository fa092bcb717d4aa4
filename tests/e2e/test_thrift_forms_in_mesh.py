"""The form of Thrift messages, from an EnvoyFilter's YAML through the embedded control plane to the bytes of a call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pyrpc_xds
from pyrpc_xds.cli.app import app
from pyrpc_xds.controlplane import ControlPlane
from pyrpc_xds.errors import Unavailable
from pyrpc_xds.transports.thrift import PoolLimits
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS
from tests.e2e.ads_server import AdsServer, serving
from tests.e2e.mesh import environment
from tests.e2e.thrift_forms import PATH, TARGET, V1, V2, caller, documented, greeters, world
from tests.unit.xds.build import assignment, cluster, lb_endpoint, listener, locality, route_config
from tests.unit.xds.decode.test_thrift_form import saying

SETTLE_SECONDS = 20.0
LEARNED = {("v1.0.0", ""), ("v2.0.0", "admin")}


server = pytest.fixture(serving)


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.fixture
def xds(plane: ControlPlane) -> Iterator[pyrpc_xds.XdsClient]:
    with pyrpc_xds.XdsClient.from_env(environment(plane.address)) as client:
        yield client


@pytest.fixture
def addresses(xds: pyrpc_xds.XdsClient) -> Iterator[dict[str, str]]:
    with greeters(xds) as found:
        yield found


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("multiplexed", [0, 1])
def test_client_that_says_nothing_speaks_to_each_version_what_the_documented_filter_says(
    kind: str,
    multiplexed: int,
    plane: ControlPlane,
    addresses: dict[str, str],
) -> None:
    plane.apply(world(addresses, documented()))
    with (
        pyrpc_xds.XdsClient.from_env(environment(plane.address, kind)) as xds,
        caller(xds, kind, pool=PoolLimits(multiplexed=multiplexed)) as call,
    ):
        assert {call() for _ in range(40)} == LEARNED


def settled(call: Callable[[], tuple[str, str]]) -> set[tuple[str, str]]:
    """What calls give from when none fails and both versions answer: one that failed is passed over for a while."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            found = {call() for _ in range(40)}
        except Unavailable:
            found = set()
        if len(found) == 2 or time.monotonic() > deadline:
            return found


def test_filter_that_comes_later_is_learned_by_a_client_that_is_calling(
    plane: ControlPlane, addresses: dict[str, str], xds: pyrpc_xds.XdsClient
) -> None:
    plane.apply(world(addresses))
    with caller(xds, "sync") as call:
        with pytest.raises(Unavailable, match="the server closed the connection"):
            call()
        plane.apply(world(addresses, documented()))
        assert settled(call) == LEARNED


def test_endpoints_of_one_cluster_are_called_as_the_metadata_of_each_says(server: AdsServer) -> None:
    """What only control planes of other makes send."""

    def said(forms: dict[str, dict[str, str]]) -> Any:
        entries = []
        for version, fields in forms.items():
            host, port = addresses[version].split(":")
            entries.append(lb_endpoint(host, int(port)))
            entries[-1].metadata.filter_metadata["pyrpc_xds.thrift"].update(fields)
        return assignment("c", [locality(entries)])

    with (
        pyrpc_xds.XdsClient.from_env(environment(server.address)) as xds,
        greeters(xds) as addresses,
        caller(xds, "sync") as call,
    ):
        name = TARGET.removeprefix("xds:///")
        server.set(LDS.type_url, listener(name))
        server.set(RDS.type_url, route_config())
        server.set(CDS.type_url, saying(cluster("c"), framing="framed"))
        server.set(EDS.type_url, said({"v1": {"protocol": "binary"}, "v2": {"framing": "ttheader"}}))
        assert {call() for _ in range(40)} == LEARNED
        server.set(EDS.type_url, said({"v1": {}, "v2": {"framing": "framed"}}))
        deadline = time.monotonic() + SETTLE_SECONDS
        with pytest.raises(Unavailable, match="the server closed the connection"):
            while time.monotonic() < deadline:
                call()
        server.set(EDS.type_url, said({"v1": {}, "v2": {"framing": "ttheader", "protocol": "compact"}}))
        assert settled(call) == LEARNED


def test_route_command_shows_what_is_learned(plane: ControlPlane, addresses: dict[str, str]) -> None:
    plane.apply(world(addresses, documented()))
    done = CliRunner().invoke(app, ["route", TARGET, PATH, "--json"], env=environment(plane.address))
    shown = {cluster["name"]: cluster["thrift"] for cluster in json.loads(done.output)["clusters"]}
    assert shown == {V1: {"*": "framed"}, V2: {"*": "ttheader"}}
    done = CliRunner().invoke(app, ["route", TARGET, PATH], env=environment(plane.address))
    assert [line.strip() for line in done.output.splitlines() if "Thrift" in line] == [
        "Thrift: framed",
        "Thrift: ttheader",
    ]


def test_dump_command_shows_what_is_learned(plane: ControlPlane, addresses: dict[str, str]) -> None:
    plane.apply(world(addresses, documented()))
    done = CliRunner().invoke(app, ["dump", TARGET, "--json"], env=environment(plane.address))
    shown = {
        each["name"]: each["resource"]["thrift_form"]
        for each in json.loads(done.output)["resources"]
        if each["type"] == "CDS"
    }
    assert shown == {
        V1: {"framing": "framed", "protocol": ""},
        V2: {"framing": "ttheader", "protocol": ""},
    }


def test_check_command_says_whom_istiod_would_tell(addresses: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(world(addresses, documented()))
    done = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    found = [each for each in json.loads(done.output)["findings"] if "EnvoyFilter" in each["where"]]
    assert [each["level"] for each in found] == ["note"]
    assert "istiod patches the clusters of sidecars only" in found[0]["what"]
    assert "XDS_MODE=sidecar" in found[0]["what"]
    wrong = documented().replace("framing: ttheader", "framing: mesh").replace("subset: v1", "subset: v7")
    (tmp_path / "mesh.yaml").write_text(world(addresses, wrong))
    done = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    texts = [f"{each['level']} {each['what']}" for each in json.loads(done.output)["findings"]]
    assert "warning a patch meets no cluster: greeter.default.svc.cluster.local has no subset 'v7'" in texts
    assert any("note metadata pyrpc_xds.thrift: framing is 'mesh'" in text for text in texts), texts
