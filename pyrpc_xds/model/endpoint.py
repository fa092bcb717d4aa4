"""ClusterLoadAssignment (EDS): localities and their endpoints."""

from __future__ import annotations

from dataclasses import field
from typing import NamedTuple

from ..frozen import frozen
from .thrift_form import ThriftForm


class Endpoint(NamedTuple):
    """One address that can take calls. A named tuple: an EDS push makes tens of thousands of them.

    :param address: ``host:port``, ``[v6]:port`` or ``unix:PATH``.
    :param weight: relative to the other endpoints of the locality.
    """

    address: str
    weight: int = 1


class Locality(NamedTuple):
    """Endpoints of one place.

    :param name: ``region/zone/sub_zone``.
    :param weight: relative to the localities of the same priority; never 0.
    :param priority: 0 is used first.
    :param endpoints: the usable ones only (HEALTHY or UNKNOWN, gRFC A27).
    """

    name: str
    weight: int
    priority: int
    endpoints: tuple[Endpoint, ...]


@frozen
class ClusterLoadAssignment:
    """EDS. Priorities are dense from 0 (gRFC A27).

    :param socket_labels: by address, what ``transport_socket_matches`` of the cluster look at, for the endpoints
        that have any (the metadata ``envoy.transport_socket_match``). Only read in sidecar mode.
    :param thrift_forms: by address, the form of Thrift messages, for the endpoints of which EDS says it.
    """

    name: str
    localities: tuple[Locality, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    socket_labels: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    thrift_forms: tuple[tuple[str, ThriftForm], ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every usable endpoint, in order of priority and locality."""
        return tuple(
            endpoint
            for locality in sorted(self.localities, key=lambda locality: locality.priority)
            for endpoint in locality.endpoints
        )
