"""Dependencies: joins LDS, RDS, CDS and EDS of one target into complete snapshots (gRFC A74). Sans-IO.

Make before break: while a new route's clusters are on their way, the last complete snapshot stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from typing import Any, Protocol, TypedDict, Unpack

from ..errors import ResourceNotFound, StreamError, XdsError
from ..model.cluster import Cluster
from ..model.endpoint import ClusterLoadAssignment
from ..model.listener import Listener
from ..model.route import RouteConfiguration
from ..model.snapshot import ClusterConfig, ClusterFailure, ClusterState, MeshSnapshot
from .names import SubsetKey
from .transport_socket import plaintext
from .types import CDS, EDS, LDS, RDS, ResourceType

_log = logging.getLogger("pyrpc_xds.xds")

CHECK_TARGET = (
    "check the Service's name, namespace and port, and that the target has the form "
    "xds:///HOST.NAMESPACE.svc.cluster.local:PORT"
)
"""What to do where a target has no listener."""


class Subscriptions(Protocol):
    """The part of the driver that is used here, on the driver's thread."""

    def subscribe(self, kind: ResourceType, name: str, watcher: Any) -> None: ...

    def unsubscribe(self, kind: ResourceType, name: str, watcher: Any) -> None: ...


class Callbacks(TypedDict):
    """The parameters of a :class:`TargetManager`."""

    clusters_of: Callable[[RouteConfiguration], tuple[str, ...]]
    publish: Callable[[MeshSnapshot], None]
    fail: Callable[[str], None]


class Watch:
    """The newest word about one resource: its value, or why there is none. Is its own watcher."""

    __slots__ = ("_changed", "_source", "error", "kind", "name", "value")

    def __init__(
        self, source: Subscriptions, kind: ResourceType, name: str, changed: Callable[[], None]
    ) -> None:
        self.kind = kind
        self.name = name
        self.value: Any = None
        self.error: XdsError | None = None
        self._source = source
        self._changed = changed
        source.subscribe(kind, name, self)

    def on_changed(self, name: str, resource: Any) -> None:
        self.value, self.error = resource, None
        self._changed()

    def on_error(self, name: str, error: XdsError) -> None:
        # That the control plane cannot be reached says nothing about the resource: calls wait for it as they
        # would for a slow answer, for as long as they may (gRFC A57 would fail them at once).
        if not isinstance(error, StreamError):
            self.value, self.error = None, error
            self._changed()

    def on_ambient_error(self, name: str, error: XdsError) -> None:
        """The last good version stays; ``dump`` and error texts read it from the driver."""

    @property
    def awaited(self) -> bool:
        """Whether nothing is known of it."""
        return self.value is None and self.error is None

    def close(self) -> None:
        self._source.unsubscribe(self.kind, self.name, self)


class _ClusterWatch:
    """CDS and EDS of one cluster, and the state made of them, which stays the same object while they do."""

    __slots__ = ("_cds", "_changed", "_eds", "_joined", "_source", "_state")

    def __init__(self, source: Subscriptions, name: str, changed: Callable[[], None]) -> None:
        self._source = source
        self._changed = changed
        self._eds: Watch | None = None
        self._state: ClusterState | None = None
        self._joined: tuple[Cluster, ClusterLoadAssignment] | None = None  # what _state was made of
        self._cds = Watch(source, CDS, name, changed)

    def watches(self) -> tuple[Watch, ...]:
        return (self._cds,) if self._eds is None else (self._cds, self._eds)

    def state(self) -> ClusterState | None:
        """``None`` while something is on its way."""
        cluster: Cluster | None = self._cds.value
        self._follow(cluster.eds_service_name if cluster else None)
        error = self._cds.error or (self._eds.error if self._eds else None)
        if error is not None:
            if not isinstance(self._state, ClusterFailure) or self._state.reason != _explained(error):
                self._state = ClusterFailure(_explained(error))
            self._joined = None
            return self._state
        assignment: ClusterLoadAssignment | None = self._eds.value if self._eds else None
        if cluster is None or assignment is None:
            # A new EDS name of a known cluster: the last state goes on being used.
            return self._state if isinstance(self._state, ClusterConfig) else None
        joined = self._joined
        if joined is None or joined[0] is not cluster or joined[1] is not assignment:
            self._joined = (cluster, assignment)
            self._state = plaintext(cluster, assignment)
        return self._state

    def _follow(self, eds_name: str | None) -> None:
        if self._eds is not None and eds_name is not None and self._eds.name != eds_name:
            self._eds.close()
            self._eds = None
        if self._eds is None and eds_name is not None:
            self._eds = Watch(self._source, EDS, eds_name, self._changed)

    def close(self) -> None:
        self._cds.close()
        if self._eds is not None:
            self._eds.close()


