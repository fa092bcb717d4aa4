"""Requests and responses as bytes."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from pyrpc_xds.bootstrap import Locality, Node
from pyrpc_xds.errors import ConfigError, StreamError
from pyrpc_xds.xds.decode.envelope import (
    RESOURCE_URL,
    DiscoveryRequest,
    RawResource,
    decode_response,
    encode_node,
    encode_request,
    first_string,
)


def sent(request: DiscoveryRequest) -> discovery_pb2.DiscoveryRequest:
    return discovery_pb2.DiscoveryRequest.FromString(encode_request(request, "9.9"))


def test_request_carries_type_names_version_and_nonce() -> None:
    message = sent(DiscoveryRequest("t", ("a", "b"), "3", "n7"))
    assert (message.type_url, list(message.resource_names)) == ("t", ["a", "b"])
    assert (message.version_info, message.response_nonce) == ("3", "n7")
    assert not message.HasField("node")
    assert not message.HasField("error_detail")


def test_refusal_is_an_invalid_argument_with_its_text() -> None:
    detail = sent(DiscoveryRequest("t", error="CDS 'a': bad")).error_detail
    assert (detail.code, detail.message) == (3, "CDS 'a': bad")


def test_node_carries_identity_metadata_and_locality() -> None:
    node = Node(
        "id", "cl", {"GENERATOR": "grpc", "LABELS": {"v": "1"}, "N": [1, None]}, Locality("r", "z", "s")
    )
    message = sent(DiscoveryRequest("t", node=node)).node
    assert (message.id, message.cluster) == ("id", "cl")
    assert message.metadata["LABELS"]["v"] == "1"
    assert (message.locality.region, message.locality.zone, message.locality.sub_zone) == ("r", "z", "s")
    assert (message.user_agent_name, message.user_agent_version) == ("pyrpc-xds", "9.9")


@pytest.mark.parametrize("metadata", [{"x": object()}, {"x": {"y": b"z"}}])
def test_node_metadata_that_is_no_json_is_a_config_error(metadata: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"node\.metadata"):
        encode_node(Node("id", metadata=metadata))


def test_response_is_taken_apart() -> None:
    message = discovery_pb2.DiscoveryResponse(type_url="t", version_info="v", nonce="n")
    message.resources.add(type_url="t", value=b"one")
    response = decode_response(message.SerializeToString())
    assert (response.type_url, response.version, response.nonce) == ("t", "v", "n")
    assert response.resources == (RawResource("t", b"one"),)


def test_resource_wrapper_is_taken_off() -> None:
    wrapper = discovery_pb2.Resource(name="x", resource=AnyMessage(type_url="t", value=b"one"))
    message = discovery_pb2.DiscoveryResponse(type_url="t")
    message.resources.add().Pack(wrapper)
    assert decode_response(message.SerializeToString()).resources == (RawResource("t", b"one", "x"),)


def test_broken_wrapper_stays_a_resource_of_the_wrong_type() -> None:
    message = discovery_pb2.DiscoveryResponse(type_url="t")
    message.resources.add(type_url=RESOURCE_URL, value=b"\xff")
    assert decode_response(message.SerializeToString()).resources == (RawResource(RESOURCE_URL, b"\xff"),)


def test_bytes_that_are_no_response_are_a_stream_error() -> None:
    with pytest.raises(StreamError, match="no DiscoveryResponse"):
        decode_response(b"\xff\xff")


@pytest.mark.parametrize("length", [1, 127, 128, 300, 20_000])
def test_name_of_an_encoded_resource_is_read_without_the_rest(length: int) -> None:
    name = "ü" * (length // 2) + "x" * (length % 2)
    message = cluster_pb2.Cluster(name=name, alt_stat_name="y")
    assert first_string(message.SerializeToString()) == name


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x0a", b"\x0a\x00", b"\x0a\x05abc", b"\x12\x01x", b"\x0a\x01\xff", b"\x0a" + b"\xff" * 9],
)
def test_resource_that_does_not_begin_with_a_name_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        first_string(raw)
