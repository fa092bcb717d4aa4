"""The driver against a real gRPC server: what goes over the wire, and what watchers are told."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2

from pyrpc_xds.errors import ResourceInvalid, ResourceNotFound
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS
from tests.e2e.ads_server import AdsServer, serving
from tests.e2e.driving import NODE, WAIT, Recorder, driving
from tests.unit.xds.build import (
    assignment,
    cluster,
    listener,
    route,
    route_config,
)

server = pytest.fixture(serving)


def test_driver_subscribed_to_four_types_gets_them_and_acknowledges_each(server: AdsServer) -> None:
    server.set(LDS.type_url, listener("greeter:9090"))
    server.set(RDS.type_url, route_config("r"))
    server.set(CDS.type_url, cluster("c"))
    server.set(EDS.type_url, assignment("c"))
    watcher = Recorder()
    with driving(server.address) as driver:
        for kind, name in ((LDS, "greeter:9090"), (RDS, "r"), (CDS, "c"), (EDS, "c")):
            driver.subscribe(kind, name, watcher)
        seen = {type(watcher.next("changed")).__name__ for _ in range(4)}
        assert seen == {"Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"}
        for kind in (LDS, RDS, CDS, EDS):
            url = kind.type_url
            ack = server.wait(lambda s, url=url: next((r for r in s.of(url) if r.response_nonce), None))
            assert ack.version_info == "4"
            assert not ack.HasField("error_detail")
        assert driver.last_error is None
        assert watcher.threads == {"pyrpc-xds-ads"}


def test_first_request_of_a_stream_carries_the_node_and_later_ones_do_not(server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with driving(server.address, user_agent_version="1.2.3") as driver:
        driver.subscribe(LDS, "a", watcher)
        watcher.next("changed")
        server.wait(lambda s: len(s.of(LDS.type_url)) >= 2)
    first, *others = [request for _, request in server.requests]
    assert first.node.id == NODE.id
    assert first.node.metadata["LABELS"]["app"] == "client"
    assert first.node.user_agent_name == "pyrpc-xds"
    assert first.node.user_agent_version == "1.2.3"
    assert list(first.node.client_features) == [
        "envoy.lb.does_not_support_overprovisioning",
        "xds.config.resource-in-sotw",
    ]
    assert not any(request.HasField("node") for request in others)


def test_many_subscriptions_made_on_the_driver_thread_go_out_as_one_request(server: AdsServer) -> None:
    watcher = Recorder()
    with driving(server.address) as driver:
        names = [f"c{index}" for index in range(50)]
        driver.call(lambda: [driver.subscribe(CDS, name, watcher) for name in names] and None)
        first = server.wait(lambda s: s.of(CDS.type_url))[0]
        assert list(first.resource_names) == names


def test_bad_resource_is_named_in_the_nack_and_the_good_one_of_its_response_is_used(
    server: AdsServer,
) -> None:
    good, bad = Recorder(), Recorder()
    with driving(server.address) as driver:
        server.set(CDS.type_url, cluster("good"), cluster("bad"))
        driver.subscribe(CDS, "good", good)
        driver.subscribe(CDS, "bad", bad)
        good.next("changed")
        bad.next("changed")
        server.set(
            CDS.type_url,
            cluster("good", alt_stat_name="x", lb_policy="RANDOM"),
            cluster("bad", type="STATIC"),
        )
        error = bad.next("ambient")
        assert isinstance(error, ResourceInvalid)
        assert good.next("changed").lb_policy.value == "random"
        nack = server.wait(
            lambda s: next((r for r in s.of(CDS.type_url) if r.HasField("error_detail")), None)
        )
        assert nack.error_detail.code == 3
        assert "'bad'" in nack.error_detail.message
        assert "STATIC" in nack.error_detail.message
        assert nack.version_info == "1"
        states = {entry["name"]: entry["state"] for entry in driver.dump()["resources"]}
        assert states == {"good": "ACKED", "bad": "NACKED"}
        server.set(CDS.type_url, cluster("bad"))
        bad.next("changed")


def test_resource_that_the_server_never_sends_does_not_exist_after_the_timer() -> None:
    server = AdsServer(silent=True)
    watcher = Recorder()
    try:
        with driving(server.address, resource_timeout=0.2) as driver:
            driver.subscribe(RDS, "r", watcher)
            error = watcher.next("error")
            assert isinstance(error, ResourceNotFound)
            assert NODE.id in str(error)
            assert driver.dump()["resources"][0]["state"] == "DOES_NOT_EXIST"
            server.silent = False
            server.set(RDS.type_url, route_config("r"))
            watcher.next("changed")
    finally:
        server.stop()


def test_listener_that_the_server_does_not_have_is_not_found_without_waiting_for_the_timer(
    server: AdsServer,
) -> None:
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(LDS, "nowhere:1", watcher)
        assert isinstance(watcher.next("error"), ResourceNotFound)


def test_unsubscribed_resource_is_asked_for_no_more_and_may_be_asked_for_again(server: AdsServer) -> None:
    server.set(CDS.type_url, cluster("a"), cluster("b"))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(CDS, "a", watcher)
        driver.subscribe(CDS, "b", watcher)
        watcher.next("changed")
        watcher.next("changed")
        driver.unsubscribe(CDS, "a", watcher)
        server.wait(lambda s: list(s.of(CDS.type_url)[-1].resource_names) == ["b"])
        driver.subscribe(CDS, "a", watcher)
        watcher.next("changed")
        server.wait(lambda s: sorted(s.of(CDS.type_url)[-1].resource_names) == ["a", "b"])


def test_settled_is_called_after_all_news_of_a_response(server: AdsServer) -> None:
    server.set(CDS.type_url, *(cluster(f"c{index}") for index in range(5)))
    order: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Ordered(Recorder):
        def on_changed(self, name: str, resource: Any) -> None:
            order.put("changed")

    watcher = Ordered()
    with driving(server.address) as driver:
        driver.on_settled(lambda: order.put("settled"))
        driver.call(lambda: [driver.subscribe(CDS, f"c{index}", watcher) for index in range(5)] and None)
        seen = [order.get(timeout=WAIT)]
        while seen.count("changed") < 5 or seen[-1] != "settled":
            seen.append(order.get(timeout=WAIT))
        first = seen.index("changed")
        assert seen[first : first + 6] == ["changed"] * 5 + ["settled"]


def test_next_response_is_not_read_before_the_last_one_is_dealt_with(server: AdsServer) -> None:
    """D18: a slow watcher holds the stream, so the newest state follows without a queue of old ones."""
    gate = threading.Event()
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()

    class Slow(Recorder):
        def on_changed(self, name: str, resource: Any) -> None:
            seen.put(resource.max_requests)
            gate.wait(WAIT)

    with driving(server.address) as driver:
        server.set(CDS.type_url, limited(1))
        driver.subscribe(CDS, "c", Slow())
        assert seen.get(timeout=WAIT) == 1
        for number in range(2, 6):
            server.set(CDS.type_url, limited(number))
        assert driver._inbox.qsize() <= 1
        gate.set()
        assert [seen.get(timeout=WAIT) for _ in range(4)] == [2, 3, 4, 5]


def limited(max_requests: int) -> Any:
    result = cluster("c")
    result.circuit_breakers.thresholds.add().max_requests.value = max_requests
    return result


def test_watcher_that_raises_does_not_stop_the_others(
    server: AdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        def on_changed(self, name: str, resource: Any) -> None:
            raise RuntimeError("watcher bug")

    server.set(CDS.type_url, cluster("a"), cluster("b"))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(CDS, "a", Broken())
        driver.subscribe(CDS, "b", watcher)
        watcher.next("changed")
    assert "watcher bug" in caplog.text


def test_bug_in_a_turn_is_logged_and_the_updates_go_on(
    server: AdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with driving(server.address) as driver:
        received, calls = driver._session.received, []

        def broken_once(*arguments: Any) -> None:
            calls.append(arguments)
            if len(calls) == 1:
                raise ZeroDivisionError("bug")
            received(*arguments)

        driver._session.received = broken_once  # type: ignore[method-assign]
        driver.subscribe(LDS, "a", watcher)
        assert "ZeroDivisionError" in str(watcher.next("error"))
        watcher.next("changed")
    assert "a turn of the xDS thread failed" in caplog.text


def test_route_with_an_unsupported_matcher_is_refused_over_the_wire(server: AdsServer) -> None:
    match = route_components_pb2.RouteMatch(prefix="/", headers=[{"name": "user"}])
    server.set(RDS.type_url, route_config("r", [route(match)]))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(RDS, "r", watcher)
        assert "headers[0] 'user'" in str(watcher.next("error"))
        nack = server.wait(lambda s: [r for r in s.of(RDS.type_url) if r.HasField("error_detail")])[0]
        assert "header_match_specifier" in nack.error_detail.message
        assert nack.version_info == ""
