"""A MeshSnapshot compiled for calls: the route table, bound to live clusters."""

from __future__ import annotations

from ..balancing.cluster import LiveCluster, LiveClusters
from ..model.route import ClusterRoute, Route, RouteConfiguration, WeightedCluster
from ..model.snapshot import MeshSnapshot
from .table import RouteTable, choose_virtual_host, clusters_of, compile_route_table


class Destination:
    """One (route, cluster) pair that calls can be sent to (:class:`pyrpc_xds.transports.base.Destination`).

    :param default: the listener's ``max_stream_duration`` in seconds, for a route that says nothing about time.
    """

    __slots__ = ("action", "cap_only", "cluster", "route", "timeout")

    def __init__(
        self, route: Route, action: ClusterRoute, cluster: LiveCluster, default: float | None
    ) -> None:
        self.route = route
        self.action = action
        self.cluster = cluster
        self.timeout = action.timeout if action.timeout_set else default
        self.cap_only = action.cap_only

    def __repr__(self) -> str:
        return f"<Destination {self.cluster.name} by {self.route.name or self.route.match.path.value!r}>"


class CompiledSnapshot:
    """What a call reads once and is decided by.

    :ivar route: the table's own bound method, so that a call goes through no frame of this class.
    """

    __slots__ = ("clusters", "config", "route", "table")

    def __init__(
        self, config: MeshSnapshot, table: RouteTable[Destination], clusters: dict[str, LiveCluster]
    ) -> None:
        self.config = config
        self.table = table
        self.clusters = clusters
        self.route = table.match


def cluster_names(config: RouteConfiguration, authority: str) -> tuple[str, ...]:
    """Every cluster that calls to ``authority`` can be sent to; none where no virtual host serves it."""
    chosen = choose_virtual_host(config, authority)
    return clusters_of(chosen.host.routes) if chosen else ()


def compile_snapshot(
    authority: str, config: MeshSnapshot, clusters: LiveClusters, last: CompiledSnapshot | None
) -> CompiledSnapshot:
    """Compile ``config``, reusing what ``last`` (the snapshot it replaces) has in common with it.

    Acquires the clusters that ``last`` does not have; call :func:`release_clusters` for ``last`` once the new
    snapshot is published. Clusters get their endpoints before the snapshot is returned.
    """
    if (
        last is not None
        and last.config.route_config is config.route_config
        and last.config.listener is config.listener
    ):
        table, live = last.table, last.clusters
    else:
        default = config.listener.max_stream_duration
        live = {}
        for name in config.clusters:
            live[name] = last.clusters[name] if last and name in last.clusters else clusters.acquire(name)

        def bind(route: Route, action: ClusterRoute, cluster: WeightedCluster) -> Destination:
            return Destination(route, action, live[cluster.name], default)

        same_default = last is not None and last.config.listener.max_stream_duration == default
        reusable = last.table if last is not None and same_default else None
        table = compile_route_table(config.route_config, authority, bind, clusters.rng, reusable)
    for name, state in config.clusters.items():
        clusters.apply(name, state)
    return CompiledSnapshot(config, table, live)


def release_clusters(clusters: LiveClusters, old: CompiledSnapshot, new: CompiledSnapshot | None) -> None:
    """Give up the clusters of ``old`` that ``new`` does not have."""
    for name in old.clusters:
        if new is None or name not in new.clusters:
            clusters.release(name)
