"""DiscoveryRequest and DiscoveryResponse: bytes outside, plain dataclasses inside."""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ...bootstrap import Node
from ...errors import Code, ConfigError, StreamError
from ...frozen import frozen
from .descriptors import message_class

ADS_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
RESOURCE_URL = "type.googleapis.com/envoy.service.discovery.v3.Resource"
# gRFC A27 (overprovisioning) and the xDS specification (Resource wrappers may be used in state of the world).
CLIENT_FEATURES = ("envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw")


_Request = message_class("envoy.service.discovery.v3.DiscoveryRequest")
_Response = message_class("envoy.service.discovery.v3.DiscoveryResponse")
_Resource = message_class("envoy.service.discovery.v3.Resource")
_Node = message_class("envoy.config.core.v3.Node")
_Locality = message_class("envoy.config.core.v3.Locality")
_Struct = message_class("google.protobuf.Struct")


@frozen
class DiscoveryRequest:
    """One request: a subscription, and the ACK or NACK of a response where ``nonce`` is set.

    :param names: every resource wanted of this type (state of the world).
    :param version: the last accepted version; empty: none yet.
    :param nonce: of the response this answers; empty: the first request of a type on a stream.
    :param error: why the response was refused; empty: it was accepted.
    :param node: only in the first request of a stream.
    """

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str = ""
    node: Node | None = None


class RawResource(NamedTuple):
    """One resource, not yet decoded.

    :param type_url: of the resource itself, which a bad server may have different from the response's.
    :param name: from the Resource wrapper; empty where the server does not wrap.
    """

    type_url: str
    value: bytes
    name: str = ""


@frozen
class DiscoveryResponse:
    """One response, its resources not yet decoded."""

    type_url: str
    version: str = ""
    nonce: str = ""
    resources: tuple[RawResource, ...] = ()


def encode_node(node: Node, version: str = "") -> Any:
    """The node as protobuf.

    :param version: of this package.
    :raises ConfigError: the metadata holds what JSON does not (checked when a client is made).
    """
    metadata = _Struct()
    try:
        metadata.update(node.metadata)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"not JSON values: {error}", where="node.metadata") from None
    return _Node(
        id=node.id,
        cluster=node.cluster,
        metadata=metadata,
        locality=_Locality(
            region=node.locality.region, zone=node.locality.zone, sub_zone=node.locality.sub_zone
        ),
        user_agent_name="pyrpc-xds",
        user_agent_version=version,
        client_features=CLIENT_FEATURES,
    )


def encode_request(request: DiscoveryRequest, user_agent_version: str = "") -> bytes:
    """The bytes of a request."""
    message = _Request(
        type_url=request.type_url,
        resource_names=request.names,
        version_info=request.version,
        response_nonce=request.nonce,
    )
    if request.error:
        message.error_detail.code = Code.INVALID_ARGUMENT
        message.error_detail.message = request.error
    if request.node is not None:
        message.node.CopyFrom(encode_node(request.node, user_agent_version))
    raw: bytes = message.SerializeToString()
    return raw


def decode_response(raw: bytes) -> DiscoveryResponse:
    """The response in ``raw``. A Resource wrapper (resource-in-sotw) is taken off here.

    :raises StreamError: the bytes are not a DiscoveryResponse; only a new stream can help.
    """
    try:
        message = _Response.FromString(raw)
    except DecodeError as error:
        raise StreamError(
            f"the control plane sent {len(raw)} bytes that are no DiscoveryResponse: {error}"
        ) from None
    resources = []
    for resource in message.resources:
        if resource.type_url == RESOURCE_URL:
            resources.append(_unwrap(resource.value))
        else:
            resources.append(RawResource(resource.type_url, resource.value))
    return DiscoveryResponse(message.type_url, message.version_info, message.nonce, tuple(resources))


def _unwrap(value: bytes) -> RawResource:
    try:
        wrapper = _Resource.FromString(value)
    except DecodeError:
        # Left as it is, it has the wrong type for its response and is refused as one bad resource.
        return RawResource(RESOURCE_URL, value)
    return RawResource(wrapper.resource.type_url, wrapper.resource.value, wrapper.name)


def first_string(raw: bytes) -> str:
    """Field 1 of an encoded message, which is the name of a Listener and of a Cluster. The rest is not read.

    :raises ValueError: there is no field 1 at the beginning, where every encoder puts it, or it is no name.
    """
    if raw[:1] != b"\x0a":
        raise ValueError("the resource does not begin with its name")
    length = shift = 0
    for at in range(1, min(len(raw), 6)):
        length |= (raw[at] & 0x7F) << shift
        shift += 7
        if raw[at] < 0x80:
            name = raw[at + 1 : at + 1 + length]
            if len(name) < length or not length:
                break
            return name.decode()
    raise ValueError("the resource's name is empty or cut off")
