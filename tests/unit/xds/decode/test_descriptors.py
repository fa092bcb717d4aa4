"""The messages that are declared here say what Envoy's own (those of xds-protos) say, as far as they are declared."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import descriptor_pool

from pyrpc_xds.xds.decode import cluster, descriptors, proxy_listener, route, thrift_proxy
from pyrpc_xds.xds.decode.descriptors import declare, message_class

for _module in (
    "envoy.config.listener.v3.listener_pb2",
    "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "envoy.extensions.filters.network.thrift_proxy.v3.thrift_proxy_pb2",
    "envoy.service.discovery.v3.discovery_pb2",
    "udpa.type.v1.typed_struct_pb2",
    "xds.type.v3.typed_struct_pb2",
):
    import_module(_module)  # which makes its messages known to the default pool

EMPTY = "google.protobuf.Empty"
OURS_ALONE = "istio.networking.nds.v1."
"""What xds-protos has not; a test of its own compares it to its .proto file."""


def declared() -> dict[str, Any]:
    """Descriptors by full name."""

    def within(messages: Any) -> Iterator[Any]:
        for message in messages:
            yield message
            yield from within(message.nested_types)

    files = [descriptors._pool.FindFileByName(name) for name in descriptors._files]
    found = [message for file in files for message in within(file.message_types_by_name.values())]
    return {message.full_name: message for message in found if not message.full_name.startswith(OURS_ALONE)}


MESSAGES = declared()


def envoys(name: str) -> Any:
    return descriptor_pool.Default().FindMessageTypeByName(name)


def told(field: Any) -> tuple[Any, ...]:
    place = field.containing_oneof.name if field.containing_oneof else ""
    return field.name, field.number, field.type, field.is_repeated, field.has_presence, place


def numbers(enum: Any) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


@pytest.mark.parametrize("name", MESSAGES)
def test_field_is_envoys(name: str) -> None:
    theirs = envoys(name)
    for field in MESSAGES[name].fields:
        real = theirs.fields_by_name[field.name]
        assert told(field) == told(real)
        if field.message_type is not None:
            assert field.message_type.full_name in (real.message_type.full_name, EMPTY)
        if field.enum_type is not None:
            assert field.enum_type.full_name == real.enum_type.full_name
            assert numbers(field.enum_type) == numbers(real.enum_type)


@pytest.mark.parametrize("name", MESSAGES)
def test_oneof_is_whole(name: str) -> None:
    """What is refused is named, and is never taken for a oneof of which nothing is set."""
    theirs = envoys(name)
    for oneof in MESSAGES[name].oneofs:
        real = theirs.oneofs_by_name[oneof.name]
        assert {field.name for field in oneof.fields} == {field.name for field in real.fields}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("envoy.config.cluster.v3.Cluster", cluster._NOT_APPLIED),
        ("envoy.config.route.v3.RouteConfiguration", route._HEADERS_NOT_APPLIED),
        ("envoy.config.route.v3.VirtualHost", route._HEADERS_NOT_APPLIED),
        ("envoy.config.route.v3.Route", route._HEADERS_NOT_APPLIED),
        ("envoy.config.route.v3.RouteAction", route._NOT_APPLIED),
        ("envoy.config.listener.v3.FilterChainMatch", proxy_listener._NEVER_MET),
        ("envoy.extensions.filters.network.thrift_proxy.v3.RouteAction", thrift_proxy._NOT_APPLIED),
        ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", ("metadata_match", "hash_policy")),
    ],
)
def test_field_that_is_only_noticed_is_declared(name: str, fields: tuple[str, ...]) -> None:
    """A field that is not declared would never be noticed."""
    assert set(fields) <= set(MESSAGES[name].fields_by_name)


def test_message_crosses_from_envoys_classes_and_back() -> None:
    theirs = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.EDS)
    theirs.metadata.filter_metadata["istio"].update({"services": [{"host": "h"}, None, 1.5]})
    ours = message_class("envoy.config.cluster.v3.Cluster").FromString(theirs.SerializeToString())
    assert (ours.name, ours.type) == ("c", ours.EDS)
    assert cluster_pb2.Cluster.FromString(ours.SerializeToString()) == theirs


def test_class_is_made_once() -> None:
    """protobuf lets go of classes that nobody holds, and to make one takes longer than to decode a resource."""
    gc.collect()
    for name, descriptor in MESSAGES.items():
        message = message_class(name)()
        for field in descriptor.fields:
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                part = getattr(message, field.name)
                kind = type(part.add() if field.is_repeated else part)
                assert kind is message_class(field.message_type.full_name)


def test_classes_of_the_application_are_left_alone() -> None:
    assert message_class("envoy.config.route.v3.RouteConfiguration") is not route_pb2.RouteConfiguration


@pytest.mark.parametrize(
    "statement", ["string name", "optional string name = 1", "map<int32, string> x = 1", "option x = 1 2"]
)
def test_statement_that_is_not_understood_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match=r"M: .* is not understood"):
        declare(f"package p; message M {{ {statement}; }}")


def test_message_that_is_not_declared_is_refused() -> None:
    with pytest.raises(KeyError):
        message_class("envoy.config.trace.v3.Tracing")
