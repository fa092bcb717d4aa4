"""The port between the core and the transports.

A transport (Thrift, Triple, yours) is an entry point of the group ``pyrpc_xds.transports``: a class called with
a :class:`Mesh`, reachable afterwards as ``xds.NAME``. It knows nothing of xDS, the core knows nothing of its
protocol, and they meet in the types of this file:

* the transport gives the core a :class:`Connector`: how to make, drain and close what reaches one endpoint;
* the core gives the transport a :class:`Router` per target, whose ``snapshot`` decides each call.

One call, in full::

    snapshot = router.snapshot or router.wait(timeout)      # one read: a call sees one snapshot
    destination = snapshot.route("/pkg.Service/Method", headers)
    seconds = deadline.shorter(destination, timeout)
    endpoint = destination.cluster.pick()
    endpoint.connection ...                                 # the transport's own object
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..model.thrift_form import ThriftForms


class Connection(Protocol):
    """What a transport uses to reach one endpoint: a pool, a channel. Made without I/O, connected at first use."""

    def drain(self) -> None:
        """The endpoint has left the mesh: running calls finish, idle resources are released, nothing new starts."""

    def close(self) -> None:
        """Release everything now. Calling it again does nothing."""


class Connector(Protocol):
    """How a transport reaches endpoints.

    Two routers with the same ``key`` share clusters, endpoints and connections.

    :ivar key: the transport's name and whatever makes its connections incompatible (protocol, framing).
    """

    @property
    def key(self) -> tuple[Any, ...]:
        """See the class."""

    def connect(self, address: str) -> Connection:
        """The connection for ``address`` (``host:port``, ``[v6]:port``, ``unix:PATH``); no I/O here."""


class LiveEndpoint(Protocol):
    """An endpoint in use: shared by every cluster and snapshot that names its address, until EDS drops it."""

    @property
    def address(self) -> str:
        """``host:port``, ``[v6]:port`` or ``unix:PATH``."""

    @property
    def connection(self) -> Any:
        """What the connector made for the address; made on the first read."""

    def failed(self) -> None:
        """It could not be reached: picked last for a while (health by use)."""

    def succeeded(self) -> None:
        """It answered: forget failures."""


class LiveCluster(Protocol):
    """A cluster in use. Its picker follows EDS; its identity follows its name.

    :ivar thrift_forms: the form of Thrift messages that the control plane gives, for every address; ``None``: it gives
        none, which is usual.
    """

    thrift_forms: ThriftForms | None

    @property
    def name(self) -> str:
        """The xDS cluster name."""

    def pick(self, tried: LiveEndpoint | None = None) -> Any:
        """The endpoint (:class:`LiveEndpoint`) for one attempt.

        :param tried: an endpoint to avoid where there is another.
        :raises Unavailable: there is none; the text says why.
        """


class Destination(Protocol):
    """Where a route sends a call, with what the route says about it. Made when the snapshot is compiled.

    :ivar timeout: seconds, or ``None``.
    :ivar cap_only: ``timeout`` only caps a deadline that the caller gave (gRFC A31).
    """

    timeout: float | None
    cap_only: bool

    @property
    def cluster(self) -> LiveCluster:
        """The chosen cluster."""


class Snapshot(Protocol):
    """One complete configuration of one target, immutable."""

    def route(self, path: str, headers: Mapping[str, str]) -> Destination:
        """Decide a call.

        :param path: ``/package.Service/Method``.
        :param headers: lower-case names; several values of one name joined by ``,`` (gRFC A28).
        :raises Unavailable: no route matches, or the matching route cannot carry a call.
        """


class Router(Protocol):
    """Decides the calls of one target.

    :ivar snapshot: the newest complete configuration; ``None`` until the first one. Read it once per call.
    :ivar closed: by whoever had it, or with the client of the mesh.
    """

    snapshot: Snapshot | None
    closed: bool

    @property
    def authority(self) -> str:
        """``host:port`` of the target."""

    def wait(self, timeout: float | None) -> Snapshot:
        """Block for the first configuration.

        :param timeout: seconds; ``None``: the client's default.
        :raises DeadlineExceeded: it did not come in time; the text has the last xDS error.
        :raises Unavailable: the control plane said that the target does not exist.
        """

    async def wait_async(self, timeout: float | None) -> Snapshot:
        """:meth:`wait` for a running event loop; any loop, any number of them."""

    def close(self) -> None:
        """Stop following the target. Connections that no other router uses are drained."""


class Mesh(Protocol):
    """What the core offers a transport, which keeps it for as long as anything that it made is used: a mesh that
    is dropped closes its routers."""

    @property
    def workload(self) -> str:
        """What calls of this process come from; empty where nothing says it."""

    def router(self, target: str, connector: Connector) -> Router:
        """Follow a target: ``xds:///host:port``, ``host:port`` (not looked up in xDS) or ``direct:///ip:port``.

        :raises UsageError: the target has another form, or the client is closed.
        """

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the client closes, before its routers."""


class Transport(Protocol):
    """The class that an entry point names is called with the mesh and returns this."""

    def __init__(self, mesh: Mesh) -> None: ...
