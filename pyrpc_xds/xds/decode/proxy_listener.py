"""A sidecar's outbound Listener (LDS): filter chains with HTTP, Thrift or TCP behind them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from google.protobuf.message import DecodeError

from ...model.filter_chain import FilterChain, HttpConnectionManager, NetworkFilter, ProxyListener, TcpProxy
from ...model.route import WeightedCluster
from .common import Refused, decoder, type_name
from .descriptors import declare, message_class
from .http_filter import TYPED_STRUCTS
from .listener import HCM, connection_manager
from .thrift_proxy import THRIFT_PROXY, thrift_proxy, weighted

declare("""
package envoy.extensions.filters.network.tcp_proxy.v3;
message TcpProxy {
  message WeightedCluster {
    message ClusterWeight { string name = 1; uint32 weight = 2; }
    repeated ClusterWeight clusters = 1;
  }
  oneof cluster_specifier { string cluster = 2; WeightedCluster weighted_clusters = 10; }
  google.protobuf.Empty metadata_match = 9;
  repeated google.protobuf.Empty hash_policy = 11;
  google.protobuf.Empty tunneling_config = 12;
}
""")

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
# Telemetry, and the exchange of metadata between sidecars.
_HARMLESS = frozenset({"stats.PluginConfig", "envoy.tcp.metadataexchange.config.MetadataExchange"})
_HTTP = frozenset({"http/1.0", "http/1.1", "h2c"})
# What a connection of ours, plain TCP, can not fulfil, or what nothing is known about.
_NEVER_MET = (
    "server_names",
    "source_prefix_ranges",
    "source_ports",
    "direct_source_prefix_ranges",
    "suffix_len",
    "address_suffix",
)
# Where a connection that is nobody's goes, by Istio's outbound traffic policy: not a way to a service.
_NOWHERE = frozenset({"PassthroughCluster", "BlackHoleCluster"})


def _listener(message: Any) -> ProxyListener:
    notes: list[str] = []
    chains = []
    port = message.address.socket_address.port_value
    for index, entry in enumerate(message.filter_chains):
        if entry.filter_chain_match.destination_port.value not in (0, port):
            continue
        chain = _chain(entry, f"filter_chains[{index}]", notes)
        if chain is not None:
            chains.append(chain)
    default = None
    if message.HasField("default_filter_chain"):
        default = _chain(message.default_filter_chain, "default_filter_chain", notes)
    return ProxyListener(message.name, tuple(chains), default, tuple(notes))


def _chain(message: Any, place: str, notes: list[str]) -> FilterChain | None:
    """``None``: no connection of ours could take it, or it leads nowhere."""
    match = message.filter_chain_match
    held = {field.name for field, _ in match.ListFields()}
    if held.intersection(_NEVER_MET) or match.source_type not in (match.ANY, match.EXTERNAL):
        return None
    if match.transport_protocol not in ("", "raw_buffer"):
        return None
    if match.application_protocols and _HTTP.isdisjoint(match.application_protocols):
        return None
    try:
        prefixes = tuple(
            str(ip_network(f"{entry.address_prefix}/{entry.prefix_len.value}", strict=False))
            for entry in match.prefix_ranges
        )
        terminal = _terminal(message.filters, notes)
    except ValueError as error:
        raise Refused(f"{place}: prefix_ranges: {error}") from None
    except Refused as error:
        raise error.inside(place) from None
    if isinstance(terminal, TcpProxy) and all(cluster.name in _NOWHERE for cluster in terminal.clusters):
        return None
    return FilterChain(terminal, prefixes, bool(match.application_protocols))


def _terminal(filters: Any, notes: list[str]) -> NetworkFilter:
    """The last filter. One before it that is not known to be harmless is refused: it may guard something."""
    for index, entry in enumerate(filters):
        kind = type_name(entry.typed_config.type_url)
        place = f"filters[{index}] {entry.name!r}"
        try:
            if index + 1 == len(filters):
                return _decoded(kind, entry.typed_config.value, notes)
            if kind in TYPED_STRUCTS:
                kind = type_name(message_class(kind).FromString(entry.typed_config.value).type_url)
            if kind not in _HARMLESS:
                raise Refused(f"type {kind!r} is not supported")
        except DecodeError as error:
            raise Refused(f"{place}: not a {kind}: {error}") from None
        except Refused as error:
            raise error.inside(place) from None
    raise Refused("filters is empty")


def _decoded(kind: str, value: bytes, notes: list[str]) -> NetworkFilter:
    if kind == HCM:
        name, inline, duration, found = connection_manager(message_class(HCM).FromString(value))
        notes += found
        return HttpConnectionManager(name, inline, duration)
    if kind == THRIFT_PROXY:
        proxy, more = thrift_proxy(value)
        notes += more
        return proxy
    if kind == _TCP_PROXY:
        return _tcp_proxy(message_class(_TCP_PROXY).FromString(value), notes)
    raise Refused(f"type {kind!r} is not supported")


def _tcp_proxy(message: Any, notes: list[str]) -> TcpProxy:
    if message.HasField("tunneling_config"):
        raise Refused("tunneling_config is not supported")
    held = {field.name for field, _ in message.ListFields()}
    notes += [
        f"tcp_proxy: {field} is not applied" for field in ("metadata_match", "hash_policy") if field in held
    ]
    which = message.WhichOneof("cluster_specifier")
    if which == "cluster" and message.cluster:
        return TcpProxy((WeightedCluster(message.cluster),))
    if which == "weighted_clusters":
        return TcpProxy(weighted(message.weighted_clusters.clusters, lambda entry: int(entry.weight)))
    raise Refused(f"tcp_proxy: cluster specifier {which or 'missing or unknown'} is not supported")


decode_proxy_listener = decoder(
    "LDS", message_class("envoy.config.listener.v3.Listener"), lambda message: message.name, _listener
)
"""Bytes of an envoy.config.listener.v3.Listener to :class:`~pyrpc_xds.model.filter_chain.ProxyListener`.

:raises ResourceInvalid: it is not, or a chain that calls could take breaks a rule.
"""
