"""What Dubbo's YAML says, as this package uses it: registries, protocols, references, services.

The names are Dubbo's own (dubbo-go's RootConfig). Everything is filled in: what a reference leaves out and its consumer
or its application says is in the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Registry:
    """Where services are found; of protocol ``xds``: a control plane.

    :param name: its key under ``registries``.
    :param address: ``host:port``.
    """

    name: str
    protocol: str
    address: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How, and where, a provider serves.

    :param name: its key under ``protocols``, which ``protocol-ids`` name.
    :param kind: its ``name``: ``tri`` (or ``triple``) is served, others are not.
    :param host: the address to listen on.
    :param port: 0: any free one.
    :param options: grpc channel options that its limits are.
    """

    name: str
    kind: str
    host: str
    port: int
    options: tuple[tuple[str, int], ...] = ()

    @property
    def address(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _no_timeouts() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reference:
    """A service that is called.

    :param name: its key under ``references``.
    :param path: where it stands, for messages.
    :param interface: ``package.Service``; empty: that of the stub.
    :param url: where to call, whatever the registry says; empty: by ``provided_by`` or the interface.
    :param provided_by: the Kubernetes service, or a full host, that provides the interface.
    :param port: of that host.
    :param namespace: of that service; empty: the caller's own.
    :param timeout: seconds that a unary call may take where the caller does not say; ``None``: no limit.
    :param method_timeouts: the same by method, where it differs.
    :param check: wait for the target when the reference is made; ``None``: only where its interface is all there is.
    :param registry: the key of its registry; empty: none is configured.
    """

    name: str
    path: str
    interface: str = ""
    url: str = ""
    provided_by: str = ""
    port: int = 80
    namespace: str = ""
    group: str = ""
    version: str = ""
    timeout: float | None = None
    method_timeouts: Mapping[str, float] = field(default_factory=_no_timeouts, hash=False)
    check: bool | None = None
    registry: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is provided.

    :param name: its key under ``services``: the class that implements it.
    :param path: where it stands, for messages.
    :param interface: ``package.Service``; empty: that of the implementation.
    :param protocols: the keys of the protocols that serve it.
    :param registry: as for references.
    """

    name: str
    path: str
    interface: str = ""
    group: str = ""
    version: str = ""
    protocols: tuple[str, ...] = ()
    registry: str = ""


@dataclass(frozen=True, slots=True)
class NotApplied:
    """A key that is Dubbo's and has no effect here.

    :param level: ``warning``: a program may behave otherwise than under Dubbo; ``note``: it does not.
    :param path: of the key, ``dubbo.consumer.references.GreeterClientImpl.retries``.
    :param why: and what takes its place.
    """

    level: Literal["warning", "note"]
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class DubboConfig:
    """One file of Dubbo's, read and checked.

    :param source: the file, for messages.
    :param application: the application's name; empty: not given.
    :param references: by name; so are registries, protocols and services.
    :param ready_timeout: seconds that a call without a deadline waits for the first configuration; ``None``: the
        client's default.
    :param grace: seconds that running calls have when a server stops; ``None``: the server's default.
    :param drain: seconds for which it goes on taking calls before that; likewise.
    :param not_applied: what is in the file and has no effect.
    """

    source: str
    application: str = ""
    registries: Mapping[str, Registry] = field(default_factory=dict, hash=False)
    protocols: Mapping[str, Protocol] = field(default_factory=dict, hash=False)
    references: Mapping[str, Reference] = field(default_factory=dict, hash=False)
    services: Mapping[str, Service] = field(default_factory=dict, hash=False)
    ready_timeout: float | None = None
    grace: float | None = None
    drain: float | None = None
    not_applied: tuple[NotApplied, ...] = ()

    @property
    def followed(self) -> frozenset[str]:
        """The registries that references and services are found by; an empty name is that of the environment."""
        followed = {reference.registry for reference in self.references.values()}
        return frozenset(followed | {service.registry for service in self.services.values()})
