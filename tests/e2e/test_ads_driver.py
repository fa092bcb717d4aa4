"""The driver against a real gRPC server: what goes over the wire, and what watchers are told."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Node, Server
from pyrpc_xds.errors import ResourceInvalid, ResourceNotFound, StreamError, UsageError
from pyrpc_xds.xds.backoff import BackOff
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS
from tests.e2e.ads_server import AdsServer
from tests.unit.xds.build import (
    ADS,
    assignment,
    cluster,
    hcm,
    lb_endpoint,
    listener,
    locality,
    route,
    route_config,
)

NODE = Node(
    "sidecar~127.0.0.1~client.default~default.svc.cluster.local",
    metadata={"GENERATOR": "grpc", "LABELS": {"app": "client"}},
)
WAIT = 10.0


class Recorder:
    """A watcher whose news can be waited for."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self.threads: set[str] = set()

    def on_changed(self, name: str, resource: Any) -> None:
        self._note("changed", name, resource)

    def on_error(self, name: str, error: Any) -> None:
        self._note("error", name, error)

    def on_ambient_error(self, name: str, error: Any) -> None:
        self._note("ambient", name, error)

    def _note(self, what: str, name: str, value: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.news.put((what, name, value))

    def next_any(self) -> tuple[str, str, Any]:
        return self.news.get(timeout=WAIT)

    def next(self, what: str) -> Any:
        """The value of the next news, which must be a ``what``."""
        seen, name, value = self.news.get(timeout=WAIT)
        assert seen == what, (seen, name, value)
        return value

    @property
    def quiet(self) -> bool:
        return self.news.empty()


@pytest.fixture
def server() -> Iterator[AdsServer]:
    server = AdsServer()
    yield server
    server.stop()


@contextlib.contextmanager
def driving(address: str, **options: Any) -> Iterator[AdsDriver]:
    options.setdefault("backoff", BackOff(lambda: 0.5, initial=0.05, maximum=0.2))
    driver = AdsDriver(Bootstrap((Server(address),), NODE), **options)
    try:
        yield driver
    finally:
        driver.close()


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


def test_server_that_restarts_is_found_again_and_asked_for_everything(
    server: AdsServer,
) -> None:
    server.set(CDS.type_url, cluster("a"), cluster("b"))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(CDS, "a", watcher)
        driver.subscribe(CDS, "b", watcher)
        watcher.next("changed")
        watcher.next("changed")
        server.wait(lambda s: any(r.response_nonce for r in s.of(CDS.type_url)))
        server.stop()
        before = len(server.requests)
        server.start()
        again = server.wait(lambda s: s.requests[before:])[0][1]
        assert sorted(again.resource_names) == ["a", "b"]
        assert again.response_nonce == ""
        assert again.version_info == "1"
        assert again.node.id == NODE.id
        server.set(CDS.type_url, cluster("a", lb_policy="RANDOM"))
        while watcher.next_any()[0] != "changed":  # type: ignore[attr-defined]
            pass


def test_server_that_hangs_up_after_an_answer_is_no_error_to_watchers(server: AdsServer) -> None:
    server.set(CDS.type_url, cluster("a"))
    watcher = Recorder()
    with driving(server.address, backoff=BackOff(lambda: 0.5, initial=60)) as driver:
        driver.subscribe(CDS, "a", watcher)
        watcher.next("changed")
        server.hang_up()
        server.wait(lambda s: s.of(CDS.type_url, stream=2))  # at once, not after the back-off
        assert watcher.quiet


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


def test_no_resource_timer_runs_while_nothing_answers_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # accepts by the kernel, never speaks HTTP/2
        watcher = Recorder()
        with driving(f"127.0.0.1:{listening.getsockname()[1]}", resource_timeout=0.1) as driver:
            driver.subscribe(LDS, "a", watcher)
            with pytest.raises(queue.Empty):
                watcher.news.get(timeout=1.0)
            assert driver.dump()["connected"] is False


def test_refused_connection_is_told_with_the_server_and_the_node_and_remembered_with_its_age() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    watcher = Recorder()
    with driving(f"127.0.0.1:{port}") as driver:
        driver.subscribe(LDS, "a", watcher)
        error = watcher.next("error")
        assert isinstance(error, StreamError)
        assert f"127.0.0.1:{port}" in str(error)
        assert NODE.id in str(error)
        assert driver.last_error is not None
        assert "s ago" in driver.last_error
        assert f"127.0.0.1:{port}" in driver.last_error


def test_server_that_comes_up_late_is_used(server: AdsServer) -> None:
    server.stop()
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        assert isinstance(watcher.next("error"), StreamError)
        server.start()
        while (seen := watcher.news.get(timeout=WAIT))[0] == "error":
            assert isinstance(seen[2], StreamError)
        assert seen[0] == "changed"
        assert driver.last_error is None


def test_bytes_that_are_no_response_break_the_stream_and_not_the_client(server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with driving(server.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        watcher.next("changed")
        server.push_raw(b"\xff\xff\xff not protobuf")
        server.wait(lambda s: s.of(LDS.type_url, stream=2))
        server.set(LDS.type_url, listener("a", None), listener("b"))
        driver.subscribe(LDS, "b", watcher)
        watcher.next("changed")


def test_response_over_the_size_limit_says_which_limit(server: AdsServer) -> None:
    many = [lb_endpoint(f"10.0.{index // 256}.{index % 256}") for index in range(2000)]
    server.set(EDS.type_url, assignment("c", [locality(many)]))
    watcher = Recorder()
    with driving(server.address, max_message_bytes=10_000) as driver:
        driver.subscribe(EDS, "c", watcher)
        assert "max_message_bytes" in str(watcher.next("error"))


def test_unix_socket_is_a_server_like_any_other(tmp_path: Any) -> None:
    path = tmp_path / "xds"
    server = AdsServer(unix=str(path))
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    try:
        with driving(f"unix:{path}") as driver:
            driver.subscribe(LDS, "a", watcher)
            watcher.next("changed")
    finally:
        server.stop()


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


def rds(name: str) -> Any:
    """How a listener names its routes."""
    return http_connection_manager_pb2.Rds(config_source=ADS, route_config_name=name)


@contextlib.contextmanager
def falling_back(*addresses: str) -> Iterator[AdsDriver]:
    servers = tuple(Server(address) for address in addresses)
    backoff = BackOff(lambda: 0.5, initial=0.05, maximum=0.2)
    driver = AdsDriver(Bootstrap(servers, NODE), backoff=backoff)
    try:
        yield driver
    finally:
        driver.close()


@pytest.fixture
def spare() -> Iterator[AdsServer]:
    server = AdsServer()
    yield server
    server.stop()


def test_further_servers_are_left_alone_while_the_first_answers(server: AdsServer, spare: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with falling_back(server.address, spare.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        watcher.next("changed")
    assert spare.requests == []


def test_the_next_server_is_used_where_the_first_cannot_be_had_at_the_start_and_the_first_once_it_can(
    server: AdsServer, spare: AdsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrpc_xds.xds.connection.RETURN_AFTER", 0.1)
    server.set(LDS.type_url, listener("a", hcm(rds=rds("first"))))
    spare.set(LDS.type_url, listener("a", hcm(rds=rds("spare"))))
    server.stop()
    watcher = Recorder()
    with falling_back(server.address, spare.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        assert watcher.next("changed").route_config_name == "spare"  # and no error before it
        assert driver.server.uri == spare.address
        server.start()
        assert watcher.next("changed").route_config_name == "first"
        assert driver.server.uri == server.address
        first = next(request for _, request in server.requests if request.type_url == LDS.type_url)
        assert first.version_info == ""  # a version of the other server would mean nothing


def test_the_first_server_is_returned_to_once_it_answers_and_not_when_it_only_accepts(
    server: AdsServer, spare: AdsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrpc_xds.xds.connection.RETURN_AFTER", 0.05)
    spare.set(LDS.type_url, listener("a", hcm(rds=rds("spare"))))
    server.broken = "no healthy upstream"
    watcher = Recorder()
    with falling_back(server.address, spare.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        assert watcher.next("changed").route_config_name == "spare"
        tries = server.opened
        server.wait(lambda server: server.opened >= tries + 3)
        spare.set(LDS.type_url, listener("a", hcm(rds=rds("spare, later"))))
        assert watcher.next("changed").route_config_name == "spare, later"
        assert driver.server.uri == spare.address
        server.set(LDS.type_url, listener("a", hcm(rds=rds("first"))))
        server.broken = ""
        assert watcher.next("changed").route_config_name == "first"
        assert driver.server.uri == server.address


def test_what_is_held_needs_no_other_server_and_what_is_not_does(server: AdsServer, spare: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    spare.set(LDS.type_url, listener("a"), listener("b"))
    watcher = Recorder()
    with falling_back(server.address, spare.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        watcher.next("changed")
        server.stop()
        watcher.next("ambient")
        watcher.next("ambient")  # two attempts later it is still the only one
        assert spare.requests == []
        other = Recorder()
        driver.subscribe(LDS, "b", other)
        other.next("changed")


def test_servers_that_cannot_be_had_are_tried_in_turn_with_a_pause_after_the_last(spare: AdsServer) -> None:
    spare.stop()
    watcher = Recorder()
    with falling_back("127.0.0.1:1", spare.address) as driver:
        driver.subscribe(LDS, "a", watcher)
        for _ in range(3):  # watchers are told once all of them have failed (gRFC A71)
            assert str(watcher.next("error")).startswith(f"control plane {spare.address}: ")


def test_server_that_allows_few_pings_is_pinged_rarely_from_then_on(server: AdsServer) -> None:
    """The text is grpc's own for a GOAWAY with ENHANCE_YOUR_CALM."""
    server.set(LDS.type_url, listener("a"))
    server.refusal = "Too many pings"
    watcher = Recorder()
    with driving(server.address) as driver:
        assert driver._connection.keepalive_ms < 30_000
        driver.subscribe(LDS, "a", watcher)
        assert "Too many pings" in str(watcher.next("error"))
        watcher.next("changed")
        assert driver._connection.keepalive_ms >= 300_000


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is absent, which makes the certificate of this test")
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=control-plane"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "chain.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return chain, key


def test_tls_to_the_control_plane_trusts_the_roots_of_the_bootstrap_only(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    server = AdsServer(credentials=grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())]))
    server.set(LDS.type_url, listener("a"))
    ca = tmp_path / "ca.pem"
    credentials = ChannelCredentials("tls", ca_file=str(ca))
    driver = AdsDriver(
        Bootstrap((Server(server.address, credentials),), NODE),
        backoff=BackOff(lambda: 0.5, initial=0.05, maximum=0.2),
    )
    watcher = Recorder()
    try:
        driver.subscribe(LDS, "a", watcher)
        assert f"cannot read {str(ca)!r}" in str(watcher.next("error"))
        ca.write_bytes(chain.read_bytes())
        while (seen := watcher.next_any())[0] == "error":
            assert isinstance(seen[2], StreamError)
        assert seen[0] == "changed"
    finally:
        driver.close()
    untrusting = Recorder()
    driver = AdsDriver(Bootstrap((Server(server.address, ChannelCredentials("tls")),), NODE))
    try:
        driver.subscribe(LDS, "a", untrusting)
        assert isinstance(untrusting.next("error"), StreamError)
    finally:
        driver.close()
        server.stop()


@pytest.mark.parametrize("state", ["never started", "connected", "connecting", "refused"])
def test_close_in_any_state_is_quick_quiet_and_repeatable(
    state: str, server: AdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = {
            "connecting": f"127.0.0.1:{mute.getsockname()[1]}",
            "refused": "127.0.0.1:1",
        }.get(state, server.address)
        driver = AdsDriver(Bootstrap((Server(address),), NODE))
        watcher = Recorder()
        server.set(LDS.type_url, listener("a"))
        if state != "never started":
            driver.subscribe(LDS, "a", watcher)
        if state == "connected":
            watcher.next("changed")
        if state == "refused":
            watcher.next("error")
        driver.close(timeout=5)
        driver.close(timeout=5)
        assert driver._thread is None or not driver._thread.is_alive()
    with pytest.raises(UsageError, match="closed"):
        driver.subscribe(LDS, "a", watcher)
    driver.unsubscribe(LDS, "a", watcher)
    assert "Traceback" not in caplog.text


def test_close_from_a_watcher_stops_the_thread(server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    closed = threading.Event()

    class Closing(Recorder):
        def on_changed(self, name: str, resource: Any) -> None:
            driver.close()
            closed.set()

    with driving(server.address) as driver:
        driver.subscribe(LDS, "a", Closing())
        assert closed.wait(WAIT)
        assert driver._thread is not None
        driver._thread.join(WAIT)
        assert not driver._thread.is_alive()


_EXIT = """
import sys
from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Node, Server
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import LDS

class Watcher:
    def on_changed(self, name, resource): print("changed", flush=True)
    def on_error(self, name, error): print("error", flush=True)
    on_ambient_error = on_error

driver = AdsDriver(Bootstrap((Server(sys.argv[1]),), Node("a~b~c~d")))
driver.subscribe(LDS, "a", Watcher())
if sys.argv[2] == "wait":
    import time
    time.sleep(0.5)
"""


@pytest.mark.parametrize("moment", ["wait", "at once"])
@pytest.mark.parametrize("reachable", [True, False])
def test_interpreter_exits_clean_with_an_open_driver(moment: str, reachable: bool, server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    address = server.address if reachable else "127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", _EXIT, address, moment],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr


_FORK = """
import os, sys
from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Node, Server
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import LDS

driver = AdsDriver(Bootstrap((Server(sys.argv[1]),), Node("a~b~c~d")))
driver.call(lambda: None)
import time
time.sleep(0.2)
child = os.fork()
if child == 0:
    assert not driver.running, driver
    assert driver.dump()["resources"] == []
    driver.call(lambda: os._exit(7))
    time.sleep(5)
    os._exit(1)
assert driver.running
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
driver.close()
"""


def test_forked_child_starts_afresh_and_the_parent_goes_on(server: AdsServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK, server.address], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


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
