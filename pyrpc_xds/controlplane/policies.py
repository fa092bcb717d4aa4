"""How calls to a host are spread and protected: the DestinationRule and its parts, as frozen values.

Sources: Istio's networking API (DestinationRule, TrafficPolicy). Only what reaches a proxyless node is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from .meta import Labels, Meta, no_labels


class HashKey(Enum):
    """What a consistent hash is taken of."""

    HEADER = "httpHeaderName"
    COOKIE = "httpCookie"
    SOURCE_IP = "useSourceIp"
    QUERY = "httpQueryParameterName"


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """``loadBalancer.consistentHash``. ``table`` is (``ringHash`` or ``maglev``, size), where given."""

    key: HashKey | None = None
    name: str = ""
    cookie_path: str = ""
    cookie_ttl: timedelta | None = None
    cookie_attributes: tuple[tuple[str, str], ...] = ()
    minimum_ring_size: int = 0
    table: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """``loadBalancer`` of a traffic policy. ``failover`` are pairs of regions, from and to."""

    simple: str = "UNSPECIFIED"
    consistent_hash: ConsistentHash | None = None
    by_locality: bool = True
    failover: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """The parts of a traffic policy that reach a proxyless node. None means not given."""

    load_balancer: LoadBalancer | None = None
    http2_max_requests: int | None = None
    connection_pool: bool = False
    tls_mode: str | None = None
    outlier_detection: bool = False
    min_health_percent: int = 0
    ports: tuple[tuple[int, TrafficPolicy], ...] = ()


@dataclass(frozen=True, slots=True)
class Subset:
    """A named selection of a host's endpoints."""

    name: str
    labels: Labels = field(default_factory=no_labels)
    policy: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """An Istio DestinationRule; the host is fully qualified."""

    meta: Meta
    host: str
    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: Labels | None = None
