"""TripleServer: a :class:`grpc.Server` with version labels and an orderly stop."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType, MappingProxyType
from typing import Any

import grpc

from ...errors import ClosedError, PortNotBound, UsageError, started_before
from ..address import split, why_not_bound
from . import builtin
from .concurrency import Concurrency, Counted, CountedByGrpcio
from .generic import handlers as generic
from .handling import CallContext
from .health import Health
from .http import HttpOptions
from .http.ports import Ports, SyncPorts
from .options import DEFAULT_GRACE, chosen
from .services import Registrar, Services, selection, variant

# A port that is taken is an error here; with SO_REUSEPORT, grpcio's default, two servers would share it
# unnoticed.
DEFAULT_OPTIONS = {"grpc.so_reuseport": 0}
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.1
_AFTER_GRACE_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


def server_options(options: Iterable[tuple[str, Any]] | None) -> tuple[tuple[str, Any], ...]:
    """The defaults with the caller's options on top."""
    return tuple({**DEFAULT_OPTIONS, **dict(options or ())}.items())


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


def check_port(port: int | None, http: Ports) -> None:
    """Refuse to start a server that listens nowhere: nothing could ever end it but a signal.

    :param port: of gRPC.
    :raises UsageError: there is none, of HTTP neither.
    """
    if port is None and not http.added:
        raise UsageError(
            "the server has no port: pass address='0.0.0.0:20000', or call add_insecure_port(), before it starts"
        )


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


