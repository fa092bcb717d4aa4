"""Bad input: one clear error that says what, where and what to do; the running configuration stays; nothing hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrpc_xds
from pyrpc_xds.controlplane import ControlPlane, read_text
from pyrpc_xds.errors import ConfigError, DeadlineExceeded, Unavailable, UsageError
from tests.e2e.mesh import (
    HOST,
    PATH,
    PROTOCOLS,
    TARGET,
    Load,
    Mesh,
    Protocol,
    environment,
    eventually,
    mesh,
    to,
)


@pytest.fixture(params=PROTOCOLS)
def world(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    protocol: Protocol = request.param
    with mesh(protocol) as made:
        yield made


def resources(world: Mesh) -> dict[tuple[str, str], str]:
    """Type and name -> state of what the client holds."""
    return {(entry["type"], entry["name"]): entry["state"] for entry in world.client.dump()["resources"]}


# -- the control plane's YAML -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("subset: v2", "subset: [v2"), "this is not YAML"),
        (("route:", "rout:"), "rout"),
        (("exact: admin", "exat: admin"), "exat"),
        (("- route:", "- timeout: soon\n    route:"), "'soon', not a duration"),
        (("exact: admin", 'regex: "(admin"'), "regex"),
    ],
    ids=["not YAML", "unknown field", "unknown match", "bad duration", "bad regex"],
)
def test_a_bad_document_in_the_folder_is_reported_and_the_rules_in_force_stay(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    good = f"""
- match: [{{headers: {{user: {{exact: admin}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: v2}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""
    with mesh("thrift") as world:
        world.serve("v1"), world.serve("v2")
        text = world.yaml(good)
        (tmp_path / "mesh.yaml").write_text(text)
        with (
            ControlPlane(tmp_path) as plane,
            pyrpc_xds.XdsClient.from_env(environment(plane.address)) as client,
        ):
            call = world.caller(client=client)
            assert call() == "v1.0.0"
            broken = text.replace(*change)
            assert broken != text
            with Load(call, threads=2) as load:
                (tmp_path / "mesh.yaml").write_text(broken)
                eventually(lambda: plane.status().errors != ())
                load.more(20)
                (error,) = plane.status().errors
                assert words in error
                assert "mesh.yaml" in error
                with pyrpc_xds.attachments({"user": "admin"}):
                    assert call() == "v2.0.0"
                (tmp_path / "mesh.yaml").write_text(text.replace("subset: v1", "subset: v2"))
                eventually(lambda: plane.status().errors == ())
                eventually(lambda: call() == "v2.0.0")
            assert load.failures == []


# -- the bootstrap ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "POD_NAME, POD_NAMESPACE, INSTANCE_IP not set"),
        ({"GRPC_XDS_BOOTSTRAP": "/nowhere/bootstrap.json"}, "/nowhere/bootstrap.json"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": '{"xds_servers": ['}, "GRPC_XDS_BOOTSTRAP_CONFIG"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": '{"node": {"id": "a"}}'}, "xds_servers"),
        ({"POD_NAME": "a", "POD_NAMESPACE": "b", "INSTANCE_IP": "not-an-ip"}, "not-an-ip"),
    ],
    ids=["nothing set", "no such file", "not JSON", "no servers", "bad address"],
)
def test_a_bad_bootstrap_is_one_config_error(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as failure:
        pyrpc_xds.XdsClient.from_env(variables)
    assert words in str(failure.value)


# -- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["xds:///greeter", "xds://istiod/greeter:1", "http://greeter:80", "", "direct:///greeter:1"]
)
def test_a_target_of_another_form_is_a_usage_error_that_shows_the_forms(world: Mesh, target: str) -> None:
    with pytest.raises(UsageError, match=r"xds:/|three slashes"):
        world.caller(target)()


@pytest.mark.parametrize(
    "target", ["xds:///nobody.default.svc.cluster.local:9090", f"xds:///{HOST}:1234"], ids=["host", "port"]
)
def test_an_unknown_host_or_port_fails_at_once_and_says_what_to_look_at(world: Mesh, target: str) -> None:
    world.serve("v1")
    world.apply()
    call = world.caller(target)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(
            Unavailable,
            match=rf"{target.removeprefix('xds:///')}.*check the Service's name, namespace and port",
        ):
            call(30.0)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "target", ["xds:///nobody.default.svc.cluster.local:9090", f"xds:///{HOST}:1234"], ids=["host", "port"]
)
def test_a_deadline_before_an_unknown_target_is_known_to_be_says_what_was_not_sent(
    world: Mesh, target: str
) -> None:
    world.serve("v1")
    world.apply()
    assert world.caller()() == "v1.0.0"
    with pytest.raises(DeadlineExceeded) as failure:
        world.caller(target)(0.5)
    assert (
        f"connected to {world.plane.address}, which has not sent Listener {target.removeprefix('xds:///')} yet: "
        "check the Service's name, namespace and port"
    ) in str(failure.value)


def test_a_route_to_a_subset_that_no_rule_defines_fails_alone_and_says_so(world: Mesh) -> None:
    world.serve("v1")
    world.apply(f"""
- match: [{{headers: {{lane: {{exact: none}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: v77}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
""")
    call = world.caller()
    assert call(30.0) == "v1.0.0"
    with (
        pyrpc_xds.attachments({"lane": "none"}),
        pytest.raises(Unavailable, match=f"{HOST} has no port 9090, .*or no DestinationRule .*subset 'v77'"),
    ):
        call()


def test_a_subset_without_endpoints_fails_alone_and_says_what_to_look_at(world: Mesh) -> None:
    world.serve("v1")
    rules = f"""
- match: [{{headers: {{lane: {{exact: none}}}}}}]
  route: [{{destination: {{host: {HOST}, subset: empty}}}}]
- route: [{{destination: {{host: {HOST}, subset: v1}}}}]
"""
    world.apply(rules)
    call = world.caller()
    assert call() == "v1.0.0"
    with (
        pyrpc_xds.attachments({"lane": "none"}),
        pytest.raises(Unavailable, match=r"outbound\|9090\|empty\|.* has no usable endpoints.*subset"),
    ):
        call()
    assert call() == "v1.0.0"


@pytest.mark.parametrize("resolution", ["DNS", "NONE"])
def test_a_host_that_nobody_looks_up_is_named_as_the_cause(resolution: str) -> None:
    entry = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e}}
