"""ClusterLoadAssignment (EDS): gRFC A27. The one decoder that meets tens of thousands of messages at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import itemgetter
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ..._parts import Cutter, Malformed
from ...model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from ...model.thrift_form import NOT_SAID, ThriftForm
from .common import MAX_UINT32, Refused, decoder
from .descriptors import message_class
from .thrift_form import METADATA, metadata_form

_Proto = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")
_SOCKET_MATCH = "envoy.transport_socket_match"
_TCP = message_class("envoy.config.core.v3.SocketAddress").TCP
_ADDRESS = itemgetter(Endpoint._fields.index("address"))
_WEIGHT = itemgetter(Endpoint._fields.index("weight"))
_parsed = message_class("envoy.config.endpoint.v3.LbEndpoint").FromString
_new = tuple.__new__  # half the price of calling a named tuple's class


def _assignment(
    message: Any, read: Callable[[int, Any], _Group] = lambda index, group: _group(_read(group.lb_endpoints))
) -> ClusterLoadAssignment:
    """:param read: gives the endpoints of the locality of this index."""
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
            if group.HasField("leds_cluster_locality_config"):
                raise Refused("leds_cluster_locality_config is not supported")
            found = read(index, group)
            seen = addresses.get(priority)
            endpoints = _usable(found, seen or set())
            addresses[priority] = found.addresses if seen is None else seen | found.addresses
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


class _Unused(Endpoint):
    """One that takes no calls. Its weight counts among those that must not add up to too much."""

    __slots__ = ()


def _read(entries: Iterable[Any]) -> list[Endpoint]:
    """Each LbEndpoint, :class:`_Unused` where it takes no calls."""
    endpoints: list[Endpoint] = []
    for index, entry in enumerate(entries):
        weight = entry.load_balancing_weight.value
        if not weight:
            if entry.HasField("load_balancing_weight"):
                raise Refused(f"lb_endpoints[{index}]: load_balancing_weight is 0")
            weight = 1
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
        usable = entry.health_status in (0, 1)  # UNKNOWN, HEALTHY
        endpoints.append(_new(Endpoint if usable else _Unused, (address, weight)))
    return endpoints


class _Group(NamedTuple):
    """The endpoints of a locality, as it has them.

    :param endpoints: those that take calls; an address may be there twice.
    :param addresses: of those.
    :param total: of all weights.
    """

    endpoints: tuple[Endpoint, ...]
    addresses: set[str]
    total: int


def _group(read: list[Endpoint]) -> _Group:
    total = sum(map(_WEIGHT, read))
    used = _used(read, len(read) - list(map(type, read)).count(_Unused))
    return _Group(used, set(map(_ADDRESS, used)), total)


def _used(read: list[Endpoint], count: int) -> tuple[Endpoint, ...]:
    """:param count: how many of them are."""
    if count == len(read):
        return tuple(read)
    return tuple([endpoint for endpoint in read if type(endpoint) is Endpoint])


def _usable(group: _Group, seen: set[str]) -> tuple[Endpoint, ...]:
    """One endpoint per address.

    :param seen: addresses of the same priority so far; as in Envoy the first of several wins.
    """
    if group.total > MAX_UINT32:
        raise Refused(f"the endpoint weights add up to {group.total}, more than {MAX_UINT32}")
    if len(group.addresses) == len(group.endpoints) and seen.isdisjoint(group.addresses):
        return group.endpoints
    by_address: dict[str, Endpoint] = {}
    for endpoint in group.endpoints:
        if endpoint.address not in seen:
            by_address.setdefault(endpoint.address, endpoint)
    return tuple(by_address.values())


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


# What an endpoint says of the form of Thrift messages: its address, the form, and what is not understood of it.
_Said = tuple[str, ThriftForm, tuple[str, ...]]
# What is in the bytes of every assignment that says it. Usually none does, and metadata is not looked at.
_MARK = METADATA.encode()


def _said(entry: Any) -> _Said:
    notes: list[str] = []
    form = metadata_form(entry.metadata, notes)
    return _address(entry), form, tuple(notes)


def _with_forms(result: ClusterLoadAssignment, said: Iterable[_Said]) -> ClusterLoadAssignment:
    forms: dict[str, ThriftForm] = {}
    odd: dict[str, list[str]] = {}
    for address, form, notes in said:
        if form != NOT_SAID:
            forms.setdefault(address, form)
        for note in notes:
            odd.setdefault(note, []).append(address)
    found = [
        f"{addresses[0]}{f' and {len(addresses) - 1} more' if len(addresses) > 1 else ''}: {note}"
        for note, addresses in odd.items()
    ]
    return replace(result, thrift_forms=tuple(forms.items()), notes=(*result.notes, *found))


def _decoder(build: Callable[[Any], ClusterLoadAssignment]) -> Callable[[bytes], ClusterLoadAssignment]:
    def with_forms(message: Any) -> ClusterLoadAssignment:
        groups = [group for group in message.endpoints if group.load_balancing_weight.value]
        entries = (entry for group in groups for entry in group.lb_endpoints)
        return _with_forms(build(message), [_said(entry) for entry in entries if entry.HasField("metadata")])

    plain = decoder("EDS", _Proto, lambda message: message.cluster_name, build)
    thorough = decoder("EDS", _Proto, lambda message: message.cluster_name, with_forms)
    return lambda raw: (thorough if _MARK in raw else plain)(raw)


decode_cluster_load_assignment = _decoder(_assignment)
"""Bytes of an envoy.config.endpoint.v3.ClusterLoadAssignment to its model.

