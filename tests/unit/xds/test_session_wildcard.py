"""The ADS session with the types of sidecar mode: some are asked for as a whole and decoded only where watched."""

from __future__ import annotations

from typing import Any

from pyrpc_xds.model.name_table import NAME
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryResponse, RawResource
from pyrpc_xds.xds.sidecar_types import NDS, SIDECAR_TYPES
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS
from tests.unit.xds.build import cluster, response, route_config
from tests.unit.xds.world import Watcher, World


def world() -> World:
    return World(types=SIDECAR_TYPES)


def bad(name: str) -> Any:
    """A cluster that is refused where it is decoded."""
    return cluster(name, lb_policy=6)  # CLUSTER_PROVIDED


def test_whole_types_are_asked_for_without_names_and_once() -> None:
    w = world()
    w.watch(CDS, "a", "b")
    w.watch(LDS, "0.0.0.0_80")
    w.watch(NDS, NAME)
    w.watch(RDS, "80")
    assert [(r.type_url, r.names) for r in w.flush()] == [
        (CDS.type_url, ()),
        (NDS.type_url, ()),
        (LDS.type_url, ()),
        (RDS.type_url, ("80",)),
    ]
    w.watch(CDS, "c")
    assert w.flush() == ()


def test_only_what_is_watched_is_decoded_and_a_bad_rest_costs_no_nack() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    answer = w.receive(response(CDS, cluster("a"), bad("b"), b"\x0a\x01c\xff"))
    assert answer is not None
    assert (answer.error, answer.names) == ("", ())
    assert w.watcher.take() == [("changed", "a")]


def test_resource_watched_later_comes_from_the_last_response() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.receive(response(CDS, cluster("a"), cluster("late")))
    w.watcher.take()
    w.watch(CDS, "late", "missing")
    assert w.flush() == ()
    assert w.watcher.take() == [("changed", "late"), ("error", "missing")]
    assert w.state(CDS, "missing") is ResourceState.DOES_NOT_EXIST


def test_bad_resource_watched_later_is_an_error_of_its_watcher() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.receive(response(CDS, cluster("a"), bad("b")))
    w.watch(CDS, "b")
    assert w.flush() == ()
    assert w.watcher.take() == [("changed", "a"), ("error", "b")]
    assert w.state(CDS, "b") is ResourceState.NACKED


def test_bad_watched_resource_is_refused_by_name() -> None:
    w = world()
    w.watch(CDS, "a", "b")
    w.flush()
    answer = w.receive(response(CDS, cluster("a"), bad("b")))
    assert answer is not None
    assert "'b'" in answer.error
    assert w.watcher.take() == [("changed", "a"), ("error", "b")]


def test_resource_without_a_readable_name_is_refused() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    answer = w.receive(response(CDS, cluster("a"), b"\x12\x01x"))
    assert answer is not None
    assert answer.error


def test_missing_resource_does_not_exist_at_once_and_comes_back() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.receive(response(CDS, cluster("b")))
    assert w.watcher.take() == [("error", "a")]
    w.receive(response(CDS, cluster("a"), version="2", nonce="n2"))
    assert w.watcher.take() == [("changed", "a")]


def test_name_added_between_request_and_response_is_answered_by_the_response() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.watch(CDS, "b", "c")
    w.flush()
    w.receive(response(CDS, cluster("a"), cluster("b")))
    assert sorted(w.watcher.take()) == [("changed", "a"), ("changed", "b"), ("error", "c")]


def test_resource_left_and_watched_again_is_decoded_anew_without_a_request() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.receive(response(CDS, cluster("a")))
    w.unwatch(CDS, "a")
    assert w.flush() == ()
    other = Watcher()
    w.watch(CDS, "a", watcher=other)
    w.flush()
    assert other.take() == [("changed", "a")]


def test_new_stream_asks_for_the_whole_again_and_keeps_what_there_is() -> None:
    w = world()
    w.watch(CDS, "a")
    w.flush()
    w.receive(response(CDS, cluster("a"), cluster("b")))
    w.close()
    w.watch(CDS, "b")
    w.deliver()
    assert w.watcher.take() == [("changed", "a"), ("changed", "b")]
    (request,) = w.open()
    assert (request.type_url, request.names, request.nonce) == (CDS.type_url, (), "")


def test_name_table_needs_no_name_on_the_wire() -> None:
    w = world()
    w.watch(NDS, NAME)
    w.flush()
    table = b"\n\x0f\n\x01h\x12\n\n\x0810.0.0.1"
    answer = w.receive(DiscoveryResponse(NDS.type_url, "1", "n", (RawResource(NDS.type_url, table),)))
    assert answer is not None
    assert answer.error == ""
    ((_, _, found),) = w.watcher.news
    assert found.addresses == {"h": ("10.0.0.1",)}


def test_types_asked_for_by_name_are_as_ever() -> None:
    w = world()
    w.watch(EDS, "a")
    w.watch(RDS, "80")
    assert [r.names for r in w.flush()] == [("a",), ("80",)]
    w.receive(response(RDS, route_config("80")))
    assert w.watcher.take() == [("changed", "80")]
