"""Cluster (CDS): gRFC A27 and A32. Only EDS clusters; one that demands TLS is refused, not downgraded."""

from __future__ import annotations

from typing import Any

from ...model.cluster import DEFAULT_MAX_REQUESTS, Cluster, LbPolicy, TransportSocketMatch
from ..names import SubsetKey
from .common import Refused, decoder, require_ads, type_name
from .descriptors import message_class
from .thrift_form import cluster_form

_Proto = message_class("envoy.config.cluster.v3.Cluster")
_DEFAULT_PRIORITY = 0
_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_LB_EXTENSIONS = "envoy.extensions.load_balancing_policies."

_EXACT_POLICIES = {_Proto.ROUND_ROBIN: LbPolicy.ROUND_ROBIN, _Proto.RANDOM: LbPolicy.RANDOM}
_NEAR_POLICIES = frozenset({_Proto.LEAST_REQUEST, _Proto.RING_HASH, _Proto.MAGLEV})
_EXACT_EXTENSIONS = {
    "round_robin.v3.RoundRobin": LbPolicy.ROUND_ROBIN,
    "random.v3.Random": LbPolicy.RANDOM,
}
_NEAR_EXTENSIONS = frozenset(
    {
        "least_request.v3.LeastRequest",
        "ring_hash.v3.RingHash",
        "maglev.v3.Maglev",
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        "wrr_locality.v3.WrrLocality",
        "pick_first.v3.PickFirst",
    }
)
_NOT_APPLIED = ("outlier_detection", "health_checks", "lb_subset_config")


def _cluster(message: Any) -> Cluster:
    _refuse_tls(message)
    return _eds_cluster(message, ())


def _sidecar_cluster(message: Any) -> Cluster:
    # TLS is no reason to refuse: the last good version, which may be a plaintext one, would stay in use.
    sockets = _transport_sockets(message)
    if _headless(message):
        notes = ["headless service (ORIGINAL_DST): calls are spread over every endpoint that EDS has"]
        form = cluster_form(message, notes)
        breakers = _max_requests(message.circuit_breakers)
        policy = LbPolicy.ROUND_ROBIN
        return Cluster(message.name, message.name, policy, breakers, tuple(notes), sockets, form)
    return _eds_cluster(message, sockets)


def _headless(message: Any) -> bool:
    """A headless service: a sidecar goes where the application's own DNS look-up sent it.

    There is no such look-up here, and istiod has EDS for these clusters too.
    """
    key = SubsetKey.parse(message.name)
    return message.type == _Proto.ORIGINAL_DST and key is not None and key.direction == "outbound"


def _eds_cluster(message: Any, sockets: tuple[TransportSocketMatch, ...]) -> Cluster:
    which = message.WhichOneof("cluster_discovery_type")
    if which == "cluster_type":
        raise Refused(f"cluster_type {message.cluster_type.name!r} is not supported; only EDS is")
    if message.type != _Proto.EDS:
        raise Refused(f"type {_name(_Proto.DiscoveryType, message.type)} is not supported; only EDS is")
    if not message.HasField("eds_cluster_config"):
        raise Refused("eds_cluster_config is missing")
    require_ads(message.eds_cluster_config.eds_config, "eds_cluster_config.eds_config")
    notes: list[str] = []
    policy = _lb_policy(message, notes)
    held = {field.name for field, _ in message.ListFields()}
    notes += [f"{field} is not applied" for field in _NOT_APPLIED if field in held]
    form = cluster_form(message, notes)
    return Cluster(
        name=message.name,
        eds_service_name=message.eds_cluster_config.service_name or message.name,
        lb_policy=policy,
        max_requests=_max_requests(message.circuit_breakers),
        transport_sockets=sockets,
        thrift_form=form,
        notes=tuple(notes),
    )


