"""Core: what a client follows, and all that its background thread refers to.

It never refers to the :class:`~pyrpc_xds.client.XdsClient`, which may therefore be dropped by the application and
collected, although the thread runs.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from functools import partial
from typing import Any

from ._picker import Rng
from ._version import __version__
from .balancing.cluster import LiveClusters
from .balancing.endpoint import LiveEndpoint
from .bootstrap import Bootstrap
from .errors import ClosedError
from .follower import Follower
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
from .transports.base import Connector
from .xds.driver import AdsDriver, breathe
from .xds.names import Target, TargetKind, parse_target

# A call may have read the snapshot before the one that dropped its endpoint; after this many seconds none has.
LINGER = 5.0


class Core:
    """The routers of one client, their clusters and endpoints, and the driver that they are kept up to date by.

    :param ready_timeout: seconds that a call without a deadline of its own waits for the first configuration.
    :raises ConfigError: the node's metadata cannot be sent.
    """

    def __init__(self, bootstrap: Bootstrap, ready_timeout: float) -> None:
        self.driver = AdsDriver(bootstrap, user_agent_version=__version__)
        self.driver.on_settled(self._settle)
        self._ready_timeout = ready_timeout
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._closed = False
        self._clusters: dict[tuple[Any, ...], LiveClusters] = {}
        self._followers: dict[Router, Follower] = {}
        # Out of the mesh, not drained yet. Changed on the driver's thread, and here once that has ended.
        self._retired: set[LiveEndpoint] = set()
        # Reseeded in a forked child, which would otherwise choose as its parent does.
        self._rng = Rng(_seed())
        _cores.add(self)

    @property
    def routers(self) -> list[Router]:
        """Of the targets that are followed, at this moment."""
        return list(self._followers)

    def router(self, target: str, connector: Connector) -> Router:
        """Follow a target; see :class:`pyrpc_xds.transports.base.Mesh`.

        :raises UsageError: the target has another form; :class:`ClosedError`: the client is closed.
        """
        parsed = parse_target(target)
        in_xds = parsed.kind is TargetKind.XDS
        router = Router(parsed.authority, self._ready_timeout, self._note if in_xds else _nothing)
        with self._lock:
            if self._closed:
                raise ClosedError(f"{target}: the XdsClient is closed")
            clusters = self._clusters.get(connector.key)
            if clusters is None:
                clusters = LiveClusters(connector, time.monotonic, self._rng, self._retire, breathe)
                self._clusters[connector.key] = clusters
            clusters.routers += 1
            follower = self._followers[router] = Follower(
                router, clusters, self.driver, thrift=connector.key[:1] != ("triple",)
            )
        router.on_close(partial(self._unfollow, follower, connector.key))
        if in_xds:
            follower.start()
        else:
            follower.publish(static_snapshot(parsed))
        return router

    def close(self) -> None:
        """Close the routers, the driver and every connection. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for router in self.routers:
            router.close()
        self.driver.close()
        for clusters in list(self._clusters.values()):
            clusters.close()
        while self._retired:
            self._retired.pop().release(drain=False)

    def abandon(self, who: str) -> None:
        """:meth:`close` for a finalizer, which may run anywhere, whatever its thread is in the middle of: the
        driver's thread does it. Takes no lock, waits for nothing.

        :param who: in the :class:`ResourceWarning`; there is none where nothing runs that would go on.
        """
        if self.driver.running:
            self.driver.abandon(self.close)
            warnings.warn(
                f"unclosed {who}: close() it, or use it in a with block", ResourceWarning, stacklevel=2
            )

    def _settle(self) -> None:
        refusal = self.driver.refusal
        for follower in list(self._followers.values()):
            follower.settle()
            if refusal is not None:
                follower.refuse(refusal)

    def _unfollow(self, follower: Follower, key: tuple[Any, ...]) -> None:
        with self._lock:
            self._followers.pop(follower.router, None)
            follower.clusters.routers -= 1
            if not follower.clusters.routers:
                # Its connector is closed with its last router: the next router brings another.
                self._clusters.pop(key, None)
        if self.driver.running:
            try:
                self.driver.call(follower.close)
                return
            except ClosedError:
                pass  # in between: what it does not do any more is done here
        follower.close()

    def _retire(self, endpoints: list[LiveEndpoint]) -> None:
        def drain() -> None:
            for endpoint in endpoints:
                self._retired.discard(endpoint)
                endpoint.release(drain=True)

        if not endpoints:
            return
        if self.driver.running:
            self._retired.update(endpoints)
            try:
                self.driver.call_later(LINGER, drain)
                return
            except ClosedError:
                pass
        drain()  # nothing but targets that never change, or closed: the router that had these is, too

    def _note(self) -> str | None:
        return self.driver.last_error

    def after_fork(self) -> None:
        """In a forked child, in its only thread: routers and their configuration stay, connections do not."""
        self._lock = threading.Lock()
        self._rng.seed(_seed())
        for clusters in self._clusters.values():
            clusters.after_fork()
        for follower in self._followers.values():
            follower.after_fork()


def _seed() -> int:
    return int.from_bytes(os.urandom(8))


def _nothing() -> None:
    return None


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


_cores: weakref.WeakSet[Core] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for core in list(_cores):
        core.after_fork()


# Locks that another thread of the parent held would stay held in the child for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
