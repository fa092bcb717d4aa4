"""The entry point: Thrift clients and servers of one mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...arguments import COUNT, FLAG, MIDDLEWARE, SECONDS, TARGET, TEXT, TEXTS, Kind, object_of, require
from ...errors import UsageError
from ..address import split
from ..base import Mesh
from .aio import AioCaller, AioThriftClient
from .aio_server import AioThriftServer
from .client import Caller, ThriftClient
from .connector import AioThriftConnector, ThriftConnector
from .learned import Forms
from .limits import Limits, PoolLimits, ServerLimits
from .middleware import AsyncMiddleware, Middleware, check_middleware
from .processor import Processor
from .server import ThriftServer
from .service import check_handler, checked_name, describe
from .wire import Accepted

_CLIENT = {
    "target": TARGET,
    "timeout": SECONDS,
    "package": TEXT,
    "limits": object_of(Limits, "Limits(frame=1_000_000)"),
    "pool": object_of(PoolLimits, "PoolLimits(connections=8)"),
    "middleware": MIDDLEWARE,
    "multiplexed_service": TEXT,
    "workload": TEXT,
}
_SERVER = {
    "labels": TEXTS,
    "workers": COUNT,
    "limits": object_of(ServerLimits, "ServerLimits(connections=100)"),
    "expose_errors": FLAG,
    "middleware": MIDDLEWARE,
    "services": Kind(
        "a mapping of names to pairs of a service and its handler",
        "{'Clock': (clock_thrift.Clock, ClockHandler())}",
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value.values())
        ),
    ),
}


class ThriftTransport:
    """Thrift over thriftpy2: ``xds.thrift`` of a client of the mesh::

        greeter = xds.thrift.client(greeter_thrift.Greeter, "xds:///greeter.default.svc.cluster.local:9090")
        greeter.SayHello(request)

        with xds.thrift.server(greeter_thrift.Greeter, Handler(), "0.0.0.0:9090") as server:
            server.serve()

    The service comes from an IDL that thriftpy2 loaded. ``aio_client`` and ``aio_server`` take the arguments of
    ``client`` and ``server``; what they give is awaited. Wrong arguments are a :class:`pyrpc_xds.UsageError`.

    :param mesh: what decides where calls go.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def _workload(self, given: str | None) -> str:
        # A mesh need not know: it is only told to servers.
        return self._mesh.workload if given is None else given

    def client(
        self,
        service: Any,
        target: str,
        *,
        framing: str | None = None,
        protocol: str | None = None,
        package: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
        pool: PoolLimits | None = None,
        proto_factory: Any = None,
        trans_factory: Any = None,
        middleware: Sequence[Middleware] = (),
        multiplexed_service: str | None = None,
        workload: str | None = None,
    ) -> ThriftClient:
        """A client with one method per IDL method, as ``thriftpy2.rpc.make_client`` makes it. Connects when
        called.

        :param service: a service that thriftpy2 loaded from an IDL, such as ``greeter_thrift.Greeter``.
        :param target: ``xds:///host:port``, ``host:port`` or ``direct:///ip:port``.
        :param framing: ``framed``, ``buffered``, ``ttheader`` or ``ttheader-framed`` (Kitex's, with metainfo),
            ``theader`` or ``theader-zlib`` (Apache Thrift's). The first two have no room for attachments: those
            route the call and go no further. ``None``: what the control plane says of the endpoint, else of its
            cluster, else ``buffered``.
        :param protocol: ``binary``, ``lax-binary`` (without a version; not in ``ttheader``) or ``compact`` (in
            thriftpy2 compact is pure Python, several times slower; Kitex does not speak it). ``None``: as ``framing``,
            else ``binary``.
        :param package: of the path ``/package.Service/Method`` that routes match; by default the IDL's
            ``namespace py``, else ``*``, ``go``, ``java``, else none: ``/Service/Method``.
        :param timeout: seconds for each call (thriftpy2 counts milliseconds), ``math.inf``: no limit; the route's
            timeout counts where it is shorter, and :attr:`PoolLimits.call_timeout` where there is neither.
        :param limits: on the answers of servers; ``frame`` on requests as well.
        :param pool: limits on connections, per endpoint.
        :param proto_factory: one of thriftpy2's, instead of ``protocol``.
        :param trans_factory: one of thriftpy2's, instead of ``framing``.
        :param middleware: around each call, the first outermost (:mod:`.middleware`).
        :param multiplexed_service: the name of the service on a server that has several on one port (Apache Thrift's
            TMultiplexedProtocol).
        :param workload: what the calls say they come from (TTHeader); by default what the mesh knows of this
            process.
        :raises UsageError: an argument cannot be served; :class:`ClosedError`: the client of the mesh is closed.
        """
        require("xds.thrift.client", _CLIENT, locals())
        check_middleware("xds.thrift.client", middleware)
        forms = Forms(framing, protocol, proto_factory, trans_factory)
        described = describe(service, package, multiplexed_service)
        connector = ThriftConnector(forms.usual, limits or Limits(), checked_pool(pool, forms))
        caller = Caller(
            described,
            target,
            self._mesh.router(target, connector),
            connector,
            self._workload(workload),
            middleware,
            forms,
        )
        caller.mesh = self._mesh
        return ThriftClient(caller, timeout)

    def aio_client(
        self,
        service: Any,
        target: str,
        *,
        framing: str | None = None,
        protocol: str | None = None,
        package: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
        pool: PoolLimits | None = None,
        proto_factory: Any = None,
        trans_factory: Any = None,
        middleware: Sequence[AsyncMiddleware] = (),
        multiplexed_service: str | None = None,
        workload: str | None = None,
    ) -> AioThriftClient:
        """The asyncio twin of :meth:`client`, with the same arguments; its methods are awaited."""
        require("xds.thrift.aio_client", _CLIENT, locals())
        forms = Forms(framing, protocol, proto_factory, trans_factory)
        described = describe(service, package, multiplexed_service)
        connector = AioThriftConnector(forms.usual, limits or Limits(), checked_pool(pool, forms))
        caller = AioCaller(
            described,
            target,
            self._mesh.router(target, connector),
            connector,
            self._workload(workload),
            middleware,
            forms,
        )
        caller.mesh = self._mesh
        return AioThriftClient(caller, timeout)

    def server(
        self,
        service: Any,
        handler: object,
        address: str,
        *,
        framing: str = "auto",
        protocol: str = "auto",
        labels: Mapping[str, str] | None = None,
        workers: int = 32,
        limits: ServerLimits | None = None,
        expose_errors: bool = False,
        middleware: Sequence[Middleware] = (),
        services: Mapping[str, tuple[Any, object]] | None = None,
    ) -> ThriftServer:
        """A server; call ``start()`` or ``serve()``. It stops when the mesh client closes.

        :param service: as for :meth:`client`.
        :param handler: an object with a method per IDL method, inherited services' included.
        :param address: ``host:port`` (port 0: any free one, see ``.address``), ``[v6]:port`` or
            ``unix:PATH``.
        :param framing: one of :meth:`client`'s, or ``auto``: any, found out from each connection's first bytes
            (:class:`.wire.Accepted`).
        :param protocol: ``binary`` (with or without a version), ``compact`` or ``auto``.
        :param labels: of this workload, such as its version.
        :param workers: handlers running at a time.
        :param limits: on connections and on what clients send.
        :param expose_errors: see :class:`Processor`.
        :param middleware: around each handler, the first outermost (:mod:`.middleware`).
        :param services: more services for clients that multiplex (Apache Thrift's TMultiplexedProtocol): by the name
            that they use, the service and its handler.
        :raises UsageError: an argument cannot be served, or ``handler`` lacks methods of the service;
            :class:`ClosedError`: the client of the mesh is closed. Binding is :meth:`ThriftServer.start`'s.
        """
        require("xds.thrift.server", _SERVER, locals())
        check_middleware("xds.thrift.server", middleware)
        split(address)
        _check_handlers(service, handler, services, coroutines=False)
        server = ThriftServer(
            Processor(describe(service), handler, expose_errors, services, middleware),
            address,
            Accepted(framing, protocol),
            labels or {},
            workers,
            limits or ServerLimits(),
        )
        self._mesh.on_close(server.stop)
        return server

    def aio_server(
        self,
        service: Any,
        handler: object,
        address: str,
        *,
        framing: str = "auto",
        protocol: str = "auto",
        labels: Mapping[str, str] | None = None,
        workers: int = 32,
        limits: ServerLimits | None = None,
        expose_errors: bool = False,
        middleware: Sequence[AsyncMiddleware] = (),
        services: Mapping[str, tuple[Any, object]] | None = None,
    ) -> AioThriftServer:
        """The asyncio twin of :meth:`server`, with the same arguments; ``await`` its methods.

        :param handler: its coroutine methods run in the loop, others in ``workers`` threads.
        """
        require("xds.thrift.aio_server", _SERVER, locals())
        split(address)
        _check_handlers(service, handler, services, coroutines=True)
        server = AioThriftServer(
            Processor(describe(service), handler, expose_errors, services, middleware),
            address,
            Accepted(framing, protocol),
            labels or {},
            workers,
            limits or ServerLimits(),
        )
        self._mesh.on_close(server.stop_soon)
        return server


def _check_handlers(
    service: Any, handler: object, services: Mapping[str, tuple[Any, object]] | None, coroutines: bool
) -> None:
    """:raises UsageError: a handler cannot serve its service, or a name is none that a service can have."""
    for name in services or ():
        checked_name(name)
    for each, implementation in ((service, handler), *(services or {}).values()):
        check_handler(describe(each), implementation, coroutines)


def checked_pool(pool: PoolLimits | None, forms: Forms) -> PoolLimits:
    """:raises UsageError: calls are to share connections, and the transport cannot tell their answers apart."""
    if pool is not None and pool.multiplexed and forms.usual.header != "ttheader" and not forms.framing_open:
        raise UsageError(
            f"multiplexed={pool.multiplexed}: only ttheader and ttheader-framed have it, not {forms.usual}"
        )
    return pool or PoolLimits()
