"""Dubbo's YAML to a DubboConfig: the tutorial's files, inheritance, what is refused and how it is said."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pyrpc_xds.dubbo.config import DubboConfig
from pyrpc_xds.dubbo.sections import sections
from pyrpc_xds.errors import ConfigError

SERVER = """
registries:
  xds: {protocol: xds, address: "istiod.istio-system.svc.cluster.local:15010"}
protocols:
  triple: {name: tri, port: 20000}
provider:
  services:
    GreeterServerImpl:
      interface: "" # read from stub
"""
CLIENT = """
registries:
  xds: {protocol: xds, address: "istiod.istio-system.svc.cluster.local:15010"}
consumer:
  references:
    GreeterClientImpl: {protocol: tri, interface: org.apache.dubbo.sample.Greeter}
"""


def config(text: str) -> DubboConfig:
    return sections(yaml.safe_load(text), "conf/dubbogo.yaml")


def with_keys(text: str, **keys: Any) -> DubboConfig:
    """``text`` with more keys: ``consumer__check=True`` is ``consumer.check``; R is the reference, S the service."""
    short = {
        "R": ["consumer", "references", "GreeterClientImpl"],
        "S": ["provider", "services", "GreeterServerImpl"],
    }
    tree = yaml.safe_load(text)
    for key, value in keys.items():
        first, *rest = key.split("__")
        *parents, last = [*short.get(first, [first]), *rest]
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return sections(tree, "conf/dubbogo.yaml")


def error_of(text: str, **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        with_keys(text, **keys)
    return str(caught.value)


def paths(found: DubboConfig, level: str) -> list[str]:
    return [each.path for each in found.not_applied if each.level == level]


def test_tutorials_server_is_read_word_for_word() -> None:
    found = config(SERVER)
    service = found.services["GreeterServerImpl"]
    assert (service.interface, service.protocols, service.registry) == ("", ("triple",), "xds")
    protocol = found.protocols["triple"]
    assert (protocol.kind, protocol.address) == ("tri", "0.0.0.0:20000")
    assert found.registries["xds"].address == "istiod.istio-system.svc.cluster.local:15010"
    assert found.not_applied == ()


def test_tutorials_client_is_read_word_for_word() -> None:
    reference = config(CLIENT).references["GreeterClientImpl"]
    assert (reference.interface, reference.registry, reference.port) == (
        "org.apache.dubbo.sample.Greeter",
        "xds",
        80,
    )
    assert (reference.timeout, reference.check, reference.group, reference.version) == (None, None, "", "")


def test_reference_takes_from_consumer_and_application_what_it_leaves_out() -> None:
    found = with_keys(
        CLIENT,
        application={"name": "shop", "version": "1.0.0", "group": "blue"},
        consumer__timeout=2500,
        consumer__check=True,
        consumer__references__Other={
            "interface": "p.Other",
            "version": "2.0.0",
            "timeout": "1.5s",
            "check": False,
        },
    )
    one, two = found.references["GreeterClientImpl"], found.references["Other"]
    assert (one.version, one.group, one.timeout, one.check) == ("1.0.0", "blue", 2.5, True)
    assert (two.version, two.group, two.timeout, two.check) == ("2.0.0", "blue", 1.5, False)
    assert found.application == "shop"


@pytest.mark.parametrize(
    ("written", "seconds"), [("3s", 3.0), ("500ms", 0.5), (3000, 3.0), ("3000", 3.0), ("1m30s", 90.0)]
)
def test_timeout_is_gos_duration_or_javas_milliseconds(written: object, seconds: float) -> None:
    assert with_keys(CLIENT, R__timeout=written).references["GreeterClientImpl"].timeout == seconds


@pytest.mark.parametrize("written", ["soon", "3 s", True, 0, "0s", -5])
def test_timeout_that_is_none_is_an_error(written: object) -> None:
    text = error_of(CLIENT, R__timeout=written)
    assert "conf/dubbogo.yaml: dubbo.consumer.references.GreeterClientImpl.timeout is" in text


def test_methods_have_timeouts_of_their_own() -> None:
    found = with_keys(
        CLIENT, R__methods=[{"name": "SayHello", "timeout": "200ms"}, {"name": "Bye", "retries": 1}]
    )
    assert found.references["GreeterClientImpl"].method_timeouts == {"SayHello": 0.2}
    assert paths(found, "warning") == ["dubbo.consumer.references.GreeterClientImpl.methods[1].retries"]


@pytest.mark.parametrize("key", ["provided_by", "provided-by", "providedBy"])
def test_keys_are_known_in_the_spellings_of_both_dubbos(key: str) -> None:
    assert with_keys(CLIENT, **{f"R__{key}": "app"}).references["GreeterClientImpl"].provided_by == "app"


def test_key_in_two_spellings_is_an_error() -> None:
    text = error_of(CLIENT, R__provided_by="a", R__providedBy="b")
    assert "GreeterClientImpl.provided_by is given twice, as provided_by and providedBy" in text


def test_unknown_key_is_an_error_that_says_what_was_meant() -> None:
    text = error_of(CLIENT, R__verison="1.0.0")
    assert text == (
        "conf/dubbogo.yaml: dubbo.consumer.references.GreeterClientImpl.verison is not a field that is known here. "
        "Did you mean version?"
    )


def test_a_key_like_no_other_is_an_error_that_names_the_nearest_few() -> None:
    text = error_of(CLIENT, R__zzz=1)
    assert ".zzz is not a field that is known here. The nearest of the " in text
    assert text.count(",") == 4


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("registeries", "registries"),
        ("protocls", "protocols"),
        ("provder", "provider"),
        ("aplication", "application"),
    ],
)
def test_unknown_section_is_an_error_that_says_what_was_meant(section: str, meant: str) -> None:
    assert f"dubbo.{section} is not a field that is known here. Did you mean {meant}?" in error_of(
        CLIENT, **{section: {}}
    )


@pytest.mark.parametrize("key", ["retries", "cluster", "loadbalance", "filter", "serialization", "sticky"])
def test_key_without_effect_is_named_with_its_path(key: str) -> None:
    assert paths(with_keys(CLIENT, **{f"R__{key}": "x"}), "warning") == [
        f"dubbo.consumer.references.GreeterClientImpl.{key}"
    ]


def test_what_only_describes_is_a_note() -> None:
    found = with_keys(
        CLIENT, logger={"level": "info"}, application={"name": "a", "owner": "me"}, metrics={"port": 1}
    )
    assert sorted(paths(found, "note")) == ["dubbo.application.owner", "dubbo.logger", "dubbo.metrics"]
    assert not paths(found, "warning")


@pytest.mark.parametrize("key", ["token", "auth", "param.sign"])
def test_key_that_protects_a_service_is_refused_and_not_dropped(key: str) -> None:
    assert f"GreeterServerImpl.{key} protects the service" in error_of(SERVER, **{f"S__{key}": "secret"})
    assert f"provider.{key} protects the service" in error_of(SERVER, **{f"provider__{key}": "secret"})
    assert "secret" not in error_of(SERVER, **{f"S__{key}": "secret"})
    assert with_keys(SERVER, **{f"S__{key}": ""}).not_applied == ()


def test_tls_is_refused_and_not_dropped() -> None:
    assert "dubbo.tls_config protects" in error_of(SERVER, tls_config={"tls-cert-file": "x"})
    assert "dubbo.protocols.triple.ssl-enabled protects" in error_of(
        SERVER, protocols={"triple": {"name": "tri", "ssl-enabled": True}}
    )


@pytest.mark.parametrize(
    ("port", "bound"), [(20000, 20000), ("20000", 20000), (0, 0), (-1, 0), (None, 50051)]
)
def test_port_is_a_number_in_any_spelling(port: object, bound: int) -> None:
    assert (
        with_keys(SERVER, protocols={"triple": {"name": "tri", "port": port}}).protocols["triple"].port
        == bound
    )


@pytest.mark.parametrize("port", [65536, 200000, -2, "http", 1.5])
def test_port_out_of_range_is_an_error(port: object) -> None:
    text = error_of(SERVER, protocols={"triple": {"name": "tri", "port": port}})
    assert text.startswith("conf/dubbogo.yaml: dubbo.protocols.triple.port is ")


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [("4mib", 4 << 20), ("1mb", 1_000_000), ("512kib", 512 << 10), (2048, 2048), ("2048", 2048)],
)
def test_message_limits_become_channel_options(size: object, bytes_: int) -> None:
    found = with_keys(SERVER, protocols={"triple": {"name": "tri", "max-server-recv-msg-size": size}})
    assert found.protocols["triple"].options == (("grpc.max_receive_message_length", bytes_),)
    nested = with_keys(
        SERVER, protocols={"triple": {"name": "tri", "triple": {"max-server-recv-msg-size": size}}}
    )
    assert nested.protocols["triple"].options == found.protocols["triple"].options


@pytest.mark.parametrize("size", ["big", "4 parsecs", "3gib", True])
def test_message_limit_that_is_none_is_an_error(size: object) -> None:
    text = error_of(SERVER, protocols={"triple": {"name": "tri", "max-server-recv-msg-size": size}})
    assert "dubbo.protocols.triple.max-server-recv-msg-size is" in text


def test_unknown_protocol_is_an_error_and_one_that_is_not_spoken_another() -> None:
    assert "triple.name is 'tripel', which is no protocol of Dubbo's" in error_of(
        SERVER, protocols={"triple": {"name": "tripel"}}
    )
    assert "GreeterServerImpl.protocol-ids is 'dubbo', which is not spoken here. Write tri" in error_of(
        SERVER, protocols={"triple": {"name": "dubbo"}}
    )
    assert "GreeterClientImpl.protocol is 'dubbo', which is not spoken here" in error_of(
        CLIENT, R__protocol="dubbo"
    )


def test_protocol_that_no_service_uses_may_be_any() -> None:
    found = with_keys(SERVER, protocols__old={"name": "dubbo", "port": 20880}, S__protocol_ids=["triple"])
    assert found.services["GreeterServerImpl"].protocols == ("triple",)


def test_protocols_on_one_port_are_an_error() -> None:
    text = error_of(SERVER, protocols__second={"name": "tri", "port": 20000})
    assert "dubbo.protocols.second.port is 20000, as is that of triple" in text


@pytest.mark.parametrize("where", ["S__protocol_ids", "provider__protocol_ids"])
def test_protocol_id_that_names_none_is_an_error(where: str) -> None:
    assert "names 'grpc', which is not under dubbo.protocols. There is triple" in error_of(
        SERVER, **{where: ["grpc"]}
    )


def test_two_services_of_one_interface_group_and_version_are_an_error() -> None:
    one = {"interface": "p.S", "version": "1"}
    text = error_of(SERVER, provider={"services": {"A": one, "B": dict(one)}})
    assert text == (
        "conf/dubbogo.yaml: dubbo.provider.services.B and dubbo.provider.services.A are both p.S with group none, "
        "version 1. Give each a group or version of its own"
    )
    two = with_keys(SERVER, provider={"services": {"A": one, "B": {**one, "version": "2"}}})
    assert len(two.services) == 2


def test_group_that_is_a_pattern_is_an_error() -> None:
    assert "GreeterClientImpl.group is '*': a call selects one, by equality" in error_of(CLIENT, R__group="*")


def test_version_that_yaml_takes_for_a_number_is_an_error() -> None:
    assert "GreeterClientImpl.version is 1.0, not a string. Put it in quotes." in error_of(
        CLIENT, R__version=1.0
    )


def test_registry_is_chosen_by_its_id() -> None:
    more = {"registries__second": {"protocol": "xds", "address": "other:15010"}}
    assert (
        with_keys(CLIENT, R__registry_ids=["second"], **more).references["GreeterClientImpl"].registry
        == "second"
    )
    assert (
        with_keys(CLIENT, consumer__registry_ids="second", **more).references["GreeterClientImpl"].registry
        == "second"
    )
    assert (
        with_keys(CLIENT, R__registry="second", **more).references["GreeterClientImpl"].registry == "second"
    )
    assert (
        "GreeterClientImpl.registry-ids leaves 2 registries: xds, second. Name one of them here"
        in error_of(CLIENT, **more)
    )


def test_registry_id_that_names_none_is_an_error() -> None:
    assert "registry_ids names 'nacos', which is not under dubbo.registries. There is xds" in error_of(
        CLIENT, R__registry_ids=["nacos"]
    )


def test_registry_that_is_not_spoken_is_an_error_where_it_is_followed_and_named_where_not() -> None:
    nacos = {"protocol": "nacos", "address": "127.0.0.1:8848"}
    assert "leaves no registry that is spoken here: nacos is nacos" in error_of(
        CLIENT, registries={"nacos": nacos}
    )
    assert paths(with_keys(CLIENT, registries__nacos=nacos), "warning") == ["dubbo.registries.nacos"]
    assert "dubbo.registries.z.protocol is 'zoo', which is no registry of Dubbo's" in error_of(
        CLIENT, registries__z={"protocol": "zoo", "address": "x"}
    )


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("xds://istiod:15010", "istiod:15010"),
        ("istiod", "istiod:15010"),
        ("[::1]", "[::1]:15010"),
        ("a:1/", "a:1"),
    ],
)
def test_registry_address_in_the_spellings_of_both_dubbos(address: str, read: str) -> None:
    found = config(
        f"registry: {{protocol: xds, address: '{address}'}}\nservices: {{GreeterServerImpl: {{}}}}"
    )
    assert found.registries["default"].address == read
    assert found.services["GreeterServerImpl"].registry == "default"


@pytest.mark.parametrize(
    "address", ["istiod:0", "istiod:15010?timeout=3", "", "a b:15010", "::1", "istiod:port"]
)
def test_registry_address_that_is_none_is_an_error(address: str) -> None:
    text = error_of(CLIENT, registries={"xds": {"protocol": "xds", "address": address}})
    assert text.startswith("conf/dubbogo.yaml: dubbo.registries.xds.address ")


@pytest.mark.parametrize("scheme", ["", "xds://"])
@pytest.mark.parametrize(
    "address",
    [
        "joe:s3cret@istiod:15010",
        "joe:s3cret@istiod",
        "joe:s3cret@::1",
        "joe@istiod:15010?token=s3cret",
        "istiod:15010?token=s3cret",
        "istiod?token=s3cret",
        "istiod:15010&token=s3cret",
        "istiod:15010/#s3cret",
        "s3cret@",
    ],
)
def test_error_of_a_registry_address_quotes_no_credentials(scheme: str, address: str) -> None:
    text = error_of(CLIENT, registries={"xds": {"protocol": "xds", "address": scheme + address}})
    assert text.startswith("conf/dubbogo.yaml: dubbo.registries.xds.address has ")
    assert "s3cret" not in text
    assert "joe" not in text


def test_address_of_a_registry_that_is_not_spoken_is_kept_without_credentials() -> None:
    nacos = {"address": "nacos://joe:s3cret@10.0.0.1:8848?token=s3cret"}
    assert with_keys(CLIENT, registries__nacos=nacos).registries["nacos"].address == "10.0.0.1:8848"


def test_istiods_tls_port_is_warned_of() -> None:
    found = with_keys(CLIENT, registries={"xds": {"protocol": "xds", "address": "istiod:15012"}})
    assert paths(found, "warning") == ["dubbo.registries.xds.address"]


def test_dubbo_javas_spelling_of_a_provider() -> None:
    found = config(
        "application: {name: shop, qosEnable: false}\n"
        "registry: {address: 'xds://istiod.istio-system.svc:15010'}\n"
        "protocol: {name: tri, port: 50052}\n"
        "consumer: {timeout: 1000, meshEnable: true}\n"
        "references: {greeter: {interface: p.Greeter, providedBy: app, providerPort: 50052, providerNamespace: ns}}\n"
    )
    reference = found.references["greeter"]
    assert (reference.provided_by, reference.port, reference.namespace) == ("app", 50052, "ns")
    assert (reference.timeout, reference.registry) == (1.0, "default")
    assert found.protocols["default"].port == 50052


@pytest.mark.parametrize(
    "section", ["application", "registries", "protocols", "consumer", "provider", "shutdown"]
)
def test_section_that_is_no_mapping_is_an_error(section: str) -> None:
    assert f"dubbo.{section}" in error_of(CLIENT, **{section: "text"})
    assert f"dubbo.{section}" in error_of(CLIENT, **{section: ["text"]})


@pytest.mark.parametrize("entry", ["R", "S", "registries__xds", "protocols__triple"])
def test_entry_that_is_no_mapping_is_an_error(entry: str) -> None:
    text = error_of(CLIENT if entry == "R" else SERVER, **{entry: 5})
    assert "not a mapping" in text and "dubbo." in text


def test_file_that_calls_and_serves_nothing_is_an_error() -> None:
    assert "dubbo names nothing to call and nothing to serve" in error_of("application: {name: x}")


def test_shutdown_timeouts_are_the_servers_grace_and_drain() -> None:
    said = with_keys(SERVER, shutdown={"timeout": "10s", "consumer-update-wait-time": "3s"})
    assert (said.grace, said.drain) == (10.0, 3.0)
    assert not said.not_applied
    assert with_keys(SERVER, shutdown={"consumer-update-wait-time": "0s"}).drain == 0.0
    assert (config(SERVER).grace, config(SERVER).drain) == (None, None)


def test_wait_for_discovery_is_the_wait_for_the_first_configuration() -> None:
    found = with_keys(CLIENT, consumer={"max-wait-time-for-service-discovery": "7s", "references": {"A": {}}})
    assert found.ready_timeout == 7.0
