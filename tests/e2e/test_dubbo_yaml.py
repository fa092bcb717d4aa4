"""Dubbo-go's Istio tutorial with clients and servers that nothing but Dubbo's YAML configures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrpc_xds
from examples.greeter import idl, scenario
from pyrpc_xds.controlplane import ControlPlane
from pyrpc_xds.errors import ConfigError
from tests.e2e.interface_host import SERVICE_ENTRY, dubbo_yaml, rules
from tests.e2e.mesh import HOST, PORT, Mesh, environment, mesh

BY_INTERFACE = SERVICE_ENTRY + rules(HOST, PORT)


@pytest.fixture
def world() -> Iterator[Mesh]:
    with mesh("triple") as made:
        made.serve("v1")
        made.serve("v2")
        yield made


def dubbo(path: Path, world: Mesh, reference: str) -> pyrpc_xds.Dubbo:
    """A client of the mesh whose one reference has no interface and no place but what ``reference`` says."""
    consumer = f"references: {{GreeterClientImpl: {{protocol: tri{reference}}}}}"
    file = dubbo_yaml(path, world.plane.address, consumer)
    return pyrpc_xds.Dubbo.load(file, environment(world.plane.address))


def say_hello(stub: Any) -> str:
    return str(stub.SayHello(idl.protobuf()[0].HelloRequest(name="x"), timeout=10.0).id)


def test_interface_name_alone_is_a_host_of_the_mesh_with_its_rules(world: Mesh, tmp_path: Path) -> None:
    world.plane.apply(world.yaml() + BY_INTERFACE)
    with dubbo(tmp_path, world, "") as made:
        stub = made.reference(idl.protobuf()[1].GreeterStub)
        assert {say_hello(stub) for _ in range(10)} == {"v1.0.0"}
        with pyrpc_xds.attachments({"user": "admin"}):
            assert {say_hello(stub) for _ in range(10)} == {"v2.0.0"}


async def test_interface_name_alone_for_asyncio(world: Mesh, tmp_path: Path) -> None:
    world.plane.apply(world.yaml() + BY_INTERFACE)
    with dubbo(tmp_path, world, "") as made:
        stub = await made.aio_reference(idl.protobuf()[1].GreeterStub)
        assert (await stub.SayHello(idl.protobuf()[0].HelloRequest(name="x"), timeout=10.0)).id == "v1.0.0"


@pytest.mark.parametrize("reference", ["", ", provided_by: nowhere, check: true"])
def test_reference_to_what_the_mesh_has_not_is_an_error_that_names_all_ways(
    world: Mesh, tmp_path: Path, reference: str
) -> None:
    world.apply()
    with dubbo(tmp_path, world, reference) as made, pytest.raises(ConfigError) as caught:
        made.reference(idl.protobuf()[1].GreeterStub)
    text = str(caught.value)
    assert f"{tmp_path}/dubbogo.yaml: dubbo.consumer.references.GreeterClientImpl: xds:///" in text
    assert "is not in the mesh" in text
    assert all(way in text for way in ("provided_by", "url: xds:///", "ServiceEntry", "check: false"))


async def test_reference_to_what_the_mesh_has_not_is_an_error_for_asyncio(
    world: Mesh, tmp_path: Path
) -> None:
    world.apply()
    with dubbo(tmp_path, world, "") as made, pytest.raises(ConfigError, match="is not in the mesh"):
        await made.aio_reference(idl.protobuf()[1].GreeterStub)


def test_reference_that_is_not_checked_may_wait_for_its_host(world: Mesh, tmp_path: Path) -> None:
    world.apply()
    with dubbo(tmp_path, world, ", check: false") as made:
        stub = made.reference(idl.protobuf()[1].GreeterStub)
        world.plane.apply(world.yaml() + BY_INTERFACE)
        assert (
            str(stub.SayHello(idl.protobuf()[0].HelloRequest(name="x"), timeout=20.0, wait_for_ready=True).id)
            == "v1.0.0"
        )


def test_check_waits_no_longer_than_the_file_says(tmp_path: Path) -> None:
    # Nothing listens there: the answer never comes.
    nobody = "127.0.0.1:9"
    consumer = "max-wait-time-for-service-discovery: 300ms, references: {GreeterClientImpl: {}}"
    file = dubbo_yaml(tmp_path, nobody, consumer)
    began = time.monotonic()
    with (
        pyrpc_xds.Dubbo.load(file, environment(nobody)) as made,
        pytest.raises(ConfigError, match=r"no configuration within 0\.3 s"),
    ):
        made.reference(idl.protobuf()[1].GreeterStub)
    assert time.monotonic() - began < 10


@pytest.mark.timeout(180)
def test_tutorial_shows_its_distributions_configured_by_dubbos_yaml_alone() -> None:
    plane = ControlPlane(address="127.0.0.1:0")
    plane.start()
    try:
        results = scenario.play(plane.address, plane.apply, calls=500, dubbo=True)
    finally:
        plane.stop()
    # No rule, all to v1, user: admin to v2 and the others to v1, 90 to 10.
    assert [(result.step.title, result.block.label) for result in results] == [
        (step.title, block.label) for step in scenario.TUTORIAL for block in step.blocks
    ]
    assert not [result.as_dict() for result in results if not result.passed]
    assert {result.calls for result in results} == {500}