def _refuse_tls(message: Any) -> None:
    """A cluster that asks for a secured transport must not be reached without (A29)."""
    sockets = [("transport_socket", message.transport_socket)] if message.HasField("transport_socket") else []
    sockets += [
        (f"transport_socket_matches[{index}]", match.transport_socket)
        for index, match in enumerate(message.transport_socket_matches)
    ]
    for field, socket in sockets:
        kind = type_name(socket.typed_config.type_url)
        if kind != _RAW_BUFFER:
            raise Refused(
                f"{field} {socket.name!r} demands {kind.rpartition('.')[2] or 'a secured transport'}, "
                "which is not supported: this version is not used, the last accepted one stays. "
                "To be without TLS set the DestinationRule's trafficPolicy.tls.mode: DISABLE"
            )


def _transport_sockets(message: Any) -> tuple[TransportSocketMatch, ...]:
    """Envoy's order: the first match that means the endpoint, else ``transport_socket``, else plain TCP."""
    if message.HasField("transport_socket_matcher"):
        raise Refused("transport_socket_matcher is not supported")
    sockets = []
    for index, match in enumerate(message.transport_socket_matches):
        labels = []
        for key, value in match.match.fields.items():
            if value.WhichOneof("kind") != "string_value":
                raise Refused(f"transport_socket_matches[{index}]: match {key!r} is not a string")
            labels.append((key, value.string_value))
        sockets.append(
            TransportSocketMatch(match.name, tuple(sorted(labels)), _secured(match.transport_socket))
        )
    if message.HasField("transport_socket") and (secured := _secured(message.transport_socket)):
        sockets.append(TransportSocketMatch("transport_socket", (), secured))
    return tuple(sockets)


def _secured(socket: Any) -> str:
    kind = type_name(socket.typed_config.type_url)
    # Without a config the name decides.
    if kind == _RAW_BUFFER or (not kind and socket.name == "envoy.transport_sockets.raw_buffer"):
        return ""
    return kind.rpartition(".")[2] or socket.name or "an unnamed transport socket"


def _lb_policy(message: Any, notes: list[str]) -> LbPolicy:
    if message.HasField("load_balancing_policy"):
        return _extension_policy(message.load_balancing_policy, notes)
    number = message.lb_policy
    if number in _EXACT_POLICIES:
        return _EXACT_POLICIES[number]
    name = _name(_Proto.LbPolicy, number)
    if number in _NEAR_POLICIES:
        notes.append(f"lb_policy {name} is not implemented; ROUND_ROBIN is used")
        return LbPolicy.ROUND_ROBIN
    raise Refused(f"lb_policy {name} is not supported")


def _extension_policy(message: Any, notes: list[str]) -> LbPolicy:
    """The first policy of the list that is known decides (A52)."""
    seen = []
    for policy in message.policies:
        kind = type_name(policy.typed_extension_config.typed_config.type_url)
        short = kind.removeprefix(_LB_EXTENSIONS)
        if short in _EXACT_EXTENSIONS:
            return _EXACT_EXTENSIONS[short]
        if short in _NEAR_EXTENSIONS:
            notes.append(f"load_balancing_policy {short} is not implemented; ROUND_ROBIN is used")
            return LbPolicy.ROUND_ROBIN
        seen.append(kind)
    raise Refused(f"load_balancing_policy: none of {seen} is supported")


def _max_requests(breakers: Any) -> int:
    for threshold in breakers.thresholds:
        if threshold.priority == _DEFAULT_PRIORITY and threshold.HasField("max_requests"):
            return int(threshold.max_requests.value)
    return DEFAULT_MAX_REQUESTS


def _name(enum: Any, number: int) -> str:
    try:
        return str(enum.Name(number))
    except ValueError:
        return str(number)


decode_cluster = decoder("CDS", _Proto, lambda message: message.name, _cluster)
"""Bytes of an envoy.config.cluster.v3.Cluster to :class:`~pyrpc_xds.model.cluster.Cluster`.

:raises ResourceInvalid: it is not, or breaks a rule.
"""

decode_sidecar_cluster = decoder("CDS", _Proto, lambda message: message.name, _sidecar_cluster)
"""The same for a sidecar's Cluster, which may say TLS for some of its endpoints: those are told apart by
:mod:`pyrpc_xds.xds.transport_socket`.

:raises ResourceInvalid: as :data:`decode_cluster`.
"""
