"""An XdsClient that nobody refers to any more: closed, with a warning, and not before."""

from __future__ import annotations

import gc
import threading
import warnings
from typing import Any

import pytest

import pyrpc_xds
from examples.greeter import idl
from pyrpc_xds.controlplane import ControlPlane
from tests.e2e.mesh import PROTOCOLS, TARGET, Protocol, environment, eventually, mesh


def ads_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pyrpc-xds-ads")]


def caller(client: pyrpc_xds.XdsClient, protocol: Protocol) -> Any:
    """A stub, the only reference to its client that is kept."""
    if protocol == "thrift":
        return client.thrift.client(idl.thrift().Greeter, TARGET, timeout=5.0)
    return idl.protobuf()[1].GreeterStub(client.triple.channel(TARGET))


def call(stub: Any, protocol: Protocol) -> str:
    messages = idl.thrift() if protocol == "thrift" else idl.protobuf()[0]
    return str(stub.SayHello(messages.HelloRequest(name="Joe")).id)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dropped_client_lives_as_long_as_what_was_made_of_it_and_is_then_closed_with_a_warning(
    protocol: Protocol,
) -> None:
    with mesh(protocol) as world:
        world.serve("v1")
        world.apply()
        stub = caller(pyrpc_xds.XdsClient.from_env(environment(world.plane.address)), protocol)
        gc.collect()
        assert call(stub, protocol) == "v1.0.0"
        gc.collect()
        assert call(stub, protocol) == "v1.0.0"
        before = len(ads_threads())
        assert before
        with pytest.warns(
            ResourceWarning, match=r"unclosed XdsClient sidecar~.*: close\(\) it, or use it in a with block"
        ):
            del stub
            gc.collect()
        eventually(lambda: len(ads_threads()) < before)


def test_a_client_that_was_closed_or_never_used_is_dropped_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ControlPlane(address="127.0.0.1:0") as plane:
            used = pyrpc_xds.XdsClient.from_env(environment(plane.address))
            caller(used, "thrift")
            used.close()
            unused = pyrpc_xds.XdsClient.from_env(environment(plane.address))
            assert unused.thrift and unused.triple
            direct = unused.triple.channel("direct:///127.0.0.1:1")
            del used, unused, direct
            gc.collect()
    assert not ads_threads()


def test_a_finalizer_takes_no_lock() -> None:
    client = pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:1"))
    caller(client, "thrift")
    core = client._core
    locks = (client._lock, core._lock, core.driver._lock)
    finished = threading.Event()

    def finalize() -> None:
        with pytest.warns(ResourceWarning):
            core.abandon("this one")
        finished.set()

    for lock in locks:
        lock.acquire()
    thread = threading.Thread(target=finalize)
    thread.start()
    assert finished.wait(5)
    for lock in locks:
        lock.release()
    thread.join()
    client.close()
    eventually(lambda: not ads_threads())


def test_a_router_that_is_closed_while_the_driver_closes_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:1")) as client:
        stub = caller(client, "thrift")
        driver = client._core.driver
        driver.close()
        monkeypatch.setattr(type(driver), "running", property(lambda self: True))  # as seen just before
        stub.close()
        assert not client._core.routers


def test_a_client_is_closed_although_a_callback_of_its_end_fails() -> None:
    with mesh("thrift") as world:
        world.serve("v1")
        world.apply()
        before = len(ads_threads())
        client = pyrpc_xds.XdsClient.from_env(environment(world.plane.address))
        assert call(caller(client, "thrift"), "thrift") == "v1.0.0"
        told: list[str] = []
        client.on_close(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        client.on_close(lambda: told.append("last"))
        with pytest.raises(ZeroDivisionError):
            client.close()
        assert told == ["last"]
        assert len(ads_threads()) == before
