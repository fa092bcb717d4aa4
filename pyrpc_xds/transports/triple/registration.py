"""Registration: the services and ports that a server is given before it starts, sync and asyncio alike."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc

from ...errors import ClosedError, PortNotBound, UsageError, started_before
from ..address import split, why_not_bound
from . import builtin
from .generic import handlers as generic
from .health import Health
from .http import HttpOptions
from .services import Registrar, Services
from .variant import selection, variant

# Addresses that are grpcio's own business.
_OTHER_SCHEMES = ("unix-abstract:", "vsock:")


def checked_address(address: str) -> tuple[str, int]:
    """Host and port to listen on; a port of -1: it has none.

    :raises UsageError: it has another form. grpcio would take a port beyond 65535 modulo 65536, and 443 for none.
    """
    if isinstance(address, str) and address.startswith(_OTHER_SCHEMES):
        return address, -1
    return split(address)


def bound(add: Any, address: str, *credentials: Any) -> int:
    """Add a port to a grpc server.

    :param add: its ``add_insecure_port`` or ``add_secure_port``.
    :raises UsageError: the address has another form than ``host:port``.
    :raises PortNotBound: the address cannot be listened on.
    """
    host, number = checked_address(address)
    try:
        if port := int(add(address, *credentials)):
            return port
    except RuntimeError as error:
        raise PortNotBound(address, why_not_bound(host, number) if number >= 0 else None) from error
    raise PortNotBound(address, why_not_bound(host, number) if number >= 0 else None)


def check_servicer(add_servicer: Callable[[Any, Any], None], servicer: Any) -> None:
    """Refuse a servicer that has not even inherited the methods of its service.

    One that has inherited them from the generated class may leave some out: gRPC answers UNIMPLEMENTED.

    :raises UsageError: it lacks methods; the text names them.
    """
    probe = _Probe()
    add_servicer(probe, Registrar(Services(asyncio=False)))
    if missing := [name for name in probe.asked if not hasattr(servicer, name)]:
        raise UsageError(
            f"the servicer {servicer!r} lacks {', '.join(missing)}: define them, or inherit the generated class"
        )


class _Probe:
    """Stands for a servicer, and notes which methods a generated function asks it for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        self.asked.append(name)
        return lambda *args: None


