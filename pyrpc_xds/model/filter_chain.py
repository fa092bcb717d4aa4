"""Filter chains: what a sidecar's Listener does with a connection (envoy.config.listener.v3.FilterChain)."""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from ..frozen import frozen
from .route import RouteConfiguration, WeightedCluster


@frozen
class HttpConnectionManager:
    """Routes by HTTP rules.

    :param route_config_name: the RDS name; empty where ``route_config`` is inline.
    :param max_stream_duration: seconds, the default of routes that say nothing; ``None``: none.
    """

    route_config_name: str = ""
    route_config: RouteConfiguration | None = None
    max_stream_duration: float | None = None


@frozen
class ThriftProxy:
    """Routes by Thrift's service, method and headers: one virtual host for every domain."""

    route_config: RouteConfiguration


@frozen
class TcpProxy:
    """Sends connections to clusters by weight, whatever they carry."""

    clusters: tuple[WeightedCluster, ...]


NetworkFilter: TypeAlias = HttpConnectionManager | ThriftProxy | TcpProxy


@frozen
class FilterChain:
    """One way that a connection can take through a listener.

    :param filter: the terminal one; the others do nothing that a client of ours would have to do.
    :param prefixes: of the destination address, such as ``10.0.0.0/24``; empty: any address.
    :param http_only: taken by HTTP only, as far as the listener can tell (``application_protocols``).
    """

    filter: NetworkFilter
    prefixes: tuple[str, ...] = ()
    http_only: bool = False


@frozen
class ProxyListener:
    """A sidecar's outbound Listener (LDS), without the chains that no connection of ours could take.

    :param name: ``ADDRESS_PORT``; the address ``0.0.0.0`` or ``::`` serves every destination that has no
        listener of its own.
    :param default: for connections that no other chain takes.
    """

    name: str
    chains: tuple[FilterChain, ...] = ()
    default: FilterChain | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