:raises ResourceInvalid: it is not, or breaks a rule.
"""

decode_sidecar_assignment = _decoder(_sidecar_assignment)
"""The same with ``socket_labels``.

:raises ResourceInvalid: as :data:`decode_cluster_load_assignment`.
"""

_FIELDS = _Proto.DESCRIPTOR.fields_by_name
_LOCALITIES: int = _FIELDS["endpoints"].number
_LB_ENDPOINTS: int = _FIELDS["endpoints"].message_type.fields_by_name["lb_endpoints"].number
# Places at which an assignment has changed, above which its endpoints have probably moved.
_FEW = 16
# Bytes of an assignment of many endpoints.
_LARGE = 8192


class FollowingAssignments:
    """Decodes the versions of one assignment, one after another, as :data:`decode_cluster_load_assignment` does.

    An endpoint whose bytes the version before had is not decoded again, and is the same object: the cost of a push
    follows what it changes, as far as it can when all of it is sent.

    :param breathe: called between steps, where there are many endpoints.
    """

    def __init__(self, breathe: Callable[[], None] = lambda: None) -> None:
        self._breathe = breathe
        # Of the last version, by locality: by place the bytes, and what they were read as; and what came of it.
        self._parts: list[list[bytes]] = []
        self._read: list[list[Endpoint]] = []
        self._groups: list[_Group] = []
        # Of its endpoints that say it, by their bytes.
        self._said: dict[bytes, _Said] = {}

    def __call__(self, raw: bytes) -> ClusterLoadAssignment:
        """:raises ResourceInvalid: see there."""
        try:
            rest, parts, changed = Cutter(raw).cut(_LOCALITIES, _LB_ENDPOINTS, self._parts)
            if len(raw) > _LARGE:
                self._breathe()
            read, groups = [], []
            for index, each in enumerate(zip(parts, changed, strict=True)):
                endpoints = self._reread(index, *each)
                read.append(endpoints)
                groups.append(self._regroup(index, endpoints, each[1]) or _group(endpoints))
            message = _Proto.FromString(rest)
            result = _assignment(message, lambda index, _: groups[index])
            if _MARK in raw:
                result = _with_forms(result, self._resaid(message, parts))
        except (Malformed, DecodeError, Refused):
            # Which says what is wrong, and where.
            return decode_cluster_load_assignment(raw)
        self._parts, self._read, self._groups = parts, read, groups
        return result

    def _reread(self, index: int, parts: list[bytes], places: list[int]) -> list[Endpoint]:
        before = self._read[index] if index < len(self._read) else []
        known: dict[bytes, Endpoint] = {}
        if before and len(places) > _FEW:
            # Endpoints have moved.
            known.update(zip(self._parts[index], before, strict=True))
        endpoints: list[Any] = before[: len(parts)]
        endpoints += [None] * (len(parts) - len(endpoints))
        for place in places:
            endpoints[place] = known.get(parts[place])
        new = [place for place in places if endpoints[place] is None]
        for place, endpoint in zip(new, _read(map(_parsed, [parts[place] for place in new])), strict=True):
            endpoints[place] = endpoint
        return endpoints

    def _resaid(self, message: Any, parts: list[list[bytes]]) -> list[_Said]:
        weighted = [
            found
            for group, found in zip(message.endpoints, parts, strict=True)
            if group.load_balancing_weight.value
        ]
        marked = [part for found in weighted for part in found if _MARK in part]
        self._said = {part: self._said.get(part) or _said(_parsed(part)) for part in marked}
        return [self._said[part] for part in marked]

    def _regroup(self, index: int, endpoints: list[Endpoint], places: list[int]) -> _Group | None:
        """The group of the version before with other weights at some places; ``None``: it differs in more."""
        if index >= len(self._groups):
            return None
        before, group = self._read[index], self._groups[index]
        if len(before) != len(endpoints):
            return None
        total = group.total
        for place in places:
            old, new = before[place], endpoints[place]
            if old.address != new.address or type(old) is not type(new):
                return None
            total += new.weight - old.weight
        return _Group(_used(endpoints, len(group.endpoints)), group.addresses, total)
