"""Bootstrap: every source, every field, and every mistake with its own clear error."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Locality, Mode, Node, Server, parse_labels
from pyrpc_xds.errors import ConfigError

POD = {"POD_NAME": "p", "POD_NAMESPACE": "ns", "INSTANCE_IP": "10.0.0.1"}
MINIMAL: dict[str, Any] = {
    "xds_servers": [{"server_uri": "istiod:15010", "channel_creds": [{"type": "insecure"}]}],
    "node": {"id": "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"},
}


def parsed(**changes: Any) -> Bootstrap:
    return Bootstrap.from_json(json.dumps({**MINIMAL, **changes}))


def server(**changes: Any) -> Server:
    return parsed(xds_servers=[{**MINIMAL["xds_servers"][0], **changes}]).servers[0]


# ---- pod variables


def test_pod_variables_make_istios_node() -> None:
    result = Bootstrap.from_env(POD)
    assert result.servers == (Server("istiod.istio-system.svc:15010"),)
    assert result.node == Node(
        "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local",
        metadata={
            "GENERATOR": "grpc",
            "NAMESPACE": "ns",
            "CLUSTER_ID": "Kubernetes",
            "LABELS": {},
            "INSTANCE_IPS": "10.0.0.1",
        },
    )
    assert result.server_listener_resource_name_template == "xds.istio.io/grpc/lds/inbound/%s"
    assert "environment" in result.source


def test_every_pod_variable_is_used(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.write_text('app="from-file"\nversion="v1"\n')
    result = Bootstrap.from_env(
        {
            **POD,
            "ISTIOD_ADDR": "10.9.9.9:1",
            "INSTANCE_IP": "fd00::1",
            "CLUSTER_ID": "east",
            "ISTIO_VERSION": "1.31.0",
            "SERVICE_ACCOUNT": "sa",
            "POD_LABELS_FILE": str(labels),
            "POD_LABELS": "app=from-env,team=a",
        },
        labels={"team": "from-code"},
    )
    assert result.servers[0].uri == "10.9.9.9:1"
    assert result.node.id == "sidecar~fd00::1~p.ns~ns.svc.cluster.local"
    assert result.node.metadata == {
        "GENERATOR": "grpc",
        "NAMESPACE": "ns",
        "CLUSTER_ID": "east",
        "ISTIO_VERSION": "1.31.0",
        "SERVICE_ACCOUNT": "sa",
        "INSTANCE_IPS": "fd00::1",
        "LABELS": {"app": "from-env", "version": "v1", "team": "from-code"},
    }


def test_unix_socket_is_an_istiod_address() -> None:
    assert Bootstrap.from_env({**POD, "ISTIOD_ADDR": "unix:/run/xds"}).servers[0].uri == "unix:/run/xds"


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"POD_NAME": ""}, "environment", "POD_NAME not set"),
        ({"POD_NAME": "", "INSTANCE_IP": ""}, "environment", "POD_NAME, INSTANCE_IP not set"),
        ({"INSTANCE_IP": "10.0.0"}, "INSTANCE_IP", "'10.0.0' is not an IP address"),
        ({"INSTANCE_IP": "localhost"}, "INSTANCE_IP", "'localhost' is not an IP address"),
        ({"POD_NAME": "a~b"}, "POD_NAME", "cannot be part of a node id"),
        ({"POD_NAMESPACE": "a\nb"}, "POD_NAMESPACE", "cannot be part of a node id"),
        ({"ISTIOD_ADDR": "istiod"}, "ISTIOD_ADDR", "'istiod' is not host:port"),
        ({"ISTIOD_ADDR": "http://istiod:15010"}, "ISTIOD_ADDR", "(1 to 65535), without a scheme"),
        ({"ISTIOD_ADDR": ":15010"}, "ISTIOD_ADDR", "is not host:port"),
        ({"ISTIOD_ADDR": "istiod:x"}, "ISTIOD_ADDR", "is not host:port"),
        ({"POD_LABELS": "novalue"}, "POD_LABELS", "'novalue' is not key=value"),
        ({"POD_LABELS": "=v"}, "POD_LABELS", "'=v' is not key=value"),
        ({"POD_LABELS": "{"}, "POD_LABELS", "not JSON"),
        ({"POD_LABELS": '{"a": 1}'}, "POD_LABELS", "label values must be strings"),
        ({"POD_LABELS": 'a="x'}, "POD_LABELS", "the quotes do not match"),
        ({"POD_LABELS_FILE": "/nonexistent/labels"}, "POD_LABELS_FILE", "cannot read '/nonexistent/labels'"),
    ],
)
def test_wrong_pod_variable_is_named(changes: dict[str, str], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bootstrap.from_env({**POD, **changes})
    assert caught.value.where.startswith(where)
    assert what in caught.value.what


@pytest.mark.parametrize("scheme", ["", "xds://"])
@pytest.mark.parametrize(
    "address",
    ["joe:s3cret@istiod:15010", "joe:s3cret@istiod", "s3cret@istiod:15010", "istiod:15010?token=s3cret"],
)
def test_error_of_istiods_address_quotes_no_credentials(scheme: str, address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bootstrap.from_env({**POD, "ISTIOD_ADDR": scheme + address})
    assert caught.value.where == "ISTIOD_ADDR"
    assert "s3cret" not in str(caught.value)


def test_empty_environment_says_what_could_be_set() -> None:
    with pytest.raises(ConfigError) as caught:
        Bootstrap.from_env({})
    for name in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "GRPC_XDS_BOOTSTRAP"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", {}),
        ("  \n ", {}),
        ('{"a": "b", "c": ""}', {"a": "b", "c": ""}),
        ('a="b"\nc="d e"\n', {"a": "b", "c": "d e"}),
        ('a="b"', {"a": "b"}),
        ('a="x,y=z"', {"a": "x,y=z"}),
        ('a="quote \\" and \\u00e9"', {"a": 'quote " and é'}),
        ("a=b,c=d", {"a": "b", "c": "d"}),
        ("a=b, c=d,", {"a": "b", "c": "d"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_label_forms(text: str, labels: dict[str, str]) -> None:
    assert parse_labels(text) == labels


# ---- precedence


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


# ---- JSON


def test_bootstrap_of_istios_agent() -> None:
    text = """{
      "xds_servers": [{"server_uri": "unix:///etc/istio/proxy/XDS",
        "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
      "node": {"id": "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local",
        "metadata": {"GENERATOR": "grpc", "NAMESPACE": "ns"},
        "locality": {"region": "r", "zone": "z", "sub_zone": "s"}, "cluster": "app.ns"},
      "certificate_providers": {"default":
        {"plugin_name": "file_watcher", "config": {"refresh_interval": "900s"}}},
      "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
    }"""
    result = Bootstrap.from_json(text)
    assert result.servers == (Server("unix:///etc/istio/proxy/XDS", features=frozenset({"xds_v3"})),)
    assert result.node.cluster == "app.ns"
    assert result.node.locality == Locality("r", "z", "s")
    assert result.certificate_providers["default"]["plugin_name"] == "file_watcher"
    assert result.server_listener_resource_name_template == "xds.istio.io/grpc/lds/inbound/%s"


def test_several_servers_keep_their_order() -> None:
    servers = [{**MINIMAL["xds_servers"][0], "server_uri": uri} for uri in ("a:1", "b:2")]
    assert [entry.uri for entry in parsed(xds_servers=servers).servers] == ["a:1", "b:2"]


def test_unknown_keys_are_ignored_and_null_is_as_good_as_absent() -> None:
    assert parsed(authorities={}, future=1, certificate_providers=None).certificate_providers == {}


@pytest.mark.parametrize(
    ("features", "drop", "transient"),
    [
        ([], False, False),
        (["fail_on_data_errors"], True, False),
        (["resource_timer_is_transient_error"], False, True),
        (["resource_timer_is_transient_failure"], False, True),
        (["ignore_resource_deletion", "xds_v3"], False, False),
    ],
)
def test_server_features(features: list[str], drop: bool, transient: bool) -> None:
    entry = server(server_features=features)
    assert (entry.fail_on_data_errors, entry.resource_timer_is_transient_error) == (drop, transient)


@pytest.mark.parametrize(
    ("creds", "expected"),
    [
        ([{"type": "insecure"}], ChannelCredentials()),
        ([{"type": "tls"}], ChannelCredentials("tls")),
        ([{"type": "google_default"}, {"type": "insecure"}], ChannelCredentials()),
        ([{"type": "tls"}, {"type": "insecure"}], ChannelCredentials("tls")),
        (
            [
                {
                    "type": "tls",
                    "config": {
                        "ca_certificate_file": "/ca",
                        "certificate_file": "/c",
                        "private_key_file": "/k",
                        "refresh_interval": "600s",
                    },
                }
            ],
            ChannelCredentials("tls", "/ca", "/c", "/k"),
        ),
    ],
)
def test_first_channel_credentials_that_are_understood_are_used(
    creds: list[Any], expected: ChannelCredentials
) -> None:
    assert server(channel_creds=creds).credentials == expected


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('{"a": \n x}', "bootstrap, line 2, column 2", "not JSON"),
        ("", "bootstrap, line 1, column 1", "not JSON"),
        ("[" * 100_000, "bootstrap", "nested too deeply"),
        ("[]", "bootstrap", "must be a JSON object, not an array"),
        ("null", "bootstrap", "must be a JSON object, not null"),
        ("{}", "bootstrap", "xds_servers is missing or empty"),
    ],
)
def test_text_that_is_no_bootstrap_says_where(text: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bootstrap.from_json(text)
    assert caught.value.where == where
    assert what in caught.value.what


def with_server(**changes: Any) -> dict[str, Any]:
    return {"xds_servers": [{**MINIMAL["xds_servers"][0], **changes}]}


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"xds_servers": []}, "bootstrap", "missing or empty"),
        ({"xds_servers": {}}, "bootstrap: xds_servers", "must be an array, not an object"),
        ({"xds_servers": ["x"]}, "bootstrap: xds_servers[0]", "must be a JSON object, not a string"),
        (with_server(server_uri=""), "bootstrap: xds_servers[0]", "server_uri is missing"),
        (
            with_server(server_uri=5),
            "bootstrap: xds_servers[0]: server_uri",
            "must be a string, not a number",
        ),
        (with_server(server_uri="xds:///x"), "bootstrap: xds_servers[0]", "looked up in xDS itself"),
        (with_server(server_features=[1]), "bootstrap: xds_servers[0]: server_features", "must be strings"),
        (with_server(channel_creds=[]), "bootstrap: xds_servers[0]: channel_creds", "missing or empty"),
        (
            with_server(channel_creds=[{"type": "google_default"}, {"type": "x"}]),
            "bootstrap: xds_servers[0]: channel_creds",
            "none of 'google_default', 'x' is supported",
        ),
        (with_server(channel_creds=[{}]), "bootstrap: xds_servers[0]: channel_creds", "(no type)"),
        (
            with_server(channel_creds=[{"type": "tls", "config": {"certificate_file": "/c"}}]),
            "bootstrap: xds_servers[0]: channel_creds[0]: config",
            "need each other",
        ),
        ({"node": []}, "bootstrap: node", "must be an object, not an array"),
        ({"node": {"id": True}}, "bootstrap: node: id", "must be a string, not a boolean"),
        ({"node": {"metadata": []}}, "bootstrap: node: metadata", "must be an object"),
        ({"node": {"locality": {"zone": 1}}}, "bootstrap: node: locality: zone", "must be a string"),
        ({"certificate_providers": 1}, "bootstrap: certificate_providers", "must be an object, not a number"),
        ({"server_listener_resource_name_template": {}}, "bootstrap: server_listener", "must be a string"),
    ],
)
def test_wrong_field_is_named_with_its_place(changes: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)
    assert caught.value.where.startswith(where)
    assert what in caught.value.what


def test_node_id_of_another_form_is_allowed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert parsed(node={"id": "me"}).node.id == "me"
        assert "'me' is not in Istio's form" in caplog.text
        caplog.clear()
        parsed()
        assert caplog.text == ""


# ---- mode


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


# ---- workload


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"WORKLOAD_NAME": "w", "LABELS": {"app": "a"}}, "w"),
        (
            {"LABELS": {"app": "a", "app.kubernetes.io/name": "n", "service.istio.io/canonical-name": "c"}},
            "c",
        ),
        ({"LABELS": {"app": "a", "app.kubernetes.io/name": "n"}}, "n"),
        ({"LABELS": {"app": "a"}}, "a"),
        ({"LABELS": {}}, "reviews-v1-5f"),
        ({"LABELS": "not an object"}, "reviews-v1-5f"),
    ],
)
def test_workload_is_named_by_metadata_then_labels_then_the_pod(metadata: dict[str, Any], name: str) -> None:
    assert Node("sidecar~10.0.0.1~reviews-v1-5f.ns~ns.svc.cluster.local", metadata=metadata).workload == name


def test_workload_of_a_node_that_says_nothing_has_no_name() -> None:
    assert Node("anything").workload == ""
