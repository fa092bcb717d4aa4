"""XdsClient: the one object an application makes. Glues the control plane's words to the calls."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import _matcher, _parts, _picker, _scan, _ttheader
from .arguments import SECONDS, TARGET, TEXTS, object_of, require
from .bootstrap import Bootstrap
from .core import Core
from .errors import ClosedError, UsageError
from .routing.router import Router
from .transports import triple  # noqa: F401  (no first call waits for an import; forked children share it)
from .transports.base import Connector

if TYPE_CHECKING:
    from .transports.thrift import ThriftTransport
    from .transports.triple import TripleTransport

_log = logging.getLogger("pyrpc_xds")

READY_TIMEOUT = 20.0
_BOOTSTRAP = object_of(Bootstrap, "Bootstrap.from_file('/etc/istio/proxy/grpc-bootstrap.json')")
# As pyproject.toml has them. Reading the entry points of everything that is installed takes as long as a first call.
_OWN_TRANSPORTS = {
    "triple": (".transports.triple", "TripleTransport"),
    "thrift": (".transports.thrift", "ThriftTransport"),
}


class XdsClient:
    """A member of the mesh::

        with pyrpc_xds.XdsClient.from_env() as xds:
            stub = GreeterStub(xds.triple.channel("xds:///greeter.default.svc.cluster.local:20000"))
            greeter = xds.thrift.client(greeter_thrift.Greeter, "xds:///greeter.default.svc.cluster.local:9090")

    :attr:`triple` and :attr:`thrift` make clients and servers, for threads and, with ``aio_`` before the name, for
    asyncio; ``help(xds.triple)`` and ``help(xds.thrift)`` tell their arguments. A target ``xds:///HOST:PORT`` is looked
    up in the mesh; ``HOST:PORT`` and ``direct:///IP:PORT`` are one endpoint, without rules.

    One per process is enough: targets share its ADS stream, its clusters and its connections. Nothing is
    connected and no thread is started before the first target is used.

    Close it, or use it in a ``with`` block. Clients and channels keep theirs; one that is dropped, with all that was
    made of it, and follows targets still is closed with a :class:`ResourceWarning`.

    :param bootstrap: who the control plane is and who we are; ``None``: from the environment.
    :param ready_timeout: seconds that a call without a deadline of its own waits for the first configuration.
    :raises ConfigError: the environment's bootstrap is wrong or missing.
    """

    def __init__(self, bootstrap: Bootstrap | None = None, *, ready_timeout: float = READY_TIMEOUT) -> None:
        require("XdsClient", {"bootstrap": _BOOTSTRAP, "ready_timeout": SECONDS}, locals())
        self.bootstrap = Bootstrap.from_env() if bootstrap is None else bootstrap
        self._core = Core(self.bootstrap, ready_timeout)
        self._lock = threading.RLock()  # a transport that is being made calls on_close
        # Guarded by _lock.
        self._closed = False
        self._transports: dict[str, Any] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._finalizer = weakref.finalize(self, self._core.abandon, f"XdsClient {self.bootstrap.node.id}")
        self._finalizer.atexit = False  # the driver closes itself then, which is no mistake of the program
        _clients.add(self)
        _warn_where_uncompiled()

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
        require("XdsClient.from_env", {"environ": TEXTS, "labels": TEXTS}, locals())
        bootstrap = Bootstrap.from_env(os.environ if environ is None else environ, labels=labels)
        return cls(bootstrap, ready_timeout=ready_timeout)

    # -- what an application uses -----------------------------------------------------------------------------

    @property
    def workload(self) -> str:
        """What calls of this process come from: :attr:`pyrpc_xds.bootstrap.Node.workload`."""
        return self.bootstrap.node.workload

    @property
    def triple(self) -> TripleTransport:
        """Channels and servers for Triple and gRPC: ``channel(target, ...)``, ``server(address=..., ...)`` and their
        ``aio_`` twins; the arguments are those of :class:`pyrpc_xds.transports.triple.TripleTransport`."""
        transport: TripleTransport = self.transport("triple")
        return transport

    @property
    def thrift(self) -> ThriftTransport:
        """Clients and servers for Thrift: ``client(Service, target, ...)``, ``server(Service, handler, address, ...)``
        and their ``aio_`` twins; the arguments are those of :class:`pyrpc_xds.transports.thrift.ThriftTransport`."""
        transport: ThriftTransport = self.transport("thrift")
        return transport

    def transport(self, name: str) -> Any:
        """The transport of the entry point ``name`` in the group ``pyrpc_xds.transports``.

        :raises UsageError: there is none of that name; the text lists those installed.
        """
        with self._lock:
            transport = self._transports.get(name)
            if transport is None:
                transport = self._transports[name] = _transport_class(name)(self)
            return transport

    def close(self) -> None:
        """Stop following the control plane and close every connection. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            callbacks, self._callbacks = self._callbacks, []
        with contextlib.ExitStack() as stack:  # all of them run, whatever one raises
            stack.callback(self._core.close)
            stack.callback(self._finalizer.detach)
            for callback in reversed(callbacks):
                stack.callback(callback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def dump(self) -> dict[str, Any]:
        """What the client holds, as JSON values: node, control plane, resources with their states, targets."""
        targets = [
            {
                "authority": router.authority,
                "state": "ready" if router.snapshot else router.failure or "waiting",
            }
            for router in self._core.routers
        ]
        return {**self._core.driver.dump(), "targets": targets}

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._core.routers)} targets"
        return f"<XdsClient {self.bootstrap.node.id} at {self.bootstrap.servers[0].uri}, {state}>"

    # -- the Mesh that transports see (pyrpc_xds.transports.base.Mesh) --------------------------------------------

    def router(self, target: str, connector: Connector) -> Router:
        """Follow a target.

        :param target: ``xds:///host:port``; ``host:port`` and ``direct:///ip:port`` are not looked up in xDS.
        :raises UsageError: the target has another form, or the client is closed.
        """
        require("XdsClient.router", {"target": TARGET}, locals())
        return self._core.router(target, connector)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the client closes, before its routers.

        :raises ClosedError: the client is closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the XdsClient is closed")
            self._callbacks.append(callback)


@cache
def _warn_where_uncompiled() -> None:
    """Once a process: the package works without a C compiler, several times slower a decision."""
    modules = (_matcher, _parts, _picker, _scan, _ttheader)
    plain = [module.__name__ for module in modules if str(module.__file__).endswith(".py")]
    if plain:
        _log.warning(
            "%s run uncompiled, several times slower: install a C compiler and Python's headers, then install "
            "pyrpc-xds again from where you had it, with pip install --force-reinstall --no-cache-dir",
            ", ".join(plain),
        )


def _transport_class(name: str) -> Any:
    if name in _OWN_TRANSPORTS:
        module, attribute = _OWN_TRANSPORTS[name]
        return getattr(import_module(module, __package__), attribute)
    from importlib.metadata import entry_points

    found = entry_points(group="pyrpc_xds.transports", name=name)
    if not found:
        known = ", ".join(sorted(entry_points(group="pyrpc_xds.transports").names)) or "none"
        raise UsageError(f"no transport named {name!r} is installed; installed: {known}")
    return next(iter(found)).load()


_clients: weakref.WeakSet[XdsClient] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._lock = threading.RLock()


# A lock that another thread of the parent held would stay held in the child for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
