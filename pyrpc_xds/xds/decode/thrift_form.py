"""The form of Thrift messages, where a cluster or an endpoint says it.

Two places: Envoy's own ThriftProtocolOptions among a cluster's ``typed_extension_protocol_options``, which Aeraki and
Envoy's thrift_proxy go by; and, because Envoy has no name for TTHeader, ``filter_metadata`` under a key of ours, of a
cluster or an endpoint. A form is advice: what is not understood is noted and left open, the resource is good.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ...model.thrift_form import FRAMINGS, NOT_SAID, PROTOCOLS, ThriftForm
from .common import type_name
from .descriptors import declare, message_class

declare("""
package envoy.extensions.filters.network.thrift_proxy.v3;
enum TransportType { AUTO_TRANSPORT = 0; FRAMED = 1; UNFRAMED = 2; HEADER = 3; }
enum ProtocolType { AUTO_PROTOCOL = 0; BINARY = 1; LAX_BINARY = 2; COMPACT = 3; TWITTER = 4; }
message ThriftProtocolOptions { TransportType transport = 1; ProtocolType protocol = 2; }
""")

METADATA = "pyrpc_xds.thrift"
"""The key of ``filter_metadata``; under it ``framing`` and ``protocol``, by the names of ``xds.thrift.client``."""

_OPTIONS_KEY = "envoy.filters.network.thrift_proxy"
_OPTIONS = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProtocolOptions"
_Options = message_class(_OPTIONS)


def _by_number(field: str, names: dict[str, str]) -> dict[int, str]:
    """:param names: ours, by those of the field's values."""
    values = _Options.DESCRIPTOR.fields_by_name[field].enum_type.values_by_name
    return {values[name].number: ours for name, ours in names.items()}


# Envoy's HEADER is Apache's THeader. Of a server that takes several, AUTO says nothing.
_TRANSPORTS = _by_number(
    "transport", {"AUTO_TRANSPORT": "", "FRAMED": "framed", "UNFRAMED": "buffered", "HEADER": "theader"}
)
_PROTOCOLS = _by_number(
    "protocol",
    {"AUTO_PROTOCOL": "", "BINARY": "binary", "LAX_BINARY": "lax-binary", "COMPACT": "compact"},
)
_FIELDS = {"framing": FRAMINGS, "protocol": PROTOCOLS}


def cluster_form(message: Any, notes: list[str]) -> ThriftForm:
    """What a cluster says. Its metadata goes before its options, which are Envoy's to read as well.

    :param notes: takes what is not understood.
    """
    form = metadata_form(message.metadata, notes)
    # Looking a missing key up in a map of messages would put it there.
    if _OPTIONS_KEY in message.typed_extension_protocol_options:
        form = form.over(_options_form(message.typed_extension_protocol_options[_OPTIONS_KEY], notes))
    return form


def metadata_form(metadata: Any, notes: list[str]) -> ThriftForm:
    """What an envoy.config.core.v3.Metadata says.

    :param notes: takes what is not understood.
    """
    if METADATA not in metadata.filter_metadata:
        return NOT_SAID
    said = {}
    for key, value in metadata.filter_metadata[METADATA].fields.items():
        known = _FIELDS.get(key)
        if known is None:
            notes.append(f"metadata {METADATA}: {key!r} is not understood; it has framing and protocol")
        elif value.string_value not in known:
            given = repr(value.string_value) if value.WhichOneof("kind") == "string_value" else "no string"
            notes.append(
                f"metadata {METADATA}: {key} is {given}, not one of {', '.join(known)}; it is ignored"
            )
        else:
            said[key] = value.string_value
    return ThriftForm(**said)


def _options_form(packed: Any, notes: list[str]) -> ThriftForm:
    place = f"typed_extension_protocol_options {_OPTIONS_KEY}"
    kind = type_name(packed.type_url)
    if kind != _OPTIONS:
        notes.append(f"{place}: {kind or 'an untyped message'} is not understood; it is ignored")
        return NOT_SAID
    try:
        options = _Options.FromString(packed.value)
    except DecodeError as error:
        notes.append(f"{place}: not a {kind}: {error}; it is ignored")
        return NOT_SAID
    for field, number, known in (
        ("transport", options.transport, _TRANSPORTS),
        ("protocol", options.protocol, _PROTOCOLS),
    ):
        if number not in known:
            value = _Options.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
            notes.append(
                f"{place}: {field} {value.name if value else number} is not supported; it is ignored"
            )
    return ThriftForm(_TRANSPORTS.get(options.transport, ""), _PROTOCOLS.get(options.protocol, ""))
