"""One version of everything: the mesh, and the resources made from it, encoded, as they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from .clusters import build_cluster
from .endpoints import build_endpoints
from .listeners import build_listeners
from .meta import Meta
from .names import CLUSTER_DOMAIN, NodeView, cluster_name, host_port
from .registry import Mesh
from .resources import (
    Destination,
    HttpMatch,
    HttpRoute,
    MatchKind,
    Resolution,
    ServiceEntry,
    ServiceEntryPort,
    StringMatch,
    VirtualService,
    WeightedDestination,
    Workload,
)
from .routes import build_routes
from .wire import CLUSTER, ENDPOINT, LISTENER, ROUTE, encoded


def warm_up() -> None:
    """Build one resource of each type, so that the first client need not wait for it.

    The library works out each message class when it is first used, which takes about a second in all.
    """
    node = NodeView("default", f"default.svc.{CLUSTER_DOMAIN}", addresses=("127.0.0.1",))
    entry = ServiceEntry(
        meta=Meta("ServiceEntry", "default", "warm-up"),
        hosts=("warm-up",),
        ports=(ServiceEntryPort("http", 80, "HTTP"),),
        resolution=Resolution.STATIC,
        endpoints=(Workload("127.0.0.1"),),
    )
    matches = (HttpMatch(headers=(("name", StringMatch(MatchKind.EXACT, "value")),)),)
    cluster = cluster_name("", "warm-up", 80)
    to = (WeightedDestination(Destination("warm-up"), 1),)
    routes = (HttpRoute(match=matches, route=to + to), HttpRoute(route=to))
    virtual_service = VirtualService(Meta("VirtualService", "default", "warm-up"), ("warm-up",), routes)
    snapshot = Snapshot(Mesh((entry, virtual_service)), "")
    for type_url, name in (
        (LISTENER, "warm-up:80"),
        (ROUTE, cluster),
        (CLUSTER, cluster),
        (ENDPOINT, cluster),
    ):
        snapshot.resources(type_url, node, name)


class Snapshot:
    """An immutable mesh under one version.

    Resources are generated and encoded once for each kind of node that asks, and kept as long as the
    snapshot: streams of equal nodes share the bytes.

    :param version: what responses carry as their version.
    """

    def __init__(self, mesh: Mesh, version: str) -> None:
        self.mesh = mesh
        self.version = version
        self._encoded: dict[tuple[str, NodeView, str], Mapping[str, bytes]] = {}
        self._lock = threading.Lock()

    def resources(self, type_url: str, node: NodeView, name: str) -> Mapping[str, bytes]:
        """The encoded resources that ``name`` stands for, by their own names; none if there is nothing.

        A listener name without a port stands for one listener for each port of the host; every other name
        stands for itself.
        """
        key = (type_url, node, name)
        found = self._encoded.get(key)
        if found is None:
            with self._lock:
                found = self._encoded.get(key)
                if found is None:
                    found = self._encoded[key] = self._encode(type_url, node, name)
        return found

    def every_name(self, type_url: str, node: NodeView) -> tuple[str, ...]:
        """What an empty subscription stands for: all listeners of a node; nothing for other types."""
        if type_url != LISTENER:
            return ()
        services = self.mesh.scope(node.namespace).services
        return tuple(
            host_port(host, port.number)
            for host, service in sorted(services.items())
            for port in service.ports
        )

    def _encode(self, type_url: str, node: NodeView, name: str) -> Mapping[str, bytes]:
        if type_url == LISTENER:
            listeners = build_listeners(self.mesh, node, name)
            return {key: encoded(listener) for key, listener in listeners.items()}
        if type_url == ROUTE:
            routes = build_routes(self.mesh, node, name)
            return {} if routes is None else {name: encoded(routes)}
        if type_url == CLUSTER:
            cluster = build_cluster(self.mesh, node, name)
            return {} if cluster is None else {name: encoded(cluster)}
        if type_url == ENDPOINT:
            return {name: encoded(build_endpoints(self.mesh, node, name))}
        return {}
