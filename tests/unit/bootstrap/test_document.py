"""gRPC's bootstrap JSON: every field, and every mistake with its place."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Locality, Server
from pyrpc_xds.errors import ConfigError
from tests.unit.bootstrap.minimal import MINIMAL, parsed, server


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
