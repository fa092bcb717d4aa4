"""The control plane as a whole, over real gRPC: applying, reloading, several clients, status, bad clients."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import watchfiles

from pyrpc_xds.controlplane import ControlPlane, read_text
from pyrpc_xds.controlplane.reload import FolderWatch
from pyrpc_xds.errors import ConfigError, UsageError
from tests.interop.peers.ads_dump import CLUSTER, ENDPOINT, LISTENER, AdsClient, decode, dump, grpc_node

WAIT = 10.0
NAME = "outbound|80||s.example.com"


def mesh(port: int = 8080, name: str = "s") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.2, ports: {{http: {port}}}}}]
"""


BAD = mesh().replace("address: 127.0.0.2", "address: nowhere")


def served_port(plane: ControlPlane) -> int:
    """The port of the one endpoint that a new client is told."""
    found = dump(plane.address, ["s.example.com:80"]).endpoints[NAME]
    return found.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value  # type: ignore[attr-defined,no-any-return]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        running.apply(mesh())
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(mesh())
    return tmp_path


# --- applying -------------------------------------------------------------------------------------------


def test_a_change_reaches_a_client_that_waits(plane: ControlPlane) -> None:
    with AdsClient(plane.address) as client:
        client.fetch(ENDPOINT, [NAME])
        plane.apply(mesh(8081))
        response = client.receive()
        assert response is not None
        found = decode(ENDPOINT, response.resources[0].value)
        assert found.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value == 8081  # type: ignore[attr-defined]


def test_a_change_that_does_not_concern_a_client_sends_it_nothing(plane: ControlPlane) -> None:
    with AdsClient(plane.address) as client:
        client.fetch(ENDPOINT, [NAME])
        plane.apply(mesh() + "---" + mesh(9090, "other"))
        assert client.receive(0.3) is None
        assert plane.status().nodes[0].types["EDS"].sent == 1


def test_every_client_gets_what_its_own_namespace_sees() -> None:
    private = mesh().replace("resolution:", "exportTo: ['.']\n  resolution:")
    with (
        ControlPlane(read_text(private).resources) as plane,
        AdsClient(plane.address) as near,
        AdsClient(plane.address, grpc_node("shop")) as far,
    ):
        assert list(near.fetch(LISTENER, ["s.example.com:80"])) == ["s.example.com:80"]
        assert far.fetch(LISTENER, ["s.example.com:80"]) == {}


def test_a_bad_document_is_refused_and_nothing_changes(plane: ControlPlane) -> None:
    before = plane.status()
    with pytest.raises(ConfigError, match=r"spec.endpoints\[0\].address is 'nowhere'"):
        plane.apply(mesh(9090, "other") + "---" + BAD)
    assert plane.status() == before
    assert served_port(plane) == 8080


def test_many_clients_all_end_up_with_the_last_of_many_changes(plane: ControlPlane) -> None:
    clients = [AdsClient(plane.address) for _ in range(8)]
    try:
        for client in clients:
            client.fetch(ENDPOINT, [NAME])
        for port in range(9000, 9030):
            plane.apply(mesh(port))
        for client in clients:
            port = 0
            while port != 9029:
                response = client.receive(WAIT)
                assert response is not None, f"the last port this client heard of is {port}"
                client.ack(response)
                found = decode(ENDPOINT, response.resources[0].value)
                port = found.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value  # type: ignore[attr-defined]
            assert client.receive(0.05) is None
    finally:
        for client in clients:
            client.close()


def test_applying_the_same_again_is_no_new_version(plane: ControlPlane) -> None:
    before = plane.status().version
    plane.apply(mesh())
    assert plane.status().version == before


# --- folders --------------------------------------------------------------------------------------------


def test_a_changed_file_is_one_push(folder: Path) -> None:
    with ControlPlane(folder) as plane, AdsClient(plane.address) as client:
        client.fetch(ENDPOINT, [NAME])
        (folder / "mesh.yaml").write_text(mesh(8081))
        response = client.receive(WAIT)
        assert response is not None
        client.ack(response)
        assert client.receive(0.3) is None
        assert plane.status().version.endswith("/1")
        assert plane.status().nodes[0].types["EDS"].sent == 2


def test_a_file_that_an_editor_renames_over_the_old_one_is_taken(folder: Path) -> None:
    with ControlPlane(folder) as plane:
        (folder / ".mesh.yaml.swp").write_text(mesh(8081))
        os.replace(folder / ".mesh.yaml.swp", folder / "mesh.yaml")
        eventually(lambda: served_port(plane) == 8081)


