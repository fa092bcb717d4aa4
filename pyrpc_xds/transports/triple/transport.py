"""TripleTransport: the entry point ``triple``, reachable as ``xds.triple``."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from ...arguments import (
    COUNT,
    FLAG,
    GRACE,
    OPTIONS,
    TARGET,
    TEXT,
    TEXTS,
    Kind,
    all_having,
    object_of,
    require,
)
from ...errors import ClosedError
from ..base import Mesh
from . import application as application_name
from .channel import TripleChannel
from .options import DEFAULT_GRACE, with_codec
from .target import Targets
from .variant import headers
from .weak_sets import members

if TYPE_CHECKING:  # imported by who serves, and by who uses asyncio
    from .aio_channel import AioTripleChannel
    from .aio_server import AioTripleServer
    from .server import TripleServer

_BOTH = {
    "options": OPTIONS,
    "compression": object_of(grpc.Compression, "grpc.Compression.Gzip"),
    "group": TEXT,
    "version": Kind("a str", "'1.0.0'", lambda value: isinstance(value, str)),
}
_CHANNEL = {
    "target": TARGET,
    **_BOTH,
    "application": TEXT,
    "interceptors": all_having(
        "a sequence of grpc's client interceptors",
        "[interceptor]",
        "intercept_unary_unary",
        "intercept_unary_stream",
        "intercept_stream_unary",
        "intercept_stream_stream",
    ),
}
_SERVER = {
    "labels": TEXTS,
    **_BOTH,
    "interceptors": all_having("a sequence of grpc.ServerInterceptor", "[interceptor]", "intercept_service"),
    "handlers": all_having("a sequence of grpc.GenericRpcHandler", "[handler]", "service"),
    "max_workers": COUNT,
    "maximum_concurrent_rpcs": COUNT,
    "grace": GRACE,
    "drain": GRACE,
    "health": FLAG,
    "reflection": FLAG,
}


class TripleTransport:
    """Triple and gRPC over the mesh, with generated stubs and servicers: ``xds.triple`` of a client of the mesh::

        stub = GreeterStub(xds.triple.channel("xds:///greeter.default.svc.cluster.local:20000"))
        stub.SayHello(request, timeout=1.5)

        server = xds.triple.server(address="0.0.0.0:20000")
        add_GreeterServicer_to_server(Greeter(), server)
        server.serve()

    ``aio_channel`` and ``aio_server`` take the arguments of ``channel`` and ``server``, for asyncio. Wrong arguments
    are a :class:`pyrpc_xds.UsageError`.

    :param mesh: the core. When it closes, every open channel is closed.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._targets = Targets(mesh)
        self._workload = mesh.workload
        self._channels: weakref.WeakSet[Any] = weakref.WeakSet()
        self._closed = False
        mesh.on_close(self._close)

    def channel(
        self,
        target: str,
        *,
        options: Iterable[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] = (),
        group: str = "",
        version: str = "",
        application: str | None = None,
        codec: str | None = None,
    ) -> grpc.Channel:
        """A channel to a target: a :class:`grpc.Channel`, so generated stubs work on it unchanged.

        :param target: ``xds:///host:port``, ``direct:///ip:port`` or ``host:port``.
        :param options: grpc channel options for the endpoints' channels, on top of
            :data:`.options.DEFAULTS` and ``grpc.default_authority``.
        :param compression: of what is sent, unless a call says otherwise.
        :param interceptors: as for :func:`grpc.intercept_channel`; they run before the call is routed, so the
            metadata they add is matched.
        :param group: Dubbo's service group: sent with every call as ``tri-service-group``; a route can match it.
        :param version: Dubbo's service version: sent as ``tri-service-version``, likewise.
        :param application: the name of this application: sent as ``tri-consumer-appname``, likewise, which
            :func:`.application.calling_application` shows to handlers; ``None``: what the mesh knows of this process
            (:attr:`pyrpc_xds.bootstrap.Node.workload`); ``""``: nothing is sent.
        :param codec: ``"nghttp2"``: blocking unary calls go over connections of this package on nghttp2, which
            takes about two thirds of grpcio's time (:mod:`.h2`); all others over grpcio still. ``None``: what the
            environment variable ``PYRPC_XDS_TRIPLE_CODEC`` says, or ``"grpcio"``.
        :raises UsageError: an argument is not what is said here; :class:`ClosedError`: the client is closed;
            :class:`ConfigError`: the codec's library is not there.
        """
        require("xds.triple.channel", _CHANNEL, locals())
        channel = TripleChannel(
            self._targets,
            target,
            with_codec(options, codec),
            compression,
            self._said_of_every_call(group, version, application),
        )
        self._channels.add(channel)
        return grpc.intercept_channel(channel, *interceptors) if interceptors else channel

    def aio_channel(
        self,
        target: str,
        *,
        options: Iterable[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] = (),
        group: str = "",
        version: str = "",
        application: str | None = None,
    ) -> AioTripleChannel:
        """As :meth:`channel`, for asyncio: a :class:`grpc.aio.Channel`.

        :param interceptors: grpc.aio's ``*ClientInterceptor`` objects; they run before the call is routed.
        :raises UsageError: an argument is not what is said here; :class:`ClosedError`: the client is closed.
        """
        require("xds.triple.aio_channel", _CHANNEL, locals())
        from .aio_channel import AioTripleChannel

        channel = AioTripleChannel(
            self._targets,
            target,
            tuple(options or ()),
            compression,
            interceptors,
            self._said_of_every_call(group, version, application),
        )
        self._channels.add(channel)
        return channel

    def server(
        self,
        *,
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Iterable[tuple[str, Any]] | None = None,
        interceptors: Sequence[Any] = (),
        handlers: Sequence[Any] | None = None,
        max_workers: int | None = None,
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        grace: float = DEFAULT_GRACE,
        drain: float = 0.0,
        group: str = "",
        version: str = "",
        health: bool | None = None,
        reflection: bool | None = None,
        codec: str | None = None,
    ) -> TripleServer:
        """A server: a :class:`grpc.Server`, so generated ``add_XServicer_to_server`` functions work on it.

        :param address: where to listen, ``host:port`` (port 0: any free one; see :attr:`TripleServer.port`);
            ``None``: nowhere until :meth:`TripleServer.add_insecure_port`.
        :param labels: version labels, kept as :attr:`TripleServer.labels`.
        :param options: grpc channel options.
        :param interceptors: :class:`grpc.ServerInterceptor` objects.
        :param handlers: :class:`grpc.GenericRpcHandler` objects.
        :param max_workers: threads that run handlers (a stream holds one); ``None``: processors + 4, at
            most 32.
        :param maximum_concurrent_rpcs: calls beyond it are refused as RESOURCE_EXHAUSTED, those of HTTP ports
            included; ``None``: no limit.
        :param compression: of what is sent, unless a handler says otherwise.
        :param grace: seconds that running calls have when the server stops.
        :param drain: seconds for which :meth:`TripleServer.serve` goes on taking calls after SIGTERM or SIGINT
            while the health service says NOT_SERVING (:meth:`TripleServer.drain`): as long as the news that this
            endpoint is leaving takes to reach every client. Before the grace; in Kubernetes both together stay below
            terminationGracePeriodSeconds.
        :param group: Dubbo's service group, for services that are added without one of their own
            (:meth:`TripleServer.add`).
        :param version: Dubbo's service version, likewise.
        :param health: gRPC's health service; ``None``: if grpcio-health-checking is installed (the extra
            ``triple``). :attr:`TripleServer.health` sets what it says.
        :param reflection: gRPC's server reflection; ``None``: if grpcio-reflection is installed (likewise).
        :param codec: ``"nghttp2"``: calls are served on nghttp2 by this package (:mod:`.h2`), in about half of
            grpcio's time; for Linux, without TLS and without compressed answers. ``None``: as for :meth:`channel`.
        :raises ConfigError: the codec's library is not there.
        :raises PortNotBound: the address cannot be listened on.
        :raises UsageError: an argument is not what is said here; :class:`ClosedError`: the client is closed.
        """
        given = dict(locals())  # under a debugger locals() changes as the function goes on
        del given["self"]
        self._check_server("xds.triple.server", given)
        from .server import TripleServer

        return TripleServer(**given)

    def aio_server(
        self,
        *,
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Iterable[tuple[str, Any]] | None = None,
        interceptors: Sequence[Any] = (),
        handlers: Sequence[Any] | None = None,
        max_workers: int | None = None,
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        grace: float = DEFAULT_GRACE,
        drain: float = 0.0,
        group: str = "",
        version: str = "",
        health: bool | None = None,
        reflection: bool | None = None,
    ) -> AioTripleServer:
        """As :meth:`server`, for asyncio: a :class:`grpc.aio.Server`. Call it in a running event loop.

        :param interceptors: :class:`grpc.aio.ServerInterceptor` objects.
        :param max_workers: threads for handlers that are not coroutines; ``None``: as grpc.aio decides.
        """
        given = dict(locals())
        del given["self"]
        self._check_server("xds.triple.aio_server", given)
        from .aio_server import AioTripleServer

        return AioTripleServer(**given)

    def _said_of_every_call(self, group: str, version: str, name: str | None) -> tuple[tuple[str, str], ...]:
        return (*headers(group, version), *application_name.headers(self._workload if name is None else name))

    def _check_server(self, function: str, given: Mapping[str, Any]) -> None:
        require(function, _SERVER, given)
        if given["address"] is not None:
            from .registration import checked_address

            checked_address(given["address"])
        if self._closed:
            raise ClosedError("the XdsClient is closed")

    def _close(self) -> None:
        self._closed = True
        for channel in members(self._channels):
            if isinstance(channel, TripleChannel):
                channel.close()
            else:
                channel.close_soon()
