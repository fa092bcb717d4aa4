"""The form of Thrift messages in clusters and endpoints: Envoy's ThriftProtocolOptions, and metadata of ours."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import thrift_proxy_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2
from hypothesis import given
from hypothesis import strategies as st

from pyrpc_xds.model.cluster import Cluster
from pyrpc_xds.model.thrift_form import FRAMINGS, NOT_SAID, PROTOCOLS, ThriftForm, ThriftForms
from pyrpc_xds.transports.thrift import wire
from pyrpc_xds.xds.decode.cluster import decode_cluster, decode_sidecar_cluster
from pyrpc_xds.xds.decode.endpoint import (
    FollowingAssignments,
    decode_cluster_load_assignment,
    decode_sidecar_assignment,
)
from tests.unit.xds.build import assignment, cluster, lb_endpoint, locality

KEY = "pyrpc_xds.thrift"
OPTIONS_KEY = "envoy.filters.network.thrift_proxy"


def options(transport: str = "AUTO_TRANSPORT", protocol: str = "AUTO_PROTOCOL") -> Any:
    packed = any_pb2.Any()
    packed.Pack(thrift_proxy_pb2.ThriftProtocolOptions(transport=transport, protocol=protocol))
    return packed


def saying(message: Any, **fields: Any) -> Any:
    """The cluster or the endpoint with this metadata."""
    message.metadata.filter_metadata[KEY].update(fields)
    return message


def decoded(message: Any) -> Cluster:
    return decode_cluster(message.SerializeToString())


def with_options(packed: Any, key: str = OPTIONS_KEY) -> Any:
    message = cluster("c")
    message.typed_extension_protocol_options[key].CopyFrom(packed)
    return message


def test_every_name_of_a_form_is_one_that_the_client_takes() -> None:
    assert set(FRAMINGS) == set(wire.FRAMINGS) and set(PROTOCOLS) == set(wire.PROTOCOLS)


def test_cluster_that_says_nothing_leaves_the_form_open() -> None:
    assert decoded(cluster("c")).thrift_form == NOT_SAID == ThriftForm("", "")


@pytest.mark.parametrize(
    ("transport", "framing"),
    [("AUTO_TRANSPORT", ""), ("FRAMED", "framed"), ("UNFRAMED", "buffered"), ("HEADER", "theader")],
)
@pytest.mark.parametrize(
    ("protocol", "name"),
    [("AUTO_PROTOCOL", ""), ("BINARY", "binary"), ("LAX_BINARY", "lax-binary"), ("COMPACT", "compact")],
)
def test_envoys_options_of_a_cluster_say_the_form(
    transport: str, framing: str, protocol: str, name: str
) -> None:
    found = decoded(with_options(options(transport, protocol)))
    assert found.thrift_form == (framing, name)
    assert found.notes == ()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metadata_of_a_cluster_says_the_form(framing: str, protocol: str) -> None:
    found = decoded(saying(cluster("c"), framing=framing, protocol=protocol))
    assert found.thrift_form == (framing, protocol)
    assert found.notes == ()


def test_metadata_goes_before_envoys_options_field_by_field() -> None:
    message = saying(with_options(options("FRAMED", "COMPACT")), framing="ttheader")
    assert decoded(message).thrift_form == ("ttheader", "compact")


def test_protocol_that_is_not_supported_is_noted_and_the_rest_is_learned() -> None:
    found = decoded(with_options(options("FRAMED", "TWITTER")))
    assert found.thrift_form == ("framed", "")
    assert found.notes == (
        f"typed_extension_protocol_options {OPTIONS_KEY}: protocol TWITTER is not supported; it is ignored",
    )


def test_values_that_envoy_may_have_one_day_are_noted() -> None:
    packed = any_pb2.Any(type_url=options().type_url, value=b"\x08\x63\x10\x63")
    found = decoded(with_options(packed))
    assert found.thrift_form == NOT_SAID
    assert [note.partition(": ")[2] for note in found.notes] == [
        "transport 99 is not supported; it is ignored",
        "protocol 99 is not supported; it is ignored",
    ]


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (any_pb2.Any(type_url=options().type_url, value=b"\xff"), "not a envoy"),
        (
            any_pb2.Any(type_url="type.googleapis.com/xds.type.v3.TypedStruct"),
            "TypedStruct is not understood",
        ),
        (any_pb2.Any(), "an untyped message is not understood"),
    ],
)
def test_options_that_cannot_be_read_are_noted_and_cost_nothing_else(packed: Any, text: str) -> None:
    found = decoded(with_options(packed))
    assert found.thrift_form == NOT_SAID
    (note,) = found.notes
    assert text in note and note.endswith("it is ignored")


def test_options_of_other_protocols_are_not_looked_at() -> None:
    packed = any_pb2.Any()
    packed.Pack(http_protocol_options_pb2.HttpProtocolOptions())
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    found = decoded(with_options(packed, key))
    assert (found.thrift_form, found.notes) == (NOT_SAID, ())


@pytest.mark.parametrize(
    ("fields", "form", "text"),
    [
        (
            {"framing": "mesh", "protocol": "compact"},
            ("", "compact"),
            "framing is 'mesh', not one of framed,",
        ),
        ({"framing": "framed", "protocol": "json"}, ("framed", ""), "protocol is 'json', not one of binary,"),
        ({"framing": 4}, ("", ""), "framing is no string, not one of"),
        ({"frame": "framed"}, ("", ""), "'frame' is not understood; it has framing and protocol"),
    ],
)
def test_metadata_that_is_not_understood_is_noted_and_left_open(
    fields: dict[str, Any], form: tuple[str, str], text: str
) -> None:
    found = decoded(saying(cluster("c"), **fields))
    assert found.thrift_form == form
    (note,) = found.notes
    assert note.startswith(f"metadata {KEY}: {text}")


def test_clusters_of_a_sidecar_say_it_alike_headless_ones_too() -> None:
    def said(message: Any) -> ThriftForm:
        return decode_sidecar_cluster(saying(message, framing="ttheader").SerializeToString()).thrift_form

    name = "outbound|9090||greeter.default.svc.cluster.local"
    headless = cluster_pb2.Cluster(name=name, type="ORIGINAL_DST")
    assert said(cluster(name)) == said(headless) == ("ttheader", "")


# -- endpoints


def test_endpoints_say_it_by_address_and_others_are_not_there() -> None:
    raw = assignment(
        "c",
        [
            locality([saying(lb_endpoint("10.0.0.1"), framing="ttheader"), lb_endpoint("10.0.0.2")]),
            locality([saying(lb_endpoint("fd00::1"), protocol="compact")], zone="y"),
            locality([saying(lb_endpoint("10.0.0.4"), framing="framed")], zone="x", weight=None),
        ],
    ).SerializeToString()
    for decode in (decode_cluster_load_assignment, decode_sidecar_assignment, FollowingAssignments()):
        assert decode(raw).thrift_forms == (
            ("10.0.0.1:80", ("ttheader", "")),
            ("[fd00::1]:80", ("", "compact")),
        )


def test_notes_of_endpoints_are_gathered() -> None:
    raw = assignment(
        "c", [locality([saying(lb_endpoint(f"10.0.0.{n}"), framing="mesh") for n in (1, 2, 3)])]
    ).SerializeToString()
    for decode in (decode_cluster_load_assignment, FollowingAssignments()):
        found = decode(raw)
        assert found.thrift_forms == ()
        (note,) = found.notes
        assert note.startswith(f"10.0.0.1:80 and 2 more: metadata {KEY}: framing is 'mesh'")


def test_metadata_of_others_that_mentions_the_key_says_nothing() -> None:
    entry = lb_endpoint("10.0.0.1")
    entry.metadata.filter_metadata["istio"].update({"workload": KEY})
    assert (
        decode_cluster_load_assignment(assignment("c", [locality([entry])]).SerializeToString()).thrift_forms
        == ()
    )


SAID = st.sampled_from([None, {"framing": "ttheader"}, {"framing": "mesh"}, {"protocol": "compact"}])
HOSTS = st.lists(st.tuples(st.integers(1, 6), SAID), max_size=6)


@given(versions=st.lists(st.lists(HOSTS, max_size=2), min_size=1, max_size=5))
def test_following_versions_say_what_each_alone_says(versions: list[Any]) -> None:
    follow = FollowingAssignments()
    for each in versions:
        localities = []
        for zone, hosts in enumerate(each):
            entries = [
                saying(lb_endpoint(f"10.0.0.{host}"), **said) if said else lb_endpoint(f"10.0.0.{host}")
                for host, said in hosts
            ]
            localities.append(locality(entries, zone=str(zone), weight=zone))
        raw = assignment("c", localities).SerializeToString()
        one, alone = follow(raw), decode_cluster_load_assignment(raw)
        assert (one, one.notes) == (alone, alone.notes)


# -- what calls look up


def test_forms_of_a_cluster_fill_what_its_endpoints_leave_open() -> None:
    forms = ThriftForms(
        ThriftForm("framed", "compact"), (("a:1", ThriftForm("ttheader")), ("b:1", ThriftForm("", "binary")))
    )
    assert forms["a:1"] == ("ttheader", "compact")
    assert forms["b:1"] == ("framed", "binary")
    assert forms["c:1"] == ("framed", "compact")
    assert "c:1" not in forms
