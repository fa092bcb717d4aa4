"""Follower: carries one target's configuration from the driver's thread to its router."""

from __future__ import annotations

import logging

from .balancing.cluster import LiveClusters
from .bootstrap import Mode
from .model.route import RouteConfiguration, VirtualHost
from .model.snapshot import MeshSnapshot
from .routing.router import Router
from .routing.snapshot import CompiledSnapshot, cluster_names, compile_snapshot, release_clusters
from .routing.table import choose_virtual_host
from .xds.dependency import Callbacks, DependencyManager, TargetManager
from .xds.driver import AdsDriver

_log = logging.getLogger("pyrpc_xds.xds")


class Follower:
    """Keeps ``router`` up to date until it is closed.

    Its methods run on the driver's thread, except where they say otherwise.

    :param thrift: the target's calls are Thrift, for which a sidecar's ThriftProxy filters are.
    """

    def __init__(
        self, router: Router, clusters: LiveClusters, driver: AdsDriver, *, thrift: bool = True
    ) -> None:
        self.router = router
        self._thrift = thrift
        self.clusters = clusters
        self._driver = driver
        self._manager: TargetManager | None = None
        # What the router shows, or showed last: whose clusters are ours to release.
        self._published: CompiledSnapshot | None = None
        self._closed = False
        self._started = False
        router.awaited = self._awaited

    def start(self) -> None:
        """Begin, soon. Any thread."""
        self._started = True
        if self._driver.bootstrap.mode is Mode.SIDECAR:
            # Not on the driver's thread: a fork in the middle of its import would leave the child half a module.
            from .xds import sidecar  # noqa: F401
        self._driver.call(self._follow)

    def _follow(self) -> None:
        if self._closed or self._manager is not None:
            return
        authority = self.router.authority
        callbacks = Callbacks(
            clusters_of=lambda config: cluster_names(config, authority), publish=self.publish, fail=self._fail
        )
        bootstrap = self._driver.bootstrap
        if bootstrap.mode is Mode.SIDECAR:
            from .xds.sidecar import Place, SidecarManager

            self._manager = SidecarManager(
                self._driver,
                authority,
                Place.of_node(bootstrap.node.id, bootstrap.node.metadata.get("NAMESPACE")),
                thrift=self._thrift,
                choose=_chosen,
                later=self._driver.call_later,
                **callbacks,
            )
        else:
            self._manager = DependencyManager(self._driver, authority, **callbacks)
        self.settle()

    def settle(self) -> None:
        """The driver has nothing more to say for now."""
        if self._manager is not None:
            try:
                self._manager.settle()
            except Exception as error:  # a defect of ours must cost this target its update, not others theirs
                _log.exception("the configuration of %s could not be compiled", self.router.authority)
                if self.router.snapshot is None:
                    self.router.fail(
                        f"its configuration could not be compiled: {type(error).__name__}: {error}"
                    )

    def _awaited(self) -> str | None:
        """What the control plane has not sent, although it is connected to. Any thread."""
        manager, driver = self._manager, self._driver
        missing = manager.awaited() if manager is not None and driver.connected else ""
        return f"connected to {driver.server.uri}, which has not sent {missing}" if missing else None

    def refuse(self, reason: str) -> None:
        """There will be no configuration as things are: calls that wait for the first one need not."""
        if self._started and self.router.snapshot is None and not self.router.failure:
            self.router.fail(reason)

    def publish(self, config: MeshSnapshot) -> None:
        """Compile ``config`` and let calls see it. For a target that is not in xDS: any thread."""
        last = self._published
        self._published = compile_snapshot(self.router.authority, config, self.clusters, last)
        self.router.publish(self._published)
        if last is not None:
            release_clusters(self.clusters, last, self._published)

    def _fail(self, reason: str) -> None:
        self.router.fail(reason)
        self._release()

    def _release(self) -> None:
        last, self._published = self._published, None
        if last is not None:
            release_clusters(self.clusters, last, None)

    def close(self) -> None:
        """Unsubscribe, and give up the clusters. Where the driver does not run: any thread."""
        self._closed = True
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        self._release()

    def after_fork(self) -> None:
        """In a forked child, in its only thread: what the driver was told is forgotten, the configuration is not."""
        # What was told to the driver may not have been done yet: only whether it was told counts.
        self._manager = None
        self.router.after_fork(self.start if self._started else None)


def _chosen(config: RouteConfiguration, authority: str) -> tuple[str, VirtualHost] | None:
    chosen = choose_virtual_host(config, authority)
    return (chosen.domain, chosen.host) if chosen else None