class TripleServer(grpc.Server):
    """A server of Triple and gRPC calls. Made by :meth:`.transport.TripleTransport.server`, which documents
    the parameters.

    :ivar labels: its version labels, for example ``{"dubbogoAppVersion": "v1"}``.
    :ivar port: the port that was bound last, ``None`` before.
    :ivar health: sets what the health service says; ``None`` before the start, where it is left out, and where
        the application has added its own. Where it is not installed, setting is a :class:`ConfigError`.
    """

    def __init__(
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
    ) -> None:
        self.labels: Mapping[str, str] = MappingProxyType(dict(labels or {}))
        self.port: int | None = None
        self._grace = grace
        self._drain = drain
        workers = max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="pyrpc-xds-triple-server")
        self._stopped: threading.Event | None = None
        self._started = False
        self._address = address or "no address"
        self._services = Services(asyncio=False)
        self._selected = variant(group, version)
        self._builtin = {"health": health, "reflection": reflection}
        self.health: Health | None = None
        self._services.extend(handlers or (), self._selected)
        around = [CallContext(), *interceptors]
        options = server_options(options)
        self._server: Any
        concurrency: Concurrency | None = None
        if chosen(codec) is None:
            self._server = grpc.server(
                self._executor,
                handlers=[self._services],
                interceptors=around,
                options=options,
                maximum_concurrent_rpcs=maximum_concurrent_rpcs,
                compression=compression,
            )
            if maximum_concurrent_rpcs is not None:
                concurrency = CountedByGrpcio(self._server)
        else:
            from .h2.server import Server

            if compression not in {None, grpc.Compression.NoCompression}:
                raise UsageError(
                    f"compression={compression}: a server with codec={codec!r} does not compress"
                )
            if maximum_concurrent_rpcs is not None:
                concurrency = Counted(maximum_concurrent_rpcs)
            self._server = Server(self._executor, workers, [self._services], around, options, concurrency)
        self._http = SyncPorts(self._services, around, self._executor, options, concurrency)
        if address is not None:
            try:
                self.add_insecure_port(address)
            except PortNotBound:
                # grpcio frees the pollers of a server only if it was started once.
                self._server.start()
                self._server.stop(0)
                raise

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
        :raises UsageError: ``servicer`` lacks methods of the service, or they are coroutine functions.
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

        Callers are Dubbo's clients of such interfaces, :class:`.generic.GenericService`, and JSON over HTTP, with
        an array of the arguments. A parameter that is a message of protobuf's is annotated with its class.

        :param service: its full name, such as ``org.apache.Greeter``.
        :param methods: name to function. One function a name: Java's overloads are told by what they are called with.
        :param group: as for :meth:`add`; ``version`` likewise.
        :raises UsageError: a method is no function that this server can call.
        """
        selected = selection(self._selected, group, version)
        self._services.register(service, generic.of(service, methods, asyncio=False), selected)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """As :meth:`grpc.Server.add_generic_rpc_handlers`; under the server's group and version."""
        self._services.extend(generic_rpc_handlers, self._selected)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """As :meth:`grpc.Server.add_registered_method_handlers`; under the server's group and version.

        :raises UsageError: a method is a coroutine function.
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
        return self._http.add(address, options, tls)

    def start(self) -> None:
        """Begin to serve. Services are added before.

        :raises ConfigError: health or reflection is asked for and not installed.
        :raises UsageError: it has no port.
        :raises ClosedError: the server was stopped; :class:`UsageError`: it was started before.
        """
        if self._started or self._stopped is not None:
            raise started_before(self._address, self._stopped is not None)
        check_port(self.port, self._http)
        if self.health is None:
            self.health = builtin.add(self._services, asyncio=False, **self._builtin)
        self._started = True
        self._server.start()
        self._http.start()

    def _check_open(self, address: str) -> None:
        # grpcio crashes there.
        if self._stopped is not None:
            raise ClosedError(f"the server at {self._address} was stopped, and cannot listen on {address}")
        self._address = address

    def drain(self) -> None:
        """Have the health service say NOT_SERVING, except of ``liveness``, and go on taking calls: those of clients
        that have not heard yet. :meth:`stop` comes later."""
        if self.health is not None:
            self.health.drain()

    def stop(self, grace: float | None = None) -> threading.Event:
        """Stop: new calls are refused at once, running ones have ``grace`` seconds, then they are aborted.

        Whoever watches the health service hears NOT_SERVING first.

        :param grace: seconds; ``None``: what the server was made with (30), unlike grpcio's immediate abort.
        :returns: an event that is set when the server has stopped.
        """
        if self.health is not None:
            self.health.end()
        grace = self._grace if grace is None else grace
        self._http.stop(grace)
        ended: threading.Event = self._server.stop(grace)
        if self._stopped is None:
            # grpcio leaves the workers to the garbage collector. They may be told to end only when no call
            # can come any more, which is when grpcio's event is set.
            self._stopped = threading.Event()
            threading.Thread(
                target=self._finish, args=(ended, self._stopped), name="pyrpc-xds-triple-stop"
            ).start()
        return self._stopped

    def _finish(self, ended: threading.Event, stopped: threading.Event) -> None:
        ended.wait()
        self._http.join()
        self._executor.shutdown()
        stopped.set()

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Block until the server has stopped (False) or ``timeout`` seconds have passed (True)."""
        return bool(self._server.wait_for_termination(timeout))

    def serve(self) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, then stop with grace and return. For the main thread
        of a program. Starts the server, unless :meth:`start` has.

        After the signal it drains for the seconds it was made with (:meth:`drain`), then stops. A second signal
        ends that, and aborts what still runs.

        Returns at the latest a second after the grace period, handlers that do not end notwithstanding.

        :raises ValueError: called on another thread (Python sets signal handlers on the main thread only).
        """
        # The handlers only count: anything that locks could meet its own lock, held by the code it
        # interrupts.
        signals: list[int] = []

        def on_signal(number: int, _frame: FrameType | None) -> None:
            signals.append(number)

        previous = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            if not self._started:
                self.start()
            while not signals and self.wait_for_termination(_POLL_SECONDS):
                pass
            if signals:
                self.drain()
                until = time.monotonic() + self._drain
                while len(signals) == 1 and time.monotonic() < until:
                    if not self.wait_for_termination(min(_POLL_SECONDS, self._drain)):
                        break
            stopped = self.stop()
            # grpcio aborts calls, but cannot stop the threads of handlers that do not end.
            until = time.monotonic() + self._grace + _AFTER_GRACE_SECONDS
            while not stopped.wait(_POLL_SECONDS) and time.monotonic() < until:
                if len(signals) > 1:
                    self.stop(0)
                    until = min(until, time.monotonic() + _AFTER_GRACE_SECONDS)
                    signals.clear()
            if not stopped.is_set():
                _LOG.warning("handlers still run %g seconds after the grace period", _AFTER_GRACE_SECONDS)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
