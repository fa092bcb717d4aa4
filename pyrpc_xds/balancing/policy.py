"""From a cluster's configuration to the compiled picker that chooses its endpoints' addresses."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Protocol

from .._picker import (
    LocalityPicker,
    Picker,
    RandomPicker,
    Rng,
    RoundRobinPicker,
    SinglePicker,
    WeightedPicker,
    WeightedRoundRobinPicker,
)
from ..model.cluster import LbPolicy
from ..model.endpoint import Endpoint, Locality
from ..model.snapshot import ClusterConfig

_ADDRESS = itemgetter(Endpoint._fields.index("address"))
_WEIGHT = itemgetter(Endpoint._fields.index("weight"))


class AddressPicker(Protocol):
    """Picks an address; see ``ext/_picker.py``."""

    def pick(self) -> str: ...


def build_picker(config: ClusterConfig, rng: Rng) -> AddressPicker:
    """The picker over the most preferred priority that has endpoints (gRFC A27).

    Localities of that priority share by weight; inside a locality the cluster's policy decides.

    :param config: has at least one endpoint.
    :param rng: drawn from at each random choice; round robin takes its start from it.
    """
    usable = [locality for locality in config.assignment.localities if locality.endpoints]
    priority = min(locality.priority for locality in usable)
    chosen = [locality for locality in usable if locality.priority == priority]
    pickers = [_locality_picker(config.cluster.lb_policy, locality, rng) for locality in chosen]
    picker: AddressPicker
    if len(pickers) == 1:
        picker = pickers[0]
    else:
        picker = LocalityPicker(tuple(pickers), tuple(locality.weight for locality in chosen), rng)
    return picker


def _locality_picker(policy: LbPolicy, locality: Locality, rng: Rng) -> Picker:
    endpoints: Sequence[Endpoint] = locality.endpoints
    addresses, weights = tuple(map(_ADDRESS, endpoints)), tuple(map(_WEIGHT, endpoints))
    if len(addresses) == 1:
        return SinglePicker(addresses)
    even = weights.count(weights[0]) == len(weights)
    if policy is LbPolicy.RANDOM:
        return RandomPicker(addresses, rng) if even else WeightedPicker(addresses, weights, rng)
    start = rng.next()
    return RoundRobinPicker(addresses, start) if even else WeightedRoundRobinPicker(addresses, weights, start)
