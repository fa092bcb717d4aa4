"""ClusterLoadAssignment (EDS): gRFC A27. The one decoder that meets tens of thousands of messages at once."""

from __future__ import annotations

from dataclasses import replace
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from envoy.config.core.v3 import address_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from ...model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from .common import MAX_UINT32, Refused, decoder

_SOCKET_MATCH = "envoy.transport_socket_match"
_TCP = address_pb2.SocketAddress.TCP
_new = tuple.__new__  # half the price of calling a named tuple's class


def _assignment(message: Any) -> ClusterLoadAssignment:
    notes = []
    if message.policy.drop_overloads:
        notes.append("policy.drop_overloads is not applied")
    localities: list[Locality] = []
    weights: dict[int, int] = {}
    names: set[tuple[int, str]] = set()
    addresses: dict[int, set[str]] = {}
    for index, group in enumerate(message.endpoints):
        weight = group.load_balancing_weight.value
        if not weight:
            continue  # A27: a locality without weight gets no traffic
        priority = group.priority
        where = group.locality
        name = f"{where.region}/{where.zone}/{where.sub_zone}"
        place = f"endpoints[{index}] {name!r}"
        if (priority, name) in names:
            raise Refused(f"{place}: the locality is repeated in priority {priority}")
        names.add((priority, name))
        weights[priority] = weights.get(priority, 0) + weight
        try:
            endpoints = _endpoints(group, addresses.setdefault(priority, set()))
        except Refused as error:
            raise error.inside(place) from None
        localities.append(Locality(name, weight, priority, endpoints))
    for priority in range(len(weights)):
        if priority not in weights:
            raise Refused(
                f"priority {priority} is missing below {max(weights)}; priorities must be dense from 0"
            )
    for priority, total in weights.items():
        if total > MAX_UINT32:
            raise Refused(
                f"the locality weights of priority {priority} add up to {total}, more than {MAX_UINT32}"
            )
    return ClusterLoadAssignment(message.cluster_name, tuple(localities), tuple(notes))


def _endpoints(group: Any, seen: set[str]) -> tuple[Endpoint, ...]:
    """The usable endpoints of a locality, one per address.

    :param seen: addresses of the same priority so far; as in Envoy the first of several wins.
    """
    if group.HasField("leds_cluster_locality_config"):
        raise Refused("leds_cluster_locality_config is not supported")
    endpoints: list[Endpoint] = []
    addresses: list[str] = []
    total = 0
    for index, entry in enumerate(group.lb_endpoints):
        weight = entry.load_balancing_weight.value
        if not weight:
            if entry.HasField("load_balancing_weight"):
                raise Refused(f"lb_endpoints[{index}]: load_balancing_weight is 0")
            weight = 1
        total += weight
        socket = entry.endpoint.address.socket_address
        host, port = socket.address, socket.port_value
        # The usual endpoint is TCP to an IPv4 address and a number; everything else takes the slow way.
        try:
            inet_pton(AF_INET, host)
            address = f"{host}:{port}" if 0 < port < 65536 and socket.protocol == _TCP else _address(entry)
        except (OSError, ValueError, Refused):
            try:
                address = _address(entry)
            except Refused as error:
                raise error.inside(f"lb_endpoints[{index}]") from None
        if entry.health_status in (0, 1):  # UNKNOWN, HEALTHY
            addresses.append(address)
            endpoints.append(_new(Endpoint, (address, weight)))
    if total > MAX_UINT32:
        raise Refused(f"the endpoint weights add up to {total}, more than {MAX_UINT32}")
    unique = set(addresses)
    if len(unique) < len(addresses) or not seen.isdisjoint(unique):
        by_address: dict[str, Endpoint] = {}
        for endpoint in endpoints:
            if endpoint.address not in seen:
                by_address.setdefault(endpoint.address, endpoint)
        endpoints = list(by_address.values())
    seen |= unique
    return tuple(endpoints)


def _address(entry: Any) -> str:
    """The address of an endpoint in any form that is understood."""
    host_identifier = entry.WhichOneof("host_identifier")
    if host_identifier != "endpoint":
        raise Refused(f"{host_identifier or 'no endpoint'} is not supported")
    which = entry.endpoint.address.WhichOneof("address")
    if which == "pipe":
        if not entry.endpoint.address.pipe.path:
            raise Refused("pipe.path is empty")
        return f"unix:{entry.endpoint.address.pipe.path}"
    if which != "socket_address":
        raise Refused(f"address {which or 'missing'} is not supported")
    socket = entry.endpoint.address.socket_address
    if socket.protocol != _TCP:
        raise Refused("socket_address.protocol is not TCP")
    if socket.WhichOneof("port_specifier") != "port_value":
        raise Refused("socket_address has no port_value (named ports are not supported)")
    if not 0 < socket.port_value < 65536:
        raise Refused(f"socket_address.port_value {socket.port_value} is not a port")
    for family, form in ((AF_INET, "{}:{}"), (AF_INET6, "[{}]:{}")):
        try:
            inet_pton(family, socket.address)
        except (OSError, ValueError):  # ValueError: a NUL in the text
            continue
        return form.format(socket.address, socket.port_value)
    raise Refused(f"{socket.address!r} is not an IP address")


def _sidecar_assignment(message: Any) -> ClusterLoadAssignment:
    """A second pass, so that the usual one does not look at the metadata of every endpoint."""
    result = _assignment(message)
    labels: dict[str, tuple[tuple[str, str], ...]] = {}
    for group in message.endpoints:
        if not group.load_balancing_weight.value:
            continue
        of_group = _socket_labels(group.metadata)
        for entry in group.lb_endpoints:
            if found := _socket_labels(entry.metadata) or of_group:
                labels.setdefault(_address(entry), found)
    return replace(result, socket_labels=tuple(labels.items())) if labels else result


def _socket_labels(metadata: Any) -> tuple[tuple[str, str], ...]:
    # Looking a missing key up in a map of messages would put it there.
    if _SOCKET_MATCH not in metadata.filter_metadata:
        return ()
    fields = metadata.filter_metadata[_SOCKET_MATCH].fields
    return tuple(sorted((key, value.string_value) for key, value in fields.items()))


decode_cluster_load_assignment = decoder(
    "EDS", endpoint_pb2.ClusterLoadAssignment, lambda message: message.cluster_name, _assignment
)
"""Bytes of an envoy.config.endpoint.v3.ClusterLoadAssignment to its model.

:raises ResourceInvalid: it is not, or breaks a rule.
"""

decode_sidecar_assignment = decoder(
    "EDS", endpoint_pb2.ClusterLoadAssignment, lambda message: message.cluster_name, _sidecar_assignment
)
"""The same with ``socket_labels``.

:raises ResourceInvalid: as :data:`decode_cluster_load_assignment`.
"""
