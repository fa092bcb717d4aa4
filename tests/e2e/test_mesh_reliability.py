"""What a call survives: control planes that die, routes that swap, endpoints that leave or are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import pyrpc_xds
from examples.greeter import idl, scenario
from pyrpc_xds.cli.offline import NoConnector
from pyrpc_xds.controlplane import ControlPlane
from pyrpc_xds.errors import DeadlineExceeded, Unavailable
from tests.e2e.mesh import PROTOCOLS, TARGET, Load, Mesh, Protocol, environment, eventually, mesh, to


@pytest.fixture(params=PROTOCOLS)
def world(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    protocol: Protocol = request.param
    with mesh(protocol) as made:
        yield made


def test_calls_go_on_while_the_control_plane_is_gone_and_see_its_new_rules_when_it_is_back(
    world: Mesh,
) -> None:
    world.serve("v1"), world.serve("v2")
    world.apply(to("v1"))
    call = world.caller()
    assert call() == "v1.0.0"
    address = world.plane.address
    world.plane.stop()
    with Load(call) as load:
        load.more(100)
        assert load.seen.keys() == {"v1.0.0"}
        world.start_control_plane(address, world.yaml(to("v2")))
        eventually(lambda: "v2.0.0" in load.seen, 20)
        load.more(50)
    assert load.failures == []


def test_a_control_plane_that_restarts_again_and_again_costs_no_call(world: Mesh) -> None:
    world.serve("v1")
    world.apply(to("v1"))
    call = world.caller()
    call()
    with Load(call) as load:
        for _ in range(10):
            world.restart_control_plane(world.yaml(to("v1")))
            load.more(20)
    assert load.failures == []
    assert load.seen.keys() == {"v1.0.0"}


def test_a_call_waits_for_a_control_plane_that_comes_up_later(world: Mesh) -> None:
    world.serve("v1")
    config = world.yaml(to("v1"))
    address = world.plane.address
    world.plane.stop()
    call = world.caller()
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(call(20.0)))
    thread.start()
    eventually(lambda: world.client.dump()["last_error"] is not None)
    world.start_control_plane(address, config)
    thread.join(20)
    assert answers == ["v1.0.0"]


def test_a_call_without_a_control_plane_ends_with_its_deadline_and_says_why(world: Mesh) -> None:
    world.plane.stop()
    call = world.caller()
    began = time.monotonic()
    with pytest.raises(
        DeadlineExceeded,
        match=r"no configuration within .* s; control plane 127\.0\.0\.1:\d+: .*node 'sidecar~",
    ):
        call(0.5)
    assert time.monotonic() - began < 5


def test_swapping_routes_under_load_loses_no_call_and_ends_on_the_last_ones(world: Mesh) -> None:
    world.serve("v1"), world.serve("v2")
    world.apply(to("v1"))
    call = world.caller()
    call()
    with Load(call) as load:
        for swap in range(60):
            world.apply(to("v2" if swap % 2 == 0 else "v1"))
            load.more(3)
        world.apply(to("v2"))
        # Pushes may still be on their way: an earlier v2 is not the last one.
        eventually(lambda: {call() for _ in range(20)} == {"v2.0.0"})
    assert load.failures == []
    assert load.seen.keys() == {"v1.0.0", "v2.0.0"}


def test_an_endpoint_that_leaves_gets_no_new_call_and_its_running_call_finishes(
    world: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrpc_xds.core.LINGER", 0.05)  # so that it is drained while the call runs
    old, new = world.serve("v1"), world.serve("v2")
    world.apply(endpoints=[old])
    call = world.caller()
    old.hold.clear()
    answers: list[str] = []
    running = threading.Thread(target=lambda: answers.append(call(20.0)))
    running.start()
    assert old.entered.wait(10)
    world.apply(endpoints=[new])
    eventually(lambda: world.client.dump()["resources"] != [] and _endpoint_ports(world) == {new.port})
    assert {call() for _ in range(20)} == {"v2.0.0"}
    eventually(lambda: not world.client._core._retired)
    time.sleep(0.1)
    assert running.is_alive()
    old.hold.set()
    running.join(20)
    assert answers == ["v1.0.0"]


def _endpoint_ports(world: Mesh) -> set[int]:
    ports = set()
    for resource in world.client.dump()["resources"]:
        if resource["type"] == "EDS" and resource["resource"]:
            for locality in resource["resource"]["localities"]:
                ports |= {int(endpoint["address"].rpartition(":")[2]) for endpoint in locality["endpoints"]}
    return ports


def test_an_endpoint_nobody_listens_on_costs_no_call(world: Mesh) -> None:
    there, gone = world.serve("v1"), world.serve("v2")
    gone.stop()
    world.apply(endpoints=[there, gone])
    call = world.caller()
    assert Counter(call() for _ in range(50)) == {"v1.0.0": 50}


def test_an_endpoint_that_comes_back_is_used_again(world: Mesh) -> None:
    first, second = world.serve("v1"), world.serve("v2")
    second.stop()
    world.apply(endpoints=[first, second])
    call = world.caller()
    assert {call() for _ in range(20)} == {"v1.0.0"}
    world.serve("v2", address=second.address)
    eventually(lambda: call() == "v2.0.0", 20)


def test_all_endpoints_gone_is_unavailable_at_once_and_heals(world: Mesh) -> None:
    greeter = world.serve("v1")
    world.apply()
    call = world.caller()
    assert call() == "v1.0.0"
    world.apply(endpoints=[])
    eventually(lambda: _endpoint_ports(world) == set())
    began = time.monotonic()
    with pytest.raises(Unavailable, match="has no usable endpoints"):
        call(60.0)
    assert time.monotonic() - began < 30
    world.apply(endpoints=[greeter])
    eventually(lambda: _endpoint_ports(world) == {greeter.port})
    assert call() == "v1.0.0"


def test_the_routes_timeout_ends_a_call_that_the_caller_would_have_waited_for(world: Mesh) -> None:
    greeter = world.serve("v1")
    world.apply(to("v1") + "\n  timeout: 1s")
    call = world.caller()
    assert call() == "v1.0.0"
    greeter.hold.clear()
    began = time.monotonic()
    with pytest.raises(Exception) as failure:
        call(30.0)
    took = time.monotonic() - began
    greeter.hold.set()
    assert 0.9 < took < 15
    text = f"{type(failure.value).__name__} {failure.value}"
    assert "deadline" in text.lower() or "timed out" in text.lower() or "timeout" in text.lower(), text


@pytest.mark.parametrize("timeout", ["0.5s", "1s", "1.5s"])
def test_short_timeouts_of_a_virtual_service_do_not_fail_quick_calls(world: Mesh, timeout: str) -> None:
    # grpcio 1.85.1's own xds:/// fails every call of such a route at once.
    world.serve("v1")
    world.apply(to("v1") + f"\n  timeout: {timeout}")
    call = world.caller()
    assert {call() for _ in range(20)} == {"v1.0.0"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_killed_under_load_costs_at_most_the_calls_in_flight(protocol: Protocol) -> None:
    with mesh(protocol) as world:
        stays = world.serve("v1")
        with scenario.process(
            "server", "--version", "v2", environment=environment(world.plane.address)
        ) as killed:
            assert killed.stdout
            line = killed.stdout.readline()
            port = int(__import__("json").loads(line)[protocol].rpartition(":")[2])
            victim = type(stays)("v2", f"127.0.0.1:{port}", lambda: None)
            world.apply(endpoints=[stays, victim])
            call = world.caller()
            threads = 4
            with Load(call, threads=threads) as load:
                eventually(lambda: load.seen.keys() == {"v1.0.0", "v2.0.0"})
                killed.kill()
                load.more(200)
            assert len(load.failures) <= threads, load.failures
            assert load.seen["v1.0.0"] > 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_child_forked_before_or_after_the_first_call_follows_the_rules_as_its_parent_does(
    moment: str,
) -> None:
    with mesh("thrift") as world:
        world.serve("v1"), world.serve("v2")
        world.apply(to("v1"))
        with subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forking", moment, TARGET],
            env={**os.environ, **environment(world.plane.address)},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            first = ["v1.0.0"] if moment == "after" else []
            said = [process.stdout.readline().strip() for _ in range(2 + len(first))]
            assert said[: len(first)] == first
            assert sorted(said[len(first) :]) == ["child v1.0.0", "parent v1.0.0"]
            world.apply(to("v2"))
            assert process.wait(60) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_targets_opened_and_closed_again_leave_nothing_in_the_client(protocol: Protocol) -> None:
    with mesh(protocol) as world:
        greeter = world.serve("v1")
        world.apply(to("v1"))
        for target in (f"direct:///{greeter.address}", TARGET) * 5:
            if protocol == "thrift":
                module = idl.thrift()
                with world.client.thrift.client(module.Greeter, target, timeout=10) as client:
                    assert client.SayHello(module.HelloRequest(name="x")).id == "v1.0.0"
            else:
                messages, services = idl.protobuf()
                with world.client.triple.channel(target) as channel:
                    stub = services.GreeterStub(channel)
                    assert stub.SayHello(messages.HelloRequest(name="x"), timeout=10).id == "v1.0.0"
        eventually(lambda: world.client.dump()["resources"] == [])
        assert not world.client._core._clusters
        assert not world.client._core._followers


def test_one_client_serves_both_protocols_at_once() -> None:
    with mesh("triple") as triple, mesh("thrift") as thrift:
        triple.serve("v1"), thrift.serve("v2")
        config = triple.yaml().replace("greeter", "triple-greeter") + "\n---\n" + thrift.yaml()
        triple.plane.apply(config)
        with pyrpc_xds.XdsClient.from_env(environment(triple.plane.address)) as both:
            over_triple = triple.caller("xds:///triple-greeter.default.svc.cluster.local:9090", client=both)
            over_thrift = thrift.caller(client=both)
            assert [over_triple(), over_thrift()] == ["v1.0.0", "v2.0.0"]


def test_a_control_plane_that_refuses_the_node_fails_calls_at_once_and_says_what_to_change() -> None:
    with ControlPlane(address="127.0.0.1:0") as plane:
        variables = {**environment(plane.address), "XDS_MODE": "sidecar"}
        with pyrpc_xds.XdsClient.from_env(variables, ready_timeout=60.0) as client:
            router = client.router(TARGET, NoConnector())
            with pytest.raises(pyrpc_xds.Unavailable, match=r"no sidecar mode.*Unset XDS_MODE"):
                router.wait(None)
