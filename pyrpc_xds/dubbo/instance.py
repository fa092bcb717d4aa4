"""Dubbo: the clients and servers that a file of Dubbo's YAML describes, over the mesh."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..client import XdsClient
from ..errors import CallError, ConfigError, UsageError
from ..transports.triple import TripleConnector
from . import files, interfaces, sections
from .clients import Clients
from .config import DubboConfig, Reference, Service
from .mapping import CLUSTER_DOMAIN, WAYS, Place, place
from .matching import meant
from .services import twice
from .timeouts import timed

if TYPE_CHECKING:
    from ..transports.triple import AioTripleServer, TripleServer

Stub = TypeVar("Stub")

_log = logging.getLogger("pyrpc_xds.dubbo")

#: dubbo-go's max-wait-time-for-service-discovery.
CHECK_SECONDS = 3.0


class Dubbo:
    """What one file of Dubbo's YAML configures: stubs for its references, servers for its services.

    Underneath is the :class:`pyrpc_xds.XdsClient` of its registry, with channels and servers of ``xds.triple``.
    Nothing is connected before the first reference is made. What the file says and has no effect is logged once, here.

    :param config: as :func:`.sections.load` reads it.
    :param environ: says who we are (:meth:`pyrpc_xds.Bootstrap.from_env`); ``None``: that of the process.
    """

    def __init__(self, config: DubboConfig, environ: Mapping[str, str] | None = None) -> None:
        self.config = config
        self._environ = dict(os.environ if environ is None else environ)
        self._clients = Clients(config, self._environ)
        for each in config.not_applied:
            level = logging.WARNING if each.level == "warning" else logging.INFO
            _log.log(level, "%s: %s is not applied: %s", config.source, each.path, each.why)

    @classmethod
    def load(cls, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Self:
        """Read a file.

        :param path: of Dubbo's YAML, such as ``conf/dubbogo.yaml``.
        :param environ: for placeholders, and as for the class.
        :raises ConfigError: it cannot be read, or something in it is wrong; the text names file, key and what to do.
        """
        environ = os.environ if environ is None else environ
        return cls(sections.load(path, environ), environ)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the file that ``DUBBO_GO_CONFIG_PATH`` names, else ``conf/dubbogo.yaml``, else ``../conf/dubbogo.yaml``.

        :raises ConfigError: there is none, or as for :meth:`load`.
        """
        environ = os.environ if environ is None else environ
        return cls.load(files.find(environ), environ)

    # -- references ---------------------------------------------------------------------------------------------------

    def reference(self, stub: Callable[[Any], Stub], name: str = "", **options: Any) -> Stub:
        """A stub for one of the references of the file.

        :param stub: the generated class, ``GreeterStub``.
        :param name: the key of the reference; by default the one that is named after the stub, or has its interface.
        :param options: of :meth:`~pyrpc_xds.transports.triple.TripleTransport.channel`: ``interceptors``, ``options``,
            ``compression``.
        :raises ConfigError: there is no such reference, its interface is another, nothing says where it is, or its
            ``check`` found no such host in the mesh.
        :raises UsageError: it is no generated stub class, or this is closed.
        """
        reference, found, client = self._found(stub, name)
        channel = client.triple.channel(
            found.target, group=reference.group, version=reference.version, **options
        )
        if _checked(reference, found):
            router = client.router(found.target, TripleConnector(found.target, (), None))
            try:
                router.wait(self._check_seconds)
            except CallError as error:
                channel.close()
                raise self._not_there(reference, found, error) from error
            finally:
                router.close()
        return stub(timed(channel, reference.timeout, reference.method_timeouts))

    async def aio_reference(self, stub: Callable[[Any], Stub], name: str = "", **options: Any) -> Stub:
        """As :meth:`reference`, for asyncio: the stub's calls are those of grpc.aio."""
        reference, found, client = self._found(stub, name)
        channel = client.triple.aio_channel(
            found.target, group=reference.group, version=reference.version, **options
        )
        if _checked(reference, found):
            router = client.router(found.target, TripleConnector(found.target, (), None))
            try:
                await router.wait_async(self._check_seconds)
            except CallError as error:
                await channel.close()
                raise self._not_there(reference, found, error) from error
            finally:
                router.close()
        return stub(timed(channel, reference.timeout, reference.method_timeouts))

    def place(self, reference: Reference, interface: str = "") -> Place:
        """Where the calls of a reference go, and which of its keys said so.

        :param interface: of its stub, where the reference leaves it out.
        :raises ConfigError: nothing says where, or wrongly.
        """
        if not reference.interface:
            reference = replace(reference, interface=interface)
        if reference.provided_by and not reference.namespace:
            reference = replace(reference, namespace=self._clients.namespace(reference.registry))
        return place(
            reference, self.config.source, domain=self._environ.get("CLUSTER_DOMAIN") or CLUSTER_DOMAIN
        )

    def _found(self, stub: Callable[[Any], Any], name: str) -> tuple[Reference, Place, XdsClient]:
        interface = interfaces.of_stub(stub)
        where = f"{self.config.source}: dubbo.consumer.references"
        of_class = getattr(stub, "__name__", repr(stub))
        reference = meant(self.config.references, name, of_class, interface, where)
        found = self.place(reference, interface)
        return reference, found, self._clients.client(reference.registry, in_mesh=found.in_mesh)

    @property
    def _check_seconds(self) -> float:
        return CHECK_SECONDS if self.config.ready_timeout is None else self.config.ready_timeout

    def _not_there(self, reference: Reference, found: Place, error: CallError) -> ConfigError:
        return ConfigError(
            f"{found.target} (by its {found.by}) is not in the mesh: {error}",
            where=f"{self.config.source}: {reference.path}",
            hint=f"{WAYS}. With check: false the reference is made all the same",
        )

    # -- services -----------------------------------------------------------------------------------------------------

    def server(self, *implementations: Any, **options: Any) -> TripleServer:
        """A server with the services of the file that are implemented here, on the ports of their protocols.

        :param implementations: objects whose classes inherit from generated ``XServicer`` classes; each is the service
            that has the name of its class, or its interface. A pair ``(name, object)`` says which.
        :param options: of :meth:`~pyrpc_xds.transports.triple.TripleTransport.server`: ``interceptors``,
            ``max_workers``, ``maximum_concurrent_rpcs``, ``options`` and so on.
        :returns: not started: ``server.serve()`` serves until SIGTERM.
        :raises ConfigError: there is no such service, its interface is another, or services differ in their protocols.
        :raises PortNotBound: a port cannot be listened on.
        :raises UsageError: an object implements nothing, or this is closed.
        """
        services = self._services(implementations)
        client, options = self._serving(services, options)
        server = client.triple.server(**options)
        self._fill(server, services)
        return server

    def aio_server(self, *implementations: Any, **options: Any) -> AioTripleServer:
        """As :meth:`server`, for asyncio. Call it in a running event loop."""
        services = self._services(implementations)
        client, options = self._serving(services, options)
        server = client.triple.aio_server(**options)
        self._fill(server, services)
        return server

    def _services(self, implementations: Iterable[Any]) -> list[tuple[Service, Any, interfaces.Add]]:
        found: list[tuple[Service, Any, interfaces.Add]] = []
        served: dict[tuple[str, str, str], Service] = {}
        where = f"{self.config.source}: dubbo.provider.services"
        for each in implementations:
            name, implementation = each if isinstance(each, tuple) else ("", each)
            wanted = type(implementation).__name__
            adds = interfaces.of_implementation(implementation)
            last: ConfigError | None = None
            for interface, add in adds:
                try:
                    service = meant(self.config.services, name, wanted, interface, where)
                except ConfigError as error:
                    last = last or error
                    continue
                first = served.setdefault((interface, service.group, service.version), service)
                if first is not service or any(service is other for other, _, _ in found):
                    raise twice(first, service, interface, self.config.source)
                found.append((service, implementation, add))
                break
            else:
                assert last is not None
                raise last
        if not found:
            raise UsageError("Dubbo.server() needs the objects that implement the services")
        for name in self.config.services.keys() - {service.name for service, _, _ in found}:
            _log.warning(
                "%s: %s is not served: nothing that implements it was given",
                self.config.source,
                self.config.services[name].path,
            )
        return found

    def _serving(
        self, services: list[tuple[Service, Any, interfaces.Add]], options: Mapping[str, Any]
    ) -> tuple[XdsClient, dict[str, Any]]:
        first = services[0][0]
        for service, _, _ in services:
            if set(service.protocols) != set(first.protocols):
                raise ConfigError(
                    f"{service.path} is served by {', '.join(service.protocols)}, {first.path} by "
                    f"{', '.join(first.protocols)}",
                    where=self.config.source,
                    hint="Call Dubbo.server() once for each set of protocols, with its services",
                )
        client = self._clients.client(first.registry, in_mesh=False)
        protocols = [self.config.protocols[name] for name in first.protocols]
        limits = [pair for protocol in protocols for pair in protocol.options]
        stopping = {"grace": self.config.grace, "drain": self.config.drain}
        said = {
            "address": protocols[0].address,
            "labels": client.bootstrap.node.metadata.get("LABELS") or None,
            **{name: seconds for name, seconds in stopping.items() if seconds is not None},
            **options,  # what the program says goes before the file
            "options": [*limits, *(options.get("options") or ())],
        }
        return client, said

    def _fill(self, server: Any, services: list[tuple[Service, Any, interfaces.Add]]) -> None:
        for service, implementation, add in services:
            server.add(add, implementation, group=service.group, version=service.version)
        for name in services[0][0].protocols[1:]:
            server.add_insecure_port(self.config.protocols[name].address)

    # -- underneath -------------------------------------------------------------------------------------------------

    @property
    def xds(self) -> XdsClient:
        """The client underneath, for what Dubbo's YAML does not say.

        :raises ConfigError: there are several registries, or the environment does not say who we are.
        """
        followed, where = self.config.followed, f"{self.config.source}: dubbo.registries"
        if len(followed) != 1:
            raise ConfigError(
                f"{len(followed)} of them are followed", where=where, hint="Use one file for each"
            )
        return self._clients.client(next(iter(followed)), in_mesh=True)

    def close(self) -> None:
        """Close every channel of every reference. Servers go on until they are stopped. Again: nothing."""
        self._clients.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        config = self.config
        return (
            f"<Dubbo {config.source}, {len(config.references)} references, {len(config.services)} services>"
        )


def _checked(reference: Reference, found: Place) -> bool:
    return found.in_mesh and (found.by == "interface" if reference.check is None else reference.check)
