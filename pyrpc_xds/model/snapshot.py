"""The complete configuration of one target: what gRFC A74 calls XdsConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ..frozen import frozen
from .cluster import Cluster
from .endpoint import ClusterLoadAssignment
from .listener import Listener
from .route import RouteConfiguration


@frozen
class ClusterConfig:
    """A cluster with its endpoints, both present."""

    cluster: Cluster
    assignment: ClusterLoadAssignment


@frozen
class ClusterFailure:
    """A cluster that cannot be used; calls routed to it fail with ``reason``, other clusters are not touched."""

    reason: str


ClusterState: TypeAlias = ClusterConfig | ClusterFailure


@frozen
class MeshSnapshot:
    """Listener, routes and every cluster that the routes can choose. Never partial, never changed.

    Parts that an update did not touch are the same objects as in the snapshot before, so whoever compiles it
    compares by identity.
    """

    listener: Listener
    route_config: RouteConfiguration
    clusters: Mapping[str, ClusterState]