class TargetManager:
    """Follows what one target's routes lead to; subclasses know how to find its routes.

    :param clusters_of: the clusters that calls to the target can be routed to under a RouteConfiguration; none
        where it has no virtual host for the target, and then its calls fail by the routes.
    :param publish: takes each new complete snapshot.
    :param fail: takes the reason where the target cannot be resolved at all.
    """

    def __init__(
        self,
        source: Subscriptions,
        *,
        clusters_of: Callable[[RouteConfiguration], tuple[str, ...]],
        publish: Callable[[MeshSnapshot], None],
        fail: Callable[[str], None],
    ) -> None:
        self._source = source
        self._clusters_of = clusters_of
        self._publish = publish
        self._fail = fail
        self._dirty = True
        self._rds: Watch | None = None
        self._clusters: dict[str, _ClusterWatch] = {}
        self._named: tuple[RouteConfiguration, tuple[str, ...]] | None = None
        self._published: MeshSnapshot | None = None
        # Where the routes in use came from, and new ones that cannot be had, which has been logged.
        self._used: Watch | None = None
        self._lacked: Watch | None = None

    def _touch(self) -> None:
        self._dirty = True

    def awaited(self) -> str:
        """The first resource that nothing is known of, by kind and name; empty: there is none. Any thread."""
        own = (*self._found_by(), *((self._rds,) if self._rds else ()))
        for watch in chain(own, *(each.watches() for each in tuple(self._clusters.values()))):
            if watch.awaited:
                hint = f": {CHECK_TARGET}" if watch.kind is LDS else ""
                return f"{watch.kind.type_url.rpartition('.')[2]} {watch.name} yet{hint}"
        return ""

    def _found_by(self) -> tuple[Watch, ...]:
        """What leads to the routes. Any thread."""
        raise NotImplementedError

    def settle(self) -> None:
        """Called when the session has nothing more to say for now: publish what has become complete."""
        while self._dirty:  # following a new resource may find it cached, which changes things again
            self._dirty = False
            self._advance()

    def _find(self) -> tuple[Listener, RouteConfiguration] | None:
        """The target's listener and routes; ``None``: on their way, or given up."""
        raise NotImplementedError

    def _advance(self) -> None:
        found = self._find()
        if found is None:
            self._refresh()
            return
        listener, config = found
        wanted = self._names(config)
        for name in wanted:
            if name not in self._clusters:
                self._clusters[name] = _ClusterWatch(self._source, name, self._touch)
        states = {name: self._clusters[name].state() for name in wanted}
        complete = {name: state for name, state in states.items() if state is not None}
        if len(complete) == len(wanted):
            for name in self._clusters.keys() - set(wanted):
                self._clusters.pop(name).close()
            self._used = self._rds
            self._offer(MeshSnapshot(listener, config, complete))
        else:
            self._refresh()

    def _refresh(self) -> None:
        """The new routes wait; what happens meanwhile to the endpoints of the old ones does not."""
        last = self._published
        if last is not None:
            refreshed = {name: self._clusters[name].state() or state for name, state in last.clusters.items()}
            self._offer(MeshSnapshot(last.listener, last.route_config, refreshed))

    def _offer(self, snapshot: MeshSnapshot) -> None:
        last = self._published
        if (
            last is None
            or last.listener is not snapshot.listener
            or last.route_config is not snapshot.route_config
            or last.clusters.keys() != snapshot.clusters.keys()
            or any(last.clusters[name] is not state for name, state in snapshot.clusters.items())
        ):
            self._published = snapshot
            self._publish(snapshot)

    def _names(self, config: RouteConfiguration) -> tuple[str, ...]:
        if self._named is None or self._named[0] is not config:
            self._named = (config, self._clusters_of(config))
        return self._named[1]

    def _follow_routes(self, name: str | None) -> None:
        if self._rds is not None and self._rds.name != name:
            self._rds.close()
            self._rds = None
        if self._rds is None and name:
            self._rds = Watch(self._source, RDS, name, self._touch)

    def _lack(self, routes: Watch) -> None:
        """The listener's routes cannot be had. Where it has just moved to them, what there was before them stays:
        no good configuration is lost to a bad one. It does not where these are the routes in use, which a control
        plane with ``fail_on_data_errors`` (gRFC A88) wants dropped.
        """
        last = self._published
        if last is None or self._used is routes:
            self._give_up(str(routes.error))
        elif self._lacked is not routes:
            self._lacked = routes
            _log.warning(
                "%s: %s; the routes %s stay in use", last.listener.name, routes.error, last.route_config.name
            )

    def _give_up(self, reason: str) -> None:
        self._published = None
        self._fail(reason)

    def close(self) -> None:
        """Unsubscribe everything."""
        for watch in (self._rds, *self._clusters.values()):
            if watch is not None:
                watch.close()
        self._rds = None
        self._clusters.clear()


class DependencyManager(TargetManager):
    """Follows one target through the four resource types of a proxyless client.

    :param authority: the listener's name.
    """

    def __init__(self, source: Subscriptions, authority: str, **callbacks: Unpack[Callbacks]) -> None:
        super().__init__(source, **callbacks)
        self._lds = Watch(source, LDS, authority, self._touch)

    def _found_by(self) -> tuple[Watch, ...]:
        return (self._lds,)

    def _find(self) -> tuple[Listener, RouteConfiguration] | None:
        listener: Listener | None = self._lds.value
        if listener is None:
            self._follow_routes(None)
            if self._lds.error is not None:
                self._give_up(_explained(self._lds.error))
            return None
        self._follow_routes(None if listener.route_config else listener.route_config_name)
        if self._rds is not None and self._rds.error is not None:
            self._lack(self._rds)
            return None
        config: RouteConfiguration | None = listener.route_config or (self._rds.value if self._rds else None)
        return None if config is None else (listener, config)

    def close(self) -> None:
        """Unsubscribe everything."""
        self._lds.close()
        super().close()


def _explained(error: XdsError) -> str:
    hint = ""
    if isinstance(error, ResourceNotFound) and error.kind == "LDS":
        hint = f"; the control plane knows no such host and port: {CHECK_TARGET}"
    elif isinstance(error, ResourceNotFound) and error.kind == "CDS" and (key := SubsetKey.parse(error.name)):
        subset = f" or no DestinationRule for it has the subset {key.subset!r}" if key.subset else ""
        hint = f"; a route leads there, and {key.host} has no port {key.port}, is no Service{subset}: correct the route"
    return f"{error}{hint}"
