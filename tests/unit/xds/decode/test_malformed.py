"""Bytes of an untrusted control plane: whatever they are, a decoder gives a model or ResourceInvalid (D21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from envoy.extensions.filters.network.thrift_proxy.v3 import thrift_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrpc_xds.bootstrap import Node
from pyrpc_xds.errors import ResourceInvalid, StreamError
from pyrpc_xds.xds.decode.envelope import DiscoveryResponse, RawResource, decode_response
from pyrpc_xds.xds.session import Session
from pyrpc_xds.xds.sidecar_types import (
    NDS,
    SIDECAR_CDS,
    SIDECAR_EDS,
    SIDECAR_LDS,
    SIDECAR_RDS,
    SIDECAR_TYPES,
)
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS, TYPES, ResourceType
from tests.unit.xds.build import (
    assignment,
    cluster,
    hcm,
    lb_endpoint,
    listener,
    locality,
    route,
    route_config,
)
from tests.unit.xds.decode.test_proxy_listener import chain, tcp
from tests.unit.xds.decode.test_proxy_listener import listener as proxy_listener
from tests.unit.xds.world import Watcher

GOOD: dict[ResourceType, list[bytes]] = {
    LDS: [
        message.SerializeToString()
        for message in (listener(), listener("l", hcm(route_config=route_config("inline"))))
    ],
    RDS: [
        message.SerializeToString()
        for message in (
            route_config(),
            route_config(
                "r",
                [
                    route(
                        {
                            "safe_regex": {"regex": "/a.*"},
                            "headers": [{"name": "h", "string_match": {"prefix": "p"}}],
                            "runtime_fraction": {"default_value": {"numerator": 5}},
                        },
                        route={
                            "weighted_clusters": {"clusters": [{"name": "a", "weight": {"value": 3}}]},
                            "timeout": {"seconds": 1},
                            "retry_policy": {"retry_on": "unavailable", "num_retries": {"value": 2}},
                        },
                    )
                ],
            ),
        )
    ],
    CDS: [cluster().SerializeToString(), cluster("d", lb_policy="RING_HASH").SerializeToString()],
    EDS: [
        message.SerializeToString()
        for message in (
            assignment(),
            assignment("e", [locality([lb_endpoint("::1", 5), lb_endpoint()]), locality(priority=1)]),
        )
    ],
}


def of_a_sidecar() -> dict[ResourceType, list[bytes]]:
    proxy = thrift_proxy_pb2.ThriftProxy(thrift_filters=[{"name": "envoy.filters.thrift.router"}])
    weighted = {"clusters": [{"name": "a", "weight": {"value": 3}}, {"name": "b", "weight": {"value": 7}}]}
    proxy.route_config.routes.add(match={"method_name": "M", "invert": True}, route={"cluster": "c"})
    proxy.route_config.routes.add(match={"service_name": ""}, route={"weighted_clusters": weighted})
    prefix = {"address_prefix": "10.0.0.0", "prefix_len": {"value": 8}}
    listeners = [
        proxy_listener(chain(hcm(), application_protocols=["h2c"]), default=chain(tcp())),
        proxy_listener(chain(proxy), chain(tcp(), prefix_ranges=[prefix])),
    ]
    secured = cluster("t")
    match = secured.transport_socket_matches.add(name="tlsMode-istio")
    match.match.update({"tlsMode": "istio"})
    match.transport_socket.typed_config.Pack(tls_pb2.UpstreamTlsContext())
    endpoint = lb_endpoint()
    endpoint.metadata.filter_metadata["envoy.transport_socket_match"].update({"tlsMode": "istio"})
    return {
        SIDECAR_RDS: GOOD[RDS],
        SIDECAR_LDS: [message.SerializeToString() for message in listeners],
        SIDECAR_CDS: [*GOOD[CDS], secured.SerializeToString()],
        SIDECAR_EDS: [*GOOD[EDS], assignment("t", [locality([endpoint])]).SerializeToString()],
        NDS: [b"\n\x0f\n\x01h\x12\n\n\x0810.0.0.1", b""],
    }


GOOD.update(of_a_sidecar())
KINDS = st.sampled_from(list(GOOD))
GRPC = {kind.decoder for kind in TYPES.values()}


@st.composite
def mutated(draw: st.DrawFn) -> tuple[ResourceType, bytes]:
    """A good resource, cut, spliced or with bytes changed."""
    kind = draw(KINDS)
    raw = bytearray(draw(st.sampled_from(GOOD[kind])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        change = draw(st.sampled_from(["set", "cut", "insert", "delete", "splice"]))
        if change == "set" and raw:
            raw[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del raw[at:]
        elif change == "insert":
            raw[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif change == "delete":
            del raw[at : at + draw(st.integers(1, 5))]
        else:
            raw[at:at] = draw(st.sampled_from(GOOD[draw(KINDS)]))[: draw(st.integers(1, 40))]
    return kind, bytes(raw)


def check(kind: ResourceType, raw: bytes) -> None:
    try:
        name, model = kind.decode(raw)
    except ResourceInvalid as error:
        assert error.kind == kind.short_name
        assert error.reason
        # "decoder failed with" is a bug of ours that was caught; mutated bytes must not find one.
        assert "decoder failed" not in error.reason, error
    else:
        assert name == model.name
        hash(model)


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_mutated_resource_is_decoded_or_refused(case: tuple[ResourceType, bytes]) -> None:
    check(*case)


@settings(max_examples=100, deadline=None)
@given(KINDS, st.binary(max_size=200))
def test_random_bytes_are_decoded_or_refused(kind: ResourceType, raw: bytes) -> None:
    check(kind, raw)


@pytest.mark.parametrize(
    "kind", GOOD, ids=lambda kind: f"{kind}-{'sidecar' if kind.decoder not in GRPC else 'grpc'}"
)
def test_every_truncation_of_a_good_resource_is_decoded_or_refused(kind: ResourceType) -> None:
    for raw in GOOD[kind]:
        for length in range(len(raw)):
            check(kind, raw[:length])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([TYPES, SIDECAR_TYPES]), st.lists(mutated(), max_size=4))
def test_session_answers_a_response_of_mutated_resources_once(
    types: Mapping[str, ResourceType], cases: list[tuple[ResourceType, bytes]]
) -> None:
    session = Session(Node("a~b~c~d"), types=types)
    watcher: Any = Watcher()
    session.subscribe(CDS, "c", watcher)
    session.opened(0.0)
    session.requests()
    resources = tuple(RawResource(CDS.type_url, raw) for _, raw in cases)
    session.received(DiscoveryResponse(CDS.type_url, "2", "n", resources), 0.0)
    while (news := session.next_notification()) is not None:
        news.deliver()
    (answer,) = session.requests()
    assert answer.nonce == "n"
    assert answer.version == ("" if answer.error else "2")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_a_response_or_a_stream_error(raw: bytes) -> None:
    try:
        decode_response(raw)
    except StreamError as error:
        assert "no DiscoveryResponse" in str(error)


def test_deeply_nested_bytes_are_refused() -> None:
    raw = b""
    for _ in range(300):
        raw = b"\x12" + varint(len(raw)) + raw
    for kind in GOOD:
        check(kind, raw)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
