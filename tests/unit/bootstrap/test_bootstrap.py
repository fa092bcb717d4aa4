"""Bootstrap: which source counts, and which view of the mesh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyrpc_xds.bootstrap import Bootstrap, Mode
from pyrpc_xds.errors import ConfigError
from tests.unit.bootstrap.minimal import MINIMAL, POD, parsed


def test_bootstrap_file_wins_over_config_and_pod(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(MINIMAL))
    other = json.dumps({**MINIMAL, "xds_servers": [{**MINIMAL["xds_servers"][0], "server_uri": "x:1"}]})
    environ = {**POD, "GRPC_XDS_BOOTSTRAP": str(path), "GRPC_XDS_BOOTSTRAP_CONFIG": other}
    result = Bootstrap.from_env(environ)
    assert result.servers[0].uri == "istiod:15010"
    assert str(path) in result.source
    del environ["GRPC_XDS_BOOTSTRAP"]
    result = Bootstrap.from_env(environ)
    assert result.servers[0].uri == "x:1"
    assert result.source == "GRPC_XDS_BOOTSTRAP_CONFIG"


def test_labels_of_the_code_join_those_of_the_json() -> None:
    node = {**MINIMAL["node"], "metadata": {"LABELS": {"a": "1", "b": "1"}, "X": [1]}}
    environ = {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps({**MINIMAL, "node": node})}
    result = Bootstrap.from_env(environ, labels={"b": "2"})
    assert result.node.metadata == {"LABELS": {"a": "1", "b": "2"}, "X": [1]}


def test_bad_file_is_not_passed_over_for_the_next_source() -> None:
    with pytest.raises(ConfigError, match="cannot read '/nonexistent/bootstrap'"):
        Bootstrap.from_env({**POD, "GRPC_XDS_BOOTSTRAP": "/nonexistent/bootstrap"})


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Bootstrap.from_file(path)
    with pytest.raises(ConfigError, match="cannot read"):
        Bootstrap.from_file(tmp_path)


def test_sidecar_mode_of_a_pod_sends_no_generator() -> None:
    result = Bootstrap.from_env({**POD, "XDS_MODE": "sidecar"}, labels={"version": "v1"})
    assert result.mode is Mode.SIDECAR
    assert "GENERATOR" not in result.node.metadata
    assert result.node.metadata["LABELS"] == {"version": "v1"}
    assert result.node.id == Bootstrap.from_env(POD).node.id


def test_mode_is_grpc_unless_something_says_otherwise() -> None:
    assert Bootstrap.from_env(POD).mode is Mode.GRPC
    assert Bootstrap.from_env({**POD, "XDS_MODE": ""}) == Bootstrap.from_env(POD)
    assert Bootstrap.from_env({**POD, "XDS_MODE": "grpc"}) == Bootstrap.from_env(POD)
    assert parsed().mode is Mode.GRPC
    assert parsed().node.metadata == {}


def test_mode_of_a_file_is_in_the_nodes_metadata_and_is_not_sent() -> None:
    node = {**MINIMAL["node"], "metadata": {"XDS_MODE": "sidecar", "GENERATOR": "grpc", "NAMESPACE": "ns"}}
    result = parsed(node=node)
    assert result.mode is Mode.SIDECAR
    assert result.node.metadata == {"NAMESPACE": "ns"}


@pytest.mark.parametrize(("wanted", "generator"), [("sidecar", {}), ("grpc", {"GENERATOR": "grpc"})])
def test_mode_of_the_environment_wins_over_that_of_a_file(wanted: str, generator: dict[str, str]) -> None:
    other = "grpc" if wanted == "sidecar" else "sidecar"
    text = json.dumps({**MINIMAL, "node": {**MINIMAL["node"], "metadata": {"XDS_MODE": other}}})
    result = Bootstrap.from_env({"GRPC_XDS_BOOTSTRAP_CONFIG": text, "XDS_MODE": wanted})
    assert result.mode is Mode(wanted)
    assert result.node.metadata == generator


def test_unknown_mode_is_named() -> None:
    with pytest.raises(ConfigError, match="XDS_MODE: 'envoy' is not a mode"):
        Bootstrap.from_env({**POD, "XDS_MODE": "envoy"})
    with pytest.raises(ConfigError, match="metadata: XDS_MODE: 3 is not a mode"):
        parsed(node={**MINIMAL["node"], "metadata": {"XDS_MODE": 3}})
