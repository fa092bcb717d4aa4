"""Live clusters: the picker that follows CDS and EDS, shared by every target that routes to the cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import chain
from operator import itemgetter
from typing import Protocol

from .._picker import Rng
from ..errors import Unavailable
from ..model.endpoint import Endpoint
from ..model.snapshot import ClusterConfig, ClusterFailure, ClusterState
from ..model.thrift_form import NOT_SAID, ThriftForms
from ..transports.base import Connector
from .endpoint import LiveEndpoint, LiveEndpoints
from .policy import AddressPicker, build_picker

# How many further picks are spent on finding a healthy endpoint before an unhealthy one is used after all.
MAX_PASSED_OVER = 64
# Endpoints above which calls are let in between the steps of applying an update.
MANY = 200

_ADDRESS = itemgetter(Endpoint._fields.index("address"))


class LiveCluster:
    """A cluster in use.

    Calls hold it through their route, so it outlives its removal from the configuration for as long as they
    need it. ``_picker`` is replaced by one attribute store from the driver's thread.

    :ivar thrift_forms: see :class:`pyrpc_xds.transports.base.LiveCluster`.
    """

    __slots__ = (
        "_clock",
        "_endpoints",
        "_failure",
        "_picker",
        "addresses",
        "name",
        "state",
        "thrift_forms",
    )

    def __init__(self, name: str, endpoints: LiveEndpoints, clock: Callable[[], float]) -> None:
        self.name = name
        self.state: ClusterState | None = None
        self.addresses: frozenset[str] = frozenset()
        self.thrift_forms: ThriftForms | None = None
        self._endpoints = endpoints
        self._clock = clock
        self._picker: AddressPicker | None = None
        self._failure = "is not configured yet"

    def pick(self, tried: LiveEndpoint | None = None) -> LiveEndpoint:
        """The endpoint for one attempt; see :class:`pyrpc_xds.transports.base.LiveCluster`."""
        picker = self._picker
        if picker is None:
            raise Unavailable(f"cluster {self.name} {self._failure}")
        endpoint = self._endpoints[picker.pick()]
        if endpoint.penalized_until or endpoint is tried:
            return self._pick_another(picker, endpoint, tried)
        return endpoint

    def _pick_another(
        self, picker: AddressPicker, first: LiveEndpoint, tried: LiveEndpoint | None
    ) -> LiveEndpoint:
        now = self._clock()
        best, endpoint = first, first
        for _ in range(min(len(self.addresses), MAX_PASSED_OVER)):
            if endpoint is not tried:
                if endpoint.penalized_until <= now:
                    return endpoint
                if best is tried or endpoint.penalized_until < best.penalized_until:
                    best = endpoint
            endpoint = self._endpoints[picker.pick()]
        return best

    def apply(self, state: ClusterState, rng: Rng, breathe: Callable[[], None]) -> None:
        """Follow the configuration.

        :param breathe: called between steps, where there are many endpoints.
        """
        self.state = state
        if isinstance(state, ClusterFailure):
            self._failure = f"cannot be used: {state.reason}"
            self._picker = None
            self.addresses = frozenset()
        else:
            # Not by name: of ten thousand endpoints this is the largest part of what a push costs here.
            self.addresses = frozenset(
                chain.from_iterable(
                    map(_ADDRESS, locality.endpoints) for locality in state.assignment.localities
                )
            )
            self._failure = (
                f"has no usable endpoints (EDS {state.cluster.eds_service_name!r}); "
                "check the pods' readiness and labels, the DestinationRule's subset, and that a ServiceEntry's "
                "resolution is STATIC (DNS and NONE are looked up by nobody)"
            )
            cluster, endpoints = state.cluster.thrift_form, state.assignment.thrift_forms
            said = endpoints or cluster != NOT_SAID
            self.thrift_forms = ThriftForms(cluster, endpoints) if said else None
            if len(self.addresses) > MANY:
                breathe()
            self._picker = build_picker(state, rng) if self.addresses else None
            if len(self.addresses) > MANY:
                breathe()

    def __repr__(self) -> str:
        return f"<LiveCluster {self.name} {len(self.addresses)} endpoints>"


class Retire(Protocol):
    """Takes endpoints that no cluster names any more; releases them when calls that may still pick them are past."""

    def __call__(self, endpoints: list[LiveEndpoint], /) -> None: ...


class LiveClusters:
    """The clusters of every router that reaches endpoints in the same way.

    Changed when the configuration changes, mostly on the driver's thread; never by a call.

    :ivar routers: how many routers use them; the client's to count.
    :param rng: draws for every picker and route table; gives each picker its start, so that clients do not move in
        step.
    :param breathe: lets other threads have the interpreter for a moment.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Callable[[], float],
        rng: Rng,
        retire: Retire,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.routers = 0
        self.rng = rng
        self._clock = clock
        self._retire = retire
        self._breathe = breathe
        self._lock = threading.Lock()
        # Guarded by _lock, except that calls look endpoints up.
        self.endpoints = LiveEndpoints(connector, clock)
        self._clusters: dict[str, LiveCluster] = {}
        self._users: dict[str, int] = {}

    def acquire(self, name: str) -> LiveCluster:
        """The cluster ``name``; :meth:`release` it as often as it was acquired."""
        with self._lock:
            self._users[name] = self._users.get(name, 0) + 1
            cluster = self._clusters.get(name)
            if cluster is None:
                cluster = self._clusters[name] = LiveCluster(name, self.endpoints, self._clock)
            return cluster

    def apply(self, name: str, state: ClusterState) -> None:
        """Bring an acquired cluster up to date; the same cluster and endpoints again do nothing."""
        with self._lock:
            cluster = self._clusters[name]
            if _same(cluster.state, state):
                return
            before = cluster.addresses
            cluster.apply(state, self.rng, self._breathe)
            unused = self._take_out_unused(before, cluster.addresses)
        self._retire(unused)

    def release(self, name: str) -> None:
        """One user less; with the last one the cluster's endpoints are retired, unless another cluster has them."""
        with self._lock:
            self._users[name] -= 1
            if self._users[name]:
                return
            del self._users[name]
            unused = self._take_out_unused(self._clusters.pop(name).addresses, frozenset())
        self._retire(unused)

    def _take_out_unused(self, before: frozenset[str], after: frozenset[str]) -> list[LiveEndpoint]:
        # What has left this cluster and is live, and what calls have made live lately: one that began
        # before a change may have brought an address back. The cost follows the change, not the mesh.
        candidates = {*((before - after) & self.endpoints.keys()), *self.endpoints.recently_made()}
        clusters = self._clusters.values()
        return self.endpoints.retire([a for a in candidates if not any(a in c.addresses for c in clusters)])

    def after_fork(self) -> None:
        """In a forked child: same clusters, new connections."""
        self._lock = threading.Lock()
        for endpoint in self.endpoints.values():
            endpoint.forget()

    def close(self) -> None:
        """Close every connection now."""
        with self._lock:
            live = self.endpoints.retire(list(self.endpoints))
        for endpoint in live:
            endpoint.release(drain=False)


def _same(known: ClusterState | None, state: ClusterState) -> bool:
    """Whether there is nothing to do: targets that share a cluster each bring a state of the same parts."""
    if isinstance(known, ClusterConfig) and isinstance(state, ClusterConfig):
        return known.cluster is state.cluster and known.assignment is state.assignment
    return known == state
