"""XdsClient: the one object an application makes. Glues the control plane's words to the calls."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._picker import Rng
from .balancing.cluster import LiveClusters
from .balancing.endpoint import LiveEndpoint
from .bootstrap import Bootstrap
from .errors import Unavailable, UsageError
from .model.cluster import Cluster
from .model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from .model.listener import Listener
from .model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from .model.snapshot import ClusterConfig, MeshSnapshot
from .routing.router import Router
from .routing.snapshot import compile_snapshot, release_clusters
from .routing.table import cluster_names
from .transports.base import Connector
from .xds.dependency import DependencyManager
from .xds.driver import AdsDriver
from .xds.names import Target, TargetKind, parse_target

if TYPE_CHECKING:
    from .transports.thrift import ThriftTransport
    from .transports.triple import TripleTransport

READY_TIMEOUT = 20.0
# A call may have read the snapshot before the one that dropped its endpoint; after this many seconds none has.
LINGER = 5.0


class XdsClient:
    """A member of the mesh.

    One per process is enough: targets share its ADS stream, its clusters and its connections. Nothing is
    connected and no thread is started before the first target is used.

    :param bootstrap: who the control plane is and who we are; ``None``: from the environment.
    :param ready_timeout: seconds that a call without a deadline of its own waits for the first configuration.
    :raises ConfigError: the environment's bootstrap is wrong or missing.
    """

    def __init__(self, bootstrap: Bootstrap | None = None, *, ready_timeout: float = READY_TIMEOUT) -> None:
        self.bootstrap = Bootstrap.from_env() if bootstrap is None else bootstrap
        self._ready_timeout = ready_timeout
        self._driver = AdsDriver(self.bootstrap, settled=self._settle)
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._closed = False
        self._transports: dict[str, Any] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._clusters: dict[tuple[Any, ...], LiveClusters] = {}
        self._routers: dict[Router, DependencyManager | None] = {}
        # Reseeded in a forked child, which would otherwise choose as its parent does.
        self._rng = Rng(secrets.randbits(64))

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        ready_timeout: float = READY_TIMEOUT,
    ) -> Self:
        """The client that the environment describes; the variables are those of :meth:`Bootstrap.from_env`.

        :param labels: added to the labels that the environment gives this workload.
        :raises ConfigError: the bootstrap is wrong or missing; the text says which variable and what to do.
        """
        bootstrap = Bootstrap.from_env(os.environ if environ is None else environ, labels=labels)
        return cls(bootstrap, ready_timeout=ready_timeout)

    # -- what an application uses -----------------------------------------------------------------------------

    @property
    def triple(self) -> TripleTransport:
        """Channels and servers for Triple and gRPC."""
        transport: TripleTransport = self.transport("triple")
        return transport

    @property
    def thrift(self) -> ThriftTransport:
        """Clients and servers for Thrift."""
        transport: ThriftTransport = self.transport("thrift")
        return transport

    def transport(self, name: str) -> Any:
        """The transport of the entry point ``name`` in the group ``pyrpc_xds.transports``.

        :raises UsageError: there is none of that name; the text lists those installed.
        """
        with self._lock:
            transport = self._transports.get(name)
            if transport is None:
                found = entry_points(group="pyrpc_xds.transports", name=name)
                if not found:
                    known = ", ".join(sorted(entry_points(group="pyrpc_xds.transports").names)) or "none"
                    raise UsageError(f"no transport named {name!r} is installed; installed: {known}")
                transport = self._transports[name] = next(iter(found)).load()(self)
            return transport

    def close(self) -> None:
        """Stop following the control plane and close every connection. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        for router in list(self._routers):
            router.close()
        self._driver.close()
        for clusters in self._clusters.values():
            clusters.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def dump(self) -> dict[str, Any]:
        """What the client holds: node, stream, resources with their states, targets. JSON-able."""
        return {
            **self._driver.dump(),
            "targets": [
                {"authority": router.authority, "state": "ready" if router.snapshot else "waiting"}
                for router in list(self._routers)
            ],
        }

    def __repr__(self) -> str:
        return f"<XdsClient {self.bootstrap.node.id} {'closed' if self._closed else f'{len(self._routers)} targets'}>"

    # -- the Mesh that transports see ---------------------------------------------------------------------------

    def router(self, target: str, connector: Connector) -> Router:
        """Follow a target; see :class:`pyrpc_xds.transports.base.Mesh`."""
        parsed = parse_target(target)
        router = Router(parsed.authority, self._ready_timeout, self._note if parsed.kind is TargetKind.XDS else lambda: "")
        with self._lock:
            if self._closed:
                raise UsageError(f"{target}: the XdsClient is closed")
            clusters = self._clusters.get(connector.key)
            if clusters is None:
                clusters = LiveClusters(connector, time.monotonic, self._rng, self._retire)
                self._clusters[connector.key] = clusters
            self._routers[router] = None
        router.on_close(lambda: self._unfollow(router, clusters))
        if parsed.kind is TargetKind.XDS:
            self._driver.call(lambda: self._follow(router, clusters))
        else:
            self._publish(router, clusters, static_snapshot(parsed))
        return router

    def on_close(self, callback: Callable[[], None]) -> None:
        """See :class:`pyrpc_xds.transports.base.Mesh`."""
        with self._lock:
            self._callbacks.append(callback)

    # -- on the driver's thread ---------------------------------------------------------------------------------

    def _follow(self, router: Router, clusters: LiveClusters) -> None:
        manager = DependencyManager(
            self._driver,
            router.authority,
            clusters_of=lambda config: cluster_names(config, router.authority),
            publish=lambda config: self._publish(router, clusters, config),
            fail=lambda reason: self._give_up(router, clusters, reason),
        )
        with self._lock:
            if router not in self._routers:
                manager.close()
                return
            self._routers[router] = manager
        manager.settle()

    def _settle(self) -> None:
        for manager in list(self._routers.values()):
            if manager is not None:
                manager.settle()

    def _publish(self, router: Router, clusters: LiveClusters, config: MeshSnapshot) -> None:
        last = router.snapshot
        try:
            snapshot = compile_snapshot(router.authority, config, clusters, last)
        except Unavailable as error:
            self._give_up(router, clusters, str(error))
            return
        router.publish(snapshot)
        if last is not None:
            release_clusters(clusters, last, snapshot)

    def _give_up(self, router: Router, clusters: LiveClusters, reason: str) -> None:
        last = router.snapshot
        router.fail(reason)
        if last is not None:
            release_clusters(clusters, last, None)

    def _unfollow(self, router: Router, clusters: LiveClusters) -> None:
        with self._lock:
            manager = self._routers.pop(router, None)
        last = router.snapshot

        def release() -> None:
            if manager is not None:
                manager.close()
            if last is not None:
                release_clusters(clusters, last, None)

        if manager is not None:
            self._driver.call(release)
        else:
            release()

    def _retire(self, endpoints: list[LiveEndpoint]) -> None:
        if not endpoints:
            return

        def drain() -> None:
            for endpoint in endpoints:
                endpoint.release(drain=True)

        self._driver.call_later(LINGER, drain)

    def _note(self) -> str:
        return self._driver.last_error


def static_snapshot(target: Target) -> MeshSnapshot:
    """The configuration of a target that is not looked up: one cluster of one endpoint, no rules."""
    name = target.authority
    route = Route(
        RouteMatch(PathMatcher(PathMatch.PREFIX, "")), ClusterRoute((WeightedCluster(name),)), name="direct"
    )
    config = RouteConfiguration(name, (VirtualHost("direct", ("*",), (route,)),))
    assignment = ClusterLoadAssignment(name, (Locality("", 1, 0, (Endpoint(name),)),))
    return MeshSnapshot(
        Listener(name, route_config=config), config, {name: ClusterConfig(Cluster(name, name), assignment)}
    )
