"""Servers that cannot be had, hang up, come back, or are one of several: the connection over real sockets."""

from __future__ import annotations

import queue
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from pyrpc_xds.bootstrap import ChannelCredentials, Server
from pyrpc_xds.errors import StreamError
from pyrpc_xds.xds.backoff import BackOff
from pyrpc_xds.xds.types import CDS, EDS, LDS
from tests.e2e.ads_server import AdsServer, serving
from tests.e2e.driving import NODE, WAIT, Recorder, driving
from tests.unit.xds.build import (
    ADS,
    assignment,
    cluster,
    hcm,
    lb_endpoint,
    listener,
    locality,
)

server = pytest.fixture(serving)
spare = pytest.fixture(serving)


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


def rds(name: str) -> Any:
    """How a listener names its routes."""
    return http_connection_manager_pb2.Rds(config_source=ADS, route_config_name=name)


def test_further_servers_are_left_alone_while_the_first_answers(server: AdsServer, spare: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    watcher = Recorder()
    with driving(server.address, spare.address) as driver:
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
    with driving(server.address, spare.address) as driver:
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
    with driving(server.address, spare.address) as driver:
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
    with driving(server.address, spare.address) as driver:
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
    with driving("127.0.0.1:1", spare.address) as driver:
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
    trusting = Server(server.address, ChannelCredentials("tls", ca_file=str(ca)))
    watcher, untrusting = Recorder(), Recorder()
    try:
        with driving(trusting) as driver:
            driver.subscribe(LDS, "a", watcher)
            assert f"cannot read {str(ca)!r}" in str(watcher.next("error"))
            ca.write_bytes(chain.read_bytes())
            while (seen := watcher.next_any())[0] == "error":
                assert isinstance(seen[2], StreamError)
            assert seen[0] == "changed"
        with driving(Server(server.address, ChannelCredentials("tls"))) as driver:
            driver.subscribe(LDS, "a", untrusting)
            assert isinstance(untrusting.next("error"), StreamError)
    finally:
        server.stop()