class Registration:
    """Base of our servers, which have their grpc server as ``_server`` and their HTTP ports as ``_http``.

    :param asyncio: handlers may be coroutines.

    The other parameters, and the attributes, are those of :class:`.server.TripleServer`.
    """

    _server: Any
    _http: Any  # a kind of .http.ports.Ports

    def __init__(
        self,
        *,
        asyncio: bool,
        address: str | None,
        labels: Mapping[str, str] | None,
        handlers: Sequence[Any] | None,
        group: str,
        version: str,
        health: bool | None,
        reflection: bool | None,
    ) -> None:
        self.labels: Mapping[str, str] = MappingProxyType(dict(labels or {}))
        self.port: int | None = None
        self.health: Health | None = None
        self._asyncio = asyncio
        self._started = False
        self._address = address or "no address"
        self._services = Services(asyncio=asyncio)
        self._selected = variant(group, version)
        self._builtin = {"health": health, "reflection": reflection}
        self._services.extend(handlers or (), self._selected)

    def add(
        self,
        add_servicer: Callable[[Any, Any], None],
        servicer: Any,
        *,
        group: str | None = None,
        version: str | None = None,
    ) -> None:
        """Add a service under a Dubbo service group and version. Before the server is started.

        A call selects by equality (:mod:`.services`); one for another group or version is UNIMPLEMENTED.

        :param add_servicer: the generated ``add_XServicer_to_server``.
        :param group: ``""``: without; ``None``: the server's.
        :param version: likewise; Dubbo's ``0.0.0`` is without.
        :raises UsageError: ``servicer`` lacks methods of the service, or they are coroutine functions and the server
            is sync.
        """
        check_servicer(add_servicer, servicer)
        selected = selection(self._selected, group, version)
        add_servicer(servicer, Registrar(self._services, selected))

    def add_generic(
        self,
        service: str,
        methods: Mapping[str, Callable[..., Any]],
        *,
        group: str | None = None,
        version: str | None = None,
    ) -> None:
        """Add a service without IDL: functions that are called with plain values (:mod:`.generic`). Before the
        server is started.

        Servers of asyncio await coroutine functions, and run others on threads. Callers are Dubbo's clients of such
        interfaces, :class:`.generic.GenericService`, and JSON over HTTP, with an array of the arguments. A parameter
        that is a message of protobuf's is annotated with its class.

        :param service: its full name, such as ``org.apache.Greeter``.
        :param methods: name to function. One function a name: Java's overloads are told by what they are called with.
        :param group: as for :meth:`add`; ``version`` likewise.
        :raises UsageError: a method is no function that this server can call.
        """
        selected = selection(self._selected, group, version)
        self._services.register(service, generic.of(service, methods, asyncio=self._asyncio), selected)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """As :meth:`grpc.Server.add_generic_rpc_handlers`; under the server's group and version."""
        self._services.extend(generic_rpc_handlers, self._selected)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """As :meth:`grpc.Server.add_registered_method_handlers`; under the server's group and version.

        :raises UsageError: a method is a coroutine function and the server is sync.
        """
        self._services.register(service_name, method_handlers, self._selected)

    def add_insecure_port(self, address: str) -> int:
        """Listen on ``host:port``; returns the port.

        :raises PortNotBound: it cannot be listened on.
        :raises UsageError: the address has another form; :class:`ClosedError`: the server was stopped.
        """
        self._check_open(address)
        self.port = bound(self._server.add_insecure_port, address)
        return self.port

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen on ``host:port`` with TLS; returns the port. Errors are those of :meth:`add_insecure_port`."""
        self._check_open(address)
        self.port = bound(self._server.add_secure_port, address, server_credentials)
        return self.port

    def add_http_port(
        self, address: str, options: HttpOptions | None = None, tls: ssl.SSLContext | None = None
    ) -> int:
        """Listen on ``host:port`` for Triple over HTTP/1.1 and HTTP/2: unary calls in JSON or protobuf, from curl,
        browsers and dubbo-go's HTTP clients (:mod:`.http`). Before the server is started; returns the port.

        A port of its own, for grpcio's speak gRPC over HTTP/2 only. Services, interceptors, threads, the limit of
        a message and the stop are those of the server.

        :param tls: for HTTPS; with ``h2`` among its ALPN protocols, for HTTP/2 too.
        :raises ConfigError: h11 or h2 is not installed (the extra ``http``).
        :raises PortNotBound: it cannot be listened on.
        :raises UsageError: the address has another form, or the server has started.
        """
        if self._started:
            raise UsageError(f"the server at {self._address} has started: HTTP ports are added before")
        return int(self._http.add(address, options, tls))

    def drain(self) -> None:
        """Have the health service say NOT_SERVING, except of ``liveness``, and go on taking calls: those of clients
        that have not heard yet. ``stop`` comes later."""
        if self.health is not None:
            self.health.drain()

    @property
    def _has_stopped(self) -> bool:
        """Whether it was told to stop."""
        raise NotImplementedError

    def _close_registration(self) -> None:
        """Before the start.

        :raises ConfigError: health or reflection is asked for and not installed.
        :raises UsageError: it has no port: nothing could ever end a server that listens nowhere but a signal.
        :raises ClosedError: it was stopped; :class:`UsageError`: it was started before.
        """
        if self._started or self._has_stopped:
            raise started_before(self._address, self._has_stopped)
        if self.port is None and not self._http.added:
            raise UsageError(
                "the server has no port: pass address='0.0.0.0:20000', or call add_insecure_port(), before it starts"
            )
        if self.health is None:
            self.health = builtin.add(self._services, asyncio=self._asyncio, **self._builtin)
        self._started = True

    def _check_open(self, address: str) -> None:
        # grpcio crashes there.
        if self._has_stopped:
            raise ClosedError(f"the server at {self._address} was stopped, and cannot listen on {address}")
        self._address = address
