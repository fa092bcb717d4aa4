"""Listener (LDS): the ApiListener of gRFC A27, with the rules of A30, A31, A39 and A41."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ...model.listener import Listener
from ...model.route import RouteConfiguration
from .common import Refused, decoder, limit, require_ads, type_name
from .descriptors import message_class
from .http_filter import listener_filters
from .route import route_configuration

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_Proto = message_class("envoy.config.listener.v3.Listener")
_Manager = message_class(HCM)


def _listener(message: Any) -> Listener:
    if not message.HasField("api_listener"):
        raise Refused(
            "no api_listener: sidecar and inbound listeners are not supported in this mode "
            "(a node whose metadata lacks GENERATOR: grpc is sent those; XDS_MODE=sidecar takes them)"
        )
    any_config = message.api_listener.api_listener
    if type_name(any_config.type_url) != HCM:
        raise Refused(f"api_listener: type {any_config.type_url!r} is not supported")
    try:
        hcm = _Manager.FromString(any_config.value)
    except DecodeError as error:
        raise Refused(f"api_listener: not an HttpConnectionManager: {error}") from None
    try:
        return Listener(message.name, *connection_manager(hcm))
    except Refused as error:
        raise error.inside("api_listener") from None


def connection_manager(hcm: Any) -> tuple[str, RouteConfiguration | None, float | None, tuple[str, ...]]:
    """What a parsed HttpConnectionManager says, as a :class:`.Listener` has it.

    :returns: the RDS name, or empty and the inline RouteConfiguration; the duration of a stream, in seconds; notes on
        what is not applied.
    :raises Refused: it breaks a rule.
    """
    # A41: both would change what an RBAC rule sees as the peer's address.
    if hcm.xff_num_trusted_hops:
        raise Refused("xff_num_trusted_hops must be 0")
    if hcm.original_ip_detection_extensions:
        raise Refused("original_ip_detection_extensions must be empty")
    duration = None
    if hcm.common_http_protocol_options.HasField("max_stream_duration"):
        duration = limit(
            hcm.common_http_protocol_options.max_stream_duration,
            "common_http_protocol_options.max_stream_duration",
        )
    notes = listener_filters(hcm.http_filters)
    specifier = hcm.WhichOneof("route_specifier")
    if specifier == "rds":
        require_ads(hcm.rds.config_source, "rds")
        if not hcm.rds.route_config_name:
            raise Refused("rds.route_config_name is empty")
        return hcm.rds.route_config_name, None, duration, notes
    if specifier == "route_config":
        try:
            inline = route_configuration(hcm.route_config)
        except Refused as error:
            raise error.inside("route_config") from None
        return "", inline, duration, notes
    raise Refused(f"route_specifier {specifier or 'missing'} is not supported")


decode_listener = decoder("LDS", _Proto, lambda message: message.name, _listener)
"""Bytes of an envoy.config.listener.v3.Listener to :class:`~pyrpc_xds.model.listener.Listener`.

:raises ResourceInvalid: it is not, or breaks a rule.
"""
