"""A pod's variables: what each becomes, and every mistake with its own clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrpc_xds.bootstrap import Bootstrap, Node, Server, parse_labels
from pyrpc_xds.errors import ConfigError
from tests.unit.bootstrap.minimal import POD


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
