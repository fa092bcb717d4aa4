"""The one message that is encoded by hand is what the library would have made of it."""

from __future__ import annotations

import pytest
from envoy.config.endpoint.v3 import endpoint_components_pb2
from google.protobuf import json_format

from pyrpc_xds.controlplane.endpoints import encode_endpoint
from pyrpc_xds.controlplane.mesh_endpoints import Health, MeshEndpoint

ENDPOINTS = {
    "plain": MeshEndpoint("127.0.0.1", 80, "http"),
    "everything": MeshEndpoint(
        "10.255.255.255",
        65535,
        "grpc",
        labels=(("app", "ä"), ("version", "v1")),
        weight=2**32 - 1,
        workload="w" * 300,
        namespace="shop",
        health=Health.UNHEALTHY,
    ),
    "version 6": MeshEndpoint("fd00::1", 1, "http", health=Health.HEALTHY),
    "unix": MeshEndpoint("/var/run/s.sock", 0, "http"),
}


@pytest.mark.parametrize("mutual_tls", [False, True])
@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
def test_encoded_endpoint_decodes_to_what_it_was_made_of(endpoint: MeshEndpoint, mutual_tls: bool) -> None:
    found = endpoint_components_pb2.LbEndpoint.FromString(encode_endpoint(endpoint, "east", mutual_tls))
    name, revision = endpoint.canonical()
    workload = f"{endpoint.workload};{endpoint.namespace};{name};{revision};east"
    metadata = {"istio": {"workload": workload}}
    if mutual_tls:
        metadata["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    address: dict[str, object] = {"pipe": {"path": endpoint.address}}
    if not endpoint.is_unix:
        address = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
    expected: dict[str, object] = {
        "endpoint": {"address": address},
        "metadata": {"filter_metadata": metadata},
        "load_balancing_weight": endpoint.weight,
    }
    if endpoint.health:
        expected["health_status"] = endpoint.health.name
    assert json_format.MessageToDict(found, preserving_proto_field_name=True) == expected
    # Nothing in it is unknown to the decoder, and nothing is there twice.
    again = endpoint_components_pb2.LbEndpoint.FromString(found.SerializeToString())
    assert again.ByteSize() == len(encode_endpoint(endpoint, "east", mutual_tls))
