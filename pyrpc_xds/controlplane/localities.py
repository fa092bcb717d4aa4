"""Where endpoints are, as seen from a node, and in which order of priority it falls back on them.

Source: istiod's answers. Falling back needs a way to see that endpoints fail, so there are priorities only
where a DestinationRule asks for outlier detection, and only for a node that says where it is.
"""

from __future__ import annotations

from .envoy import Locality, LocalityLbEndpoints
from .policies import TrafficPolicy

_OTHER_REGION, _NOT_THE_FAILOVER_REGION = 3, 4


def parse_locality(text: str) -> Locality:
    """The locality of ``region/zone/sub-zone``, of which later parts may be missing."""
    region, zone, sub_zone = [*text.split("/"), "", ""][:3]
    return Locality(region=region, zone=zone, sub_zone=sub_zone)


def prioritise(
    parts: list[LocalityLbEndpoints], own: tuple[str, str, str], policy: TrafficPolicy | None
) -> None:
    """Set the priority of each locality, from 0 for the node's own, without gaps.

    :param own: region, zone and sub-zone of the node; all empty where it does not say.
    :param policy: the traffic policy of the cluster.
    """
    if policy is None or not policy.outlier_detection or not any(own):
        return
    balancer = policy.load_balancer
    if balancer is not None and not balancer.by_locality:
        return
    failover = dict(reversed(balancer.failover)) if balancer is not None else {}
    ranks = [_rank(part.locality or Locality(), own, failover) for part in parts]
    order = sorted(set(ranks))
    for part, rank in zip(parts, ranks, strict=True):
        part.priority = order.index(rank)


def _rank(locality: Locality, own: tuple[str, str, str], failover: dict[str, str]) -> int:
    """0 in the same sub-zone, 1 in the zone, 2 in the region; elsewhere 3, or 4 if failover goes elsewhere."""
    region, zone, sub_zone = own
    if locality.region != region:
        wanted = failover.get(region)
        return _OTHER_REGION if wanted is None or wanted == locality.region else _NOT_THE_FAILOVER_REGION
    if locality.zone != zone:
        return 2
    return 0 if locality.sub_zone == sub_zone else 1