def test_a_mounted_config_map_that_kubernetes_swaps_is_taken(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    for version, port in (("..1", 8080), ("..2", 8081)):
        (mount / version).mkdir()
        (mount / version / "mesh.yaml").write_text(mesh(port))
    (mount / "..data").symlink_to("..1")
    (mount / "mesh.yaml").symlink_to("..data/mesh.yaml")
    with ControlPlane(mount) as plane:
        assert served_port(plane) == 8080
        (mount / "..data_tmp").symlink_to("..2")
        os.replace(mount / "..data_tmp", mount / "..data")
        eventually(lambda: served_port(plane) == 8081)


def test_a_folder_that_is_itself_a_link_may_be_swapped(tmp_path: Path) -> None:
    for version, port in (("one", 8080), ("two", 8081)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "mesh.yaml").write_text(mesh(port))
    (tmp_path / "current").symlink_to("one")
    with ControlPlane(tmp_path / "current") as plane:
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", tmp_path / "current")
        eventually(lambda: served_port(plane) == 8081)


def test_a_file_that_becomes_bad_keeps_its_last_good_version_and_is_named(folder: Path) -> None:
    (folder / "other.yaml").write_text(mesh(9090, "other"))
    with ControlPlane(folder) as plane:
        (folder / "mesh.yaml").write_text(BAD)
        eventually(lambda: bool(plane.status().errors))
        assert (
            plane.status().errors[0].startswith("mesh.yaml, line 2 (ServiceEntry default/s): spec.endpoints")
        )
        assert served_port(plane) == 8080
        (folder / "mesh.yaml").write_text(mesh(8081))
        eventually(lambda: not plane.status().errors)
        assert served_port(plane) == 8081


def test_the_log_says_what_is_served_in_place_of_bad_documents(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "other.yaml").write_text(BAD.replace("{name: s}", "{name: never}"))
    with ControlPlane(folder, watch=False) as plane:
        assert (
            caplog.messages[1] == "not served, because there is no good version: ServiceEntry default/never"
        )
        caplog.clear()
        (folder / "mesh.yaml").write_text(BAD)
        assert not plane.reload()
        assert "served as before, in the last good version: ServiceEntry default/s" in caplog.messages


def test_the_log_of_an_object_given_twice_says_which_one_counts(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ControlPlane(folder, watch=False) as plane:
        (folder / "a.yaml").write_text(mesh(8081))
        plane.reload()
        assert served_port(plane) == 8081
        (said,) = [each.getMessage() for each in caplog.records if each.levelname != "INFO"]
        assert said == (
            "mesh.yaml, line 2 (ServiceEntry default/s): the same object is in a.yaml, line 2 "
            "(ServiceEntry default/s). That one counts; remove one, or rename it."
        )


def test_a_pushed_rule_that_leads_nowhere_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: [s.example.com], http: [{route: [{destination: {host: s.example.com, subset: v2}}]}]}
"""
    with ControlPlane() as plane:
        plane.apply(mesh() + rules)
        plane.apply(mesh(8081) + rules)
        (said,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said == (
        "line 11 (VirtualService default/v): spec.http[0]: destination s.example.com has no subset 'v2' "
        "(it has no DestinationRule with subsets): calls routed there fail"
    )


def test_a_folder_with_a_bad_document_starts_with_the_good_ones(folder: Path) -> None:
    (folder / "bad.yaml").write_text("a: [")
    with ControlPlane(folder) as plane:
        assert served_port(plane) == 8080
        assert plane.status().errors == (
            "bad.yaml, line 2: this is not YAML: did not find expected node content. Correct it.",
        )


def test_a_file_and_a_new_file_and_a_removed_file_are_taken(folder: Path) -> None:
    with ControlPlane(folder) as plane:
        (folder / "more.yaml").write_text(mesh(9090, "other"))
        eventually(lambda: plane.status().objects == 2)
        (folder / "mesh.yaml").unlink()
        eventually(lambda: plane.status().objects == 1)


def test_a_folder_that_goes_away_keeps_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(mesh())
    with ControlPlane(folder) as plane:
        os.replace(folder, tmp_path / "elsewhere")
        eventually(lambda: "no such folder" in "".join(plane.status().errors))
        assert served_port(plane) == 8080
        os.replace(tmp_path / "elsewhere", folder)
        eventually(lambda: not plane.status().errors)


def test_one_file_may_be_given_instead_of_a_folder(folder: Path) -> None:
    with ControlPlane(folder / "mesh.yaml") as plane:
        (folder / "mesh.yaml").write_text(mesh(8081))
        eventually(lambda: served_port(plane) == 8081)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        ControlPlane(tmp_path / "nowhere")


# --- clients --------------------------------------------------------------------------------------------


def test_status_shows_what_each_node_was_sent_accepted_and_refused(plane: ControlPlane) -> None:
    with AdsClient(plane.address) as client:
        client.fetch(CLUSTER, [NAME])
        client.request(ENDPOINT, [NAME])
        response = client.receive()
        assert response is not None
        client.request(ENDPOINT, [NAME], nonce=response.nonce, error="I do not want it")
        eventually(lambda: plane.status().nodes[0].types["EDS"].nacked == 1)
        (node,) = plane.status().nodes
        assert node.node_id == "sidecar~127.0.0.99~dumper.default~default.svc.cluster.local"
        assert (node.types["CDS"].acked, node.types["CDS"].version_acked) == (1, plane.status().version)
        assert (node.types["EDS"].acked, node.types["EDS"].error) == (0, "I do not want it")
    eventually(lambda: not plane.status().nodes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "nonsense"}, "the id has 1 parts, not 4"),
        ({"id": "sidecar~here~p.default~default.svc.cluster.local"}, "'here' is not an IP address"),
        ({"GENERATOR": "envoy"}, "metadata GENERATOR is 'envoy'"),
    ],
    ids=["id", "address", "generator"],
)
def test_a_node_that_cannot_be_answered_is_told_why(
    plane: ControlPlane, change: dict[str, str], message: str
) -> None:
    node = grpc_node()
    del node.metadata["INSTANCE_IPS"]
    if "id" in change:
        node.id = change["id"]
    else:
        node.metadata.update(change)
    with AdsClient(plane.address, node) as client:
        client.request(LISTENER, ["s.example.com:80"])
        assert client.receive() is None
        assert client.error is not None
        assert client.error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert message in client.error.details()


def test_more_streams_than_allowed_are_refused() -> None:
    with ControlPlane(max_streams=1) as plane, AdsClient(plane.address) as first:
        first.fetch(LISTENER, ["x:1"])
        with AdsClient(plane.address) as second:
            second.request(LISTENER, ["x:1"])
            assert second.receive() is None
            assert second.error is not None
            assert second.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# --- life -----------------------------------------------------------------------------------------------


def test_stopping_ends_the_streams_and_frees_the_port() -> None:
    plane = ControlPlane().start()
    address = plane.address
    with AdsClient(address) as client:
        client.fetch(LISTENER, ["x:1"])
        plane.stop()
        plane.stop()
        assert client.receive() is None
    with ControlPlane(address=address):
        pass


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    with ControlPlane() as plane:
        assert plane.address.startswith("127.0.0.1:")


def test_an_address_in_use_is_an_error_that_names_it(plane: ControlPlane) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen here\. Choose another port"):
        ControlPlane(address=plane.address).start()


@pytest.mark.parametrize("address", ["nowhere", "host:1", "127.0.0.1", ":80"])
def test_an_address_that_is_none_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match=r"Write it as 127\.0\.0\.1:15010"):
        ControlPlane(address=address)


def test_it_is_started_once() -> None:
    plane = ControlPlane()
    with pytest.raises(UsageError, match="call start"):
        _ = plane.address
    with plane, pytest.raises(UsageError, match="make a new one"):
        plane.start()


def test_making_one_starts_no_thread() -> None:
    before = threading.active_count()
    ControlPlane()
    assert threading.active_count() == before


def test_a_folder_that_goes_away_just_as_it_is_to_be_watched_is_watched_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    attempts: list[object] = []
    again = threading.Event()
    real = watchfiles.watch

    def watch(*paths: object, **options: Any) -> Any:
        attempts.append(paths)
        if len(attempts) == 1:
            raise FileNotFoundError("gone")
        again.set()
        return real(*paths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(watchfiles, "watch", watch)
    changed = threading.Event()
    watching = FolderWatch(folder, changed.set)
    watching.start()
    assert again.wait(10)
    (folder / "a.yaml").write_text("kind: x\n")
    assert changed.wait(10)
    watching.stop()