spec: {{hosts: [a.example], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: {resolution}}}
"""
    with mesh("thrift") as world:
        world.plane.apply(entry)
        for command in (("route", "xds:///a.example:80", "/a.B/C"), ("dump", "xds:///a.example:80")):
            done = cli(world, *command)
            assert "no usable endpoints" in done.stdout
            assert "that a ServiceEntry's resolution is STATIC (DNS and NONE are looked up by" in done.stdout


def test_a_port_that_is_not_http_or_grpc_goes_to_the_whole_service_and_route_says_why(world: Mesh) -> None:
    world.serve("v1"), world.serve("v2")
    world.apply(to("v1"), port_name="tcp-greeter")
    call = world.caller()
    assert {call() for _ in range(20)} == {"v1.0.0", "v2.0.0"}
    done = cli(world, "route", TARGET, PATH)
    assert done.returncode == 0, done.stderr
    assert "VirtualService http routes are not applied" in done.stdout


# -- what the client refuses --------------------------------------------------------------------------------------


def test_an_update_that_the_client_refuses_is_nacked_and_the_rules_in_force_stay(world: Mesh) -> None:
    world.serve("v1"), world.serve("v2")
    world.apply(to("v1"))
    call = world.caller()
    assert call() == "v1.0.0"
    refused = (
        world.yaml(to("v1"))
        + f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: greeter-tls, namespace: default}}
spec:
  host: {HOST}
  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}
"""
    )
    with Load(call, threads=2) as load:
        world.plane.apply(refused)
        eventually(lambda: "NACKED" in resources(world).values())
        load.more(20)
    assert load.failures == []
    (nack,) = {
        error
        for node in world.plane.status().nodes
        for kind in node.types.values()
        for error in [kind.error]
        if error
    }
    assert "UpstreamTlsContext" in nack
    world.apply(to("v2"))
    eventually(lambda: call() == "v2.0.0")


# -- calls --------------------------------------------------------------------------------------------------------


def test_a_closed_client_says_so(world: Mesh) -> None:
    world.serve("v1")
    world.apply()
    call = world.caller()
    assert call() == "v1.0.0"
    world.client.close()
    with pytest.raises(Exception, match="closed"):
        call()
    with pytest.raises(UsageError, match="closed"):
        world.caller()()


def cli(world: Mesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``pyrpc-xds`` as a pod of this mesh."""
    return subprocess.run(
        [sys.executable, "-m", "pyrpc_xds.cli", *arguments],
        env={**os.environ, **environment(world.plane.address, "cli")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_show_errors_as_one_line_and_exit_with_1(world: Mesh, tmp_path: Path) -> None:
    world.plane.stop()
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999}]}\n")
    for arguments in (
        ("route", TARGET, PATH, "--timeout", "0.5"),
        ("dump", TARGET, "--timeout", "0.5"),
        ("route", "nonsense", PATH),
        ("check", str(bad)),
    ):
        done = cli(world, *arguments)
        assert done.returncode == 1, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout + done.stderr
    answer = json.loads(cli(world, "check", str(bad), "--json").stdout)
    assert answer["ok"] is False
    assert "99999" in answer["findings"][0]["what"]


def test_the_text_that_check_refuses_is_refused_by_the_control_plane_too() -> None:
    documents = read_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999}]}\n", "x.yaml"
    )
    (error,) = documents.errors
    assert "99999" in str(error)
    assert "x.yaml, line 1 (Service default/x)" in str(error)
