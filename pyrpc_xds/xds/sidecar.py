"""Sidecar mode: finds a target's routes among the listeners that Istio makes for sidecars. Sans-IO.

A host has no listener of its own name there. Its addresses lead to it (NDS), and an address and the port to a
listener: ``ADDRESS_PORT`` where the service has one to itself, else ``0.0.0.0_PORT``, which all HTTP services of the
port share and tell apart by domain. A host that the NameTable has not may have a listener ``HOST:PORT``.

What is found is brought into the form that proxyless mode has from the start: a Listener and a RouteConfiguration
whose virtual host is the target's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, Unpack

from ..errors import ResourceNotFound
from ..frozen import frozen
from ..model.filter_chain import (
    FilterChain,
    HttpConnectionManager,
    NetworkFilter,
    ProxyListener,
    TcpProxy,
    ThriftProxy,
)
from ..model.listener import Listener
from ..model.name_table import NAME
from ..model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from .dependency import Callbacks, Subscriptions, TargetManager, Watch
from .names import SubsetKey, join_host_port, split_host_port
from .sidecar_types import NDS
from .types import LDS

_log = logging.getLogger("pyrpc_xds.xds")

ANY_ADDRESS = ("0.0.0.0", "::")
GRACE = 2.0
"""Seconds that a target keeps its routes after its listener has gone: the new name of it comes in another response."""

# Istio's virtual hosts for what is nobody's.
_NOBODYS = frozenset({"allow_any", "block_all"})


class _Refused(Exception):
    """The target's own virtual host cannot be used."""


def spellings(host: str, namespace: str, domain: str) -> tuple[str, ...]:
    """What ``host`` may stand for, the likeliest first: short names are completed as kitex and DNS do.

    :param namespace: of the client.
    :param domain: of the cluster, such as ``cluster.local``.
    """
    host = host.rstrip(".").lower()
    labels = host.count(".") + 1
    if _is_ip(host):
        return (host,)
    if labels == 1:
        return (f"{host}.{namespace}.svc.{domain}", host)
    if labels == 2:
        return (f"{host}.svc.{domain}", host)
    if host.endswith(".svc"):
        return (f"{host}.{domain}", host)
    return (host,)


@frozen
class Place:
    """Where a client is, for short names: from its node id ``TYPE~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN``."""

    namespace: str = "default"
    domain: str = "cluster.local"

    @classmethod
    def of_node(cls, node_id: str, metadata_namespace: object = None) -> Place:
        """The namespace as istiod has it: the metadata's, else that of the id's DNS domain."""
        last = node_id.rpartition("~")[2]
        namespace, _, domain = last.partition(".svc.")
        if not domain:
            namespace, domain = "", ""
        if isinstance(metadata_namespace, str) and metadata_namespace:
            namespace = metadata_namespace
        return cls(namespace or "default", domain or "cluster.local")


class SidecarManager(TargetManager):
    """Follows one target through NDS, LDS, RDS, CDS and EDS of a sidecar.

    :param authority: ``host:port`` as the program wrote it; short host names are completed.
    :param place: where the client is.
    :param thrift: calls are Thrift: a ThriftProxy is for them, before any other filter. Otherwise it is passed over.
    :param choose: the virtual host that serves an authority: its domain pattern and itself.
    :param later: calls back after so many seconds, and settles then.
    """

    def __init__(
        self,
        source: Subscriptions,
        authority: str,
        place: Place,
        *,
        thrift: bool,
        choose: Callable[[RouteConfiguration, str], tuple[str, VirtualHost] | None],
        later: Callable[[float, Callable[[], None]], None],
        **callbacks: Unpack[Callbacks],
    ) -> None:
        super().__init__(source, **callbacks)
        self._authority = authority
        host, self._port = split_host_port(authority)
        self._hosts = spellings(host, place.namespace, place.domain)
        self._thrift = thrift
        self._choose = choose
        self._later = later
        # One watch per listener name, tried in order; names of higher rank stay watched, they may come.
        self._listeners: dict[str, Watch] = {}
        self._nds = None if _is_ip(self._hosts[0]) else Watch(source, NDS, NAME, self._touch)
        self._grace: int | None = None  # the number of the running wait for a lost listener
        self._graces = 0
        self._expired = False
        # What the last result was made of, and the result: the same parts give the same objects.
        self._made: tuple[tuple[Any, ...], tuple[Listener, RouteConfiguration]] | None = None
        self._good: VirtualHost | None = None  # the last virtual host that was not refused

    def _found_by(self) -> tuple[Watch, ...]:
        return (*((self._nds,) if self._nds else ()), *tuple(self._listeners.values()))

    # -- addresses and listeners ------------------------------------------------------------------------------

    def _addresses(self) -> tuple[str, ...] | None:
        """The host's addresses; none: nobody knows it; ``None``: on their way."""
        if self._nds is None:
            return (str(ip_address(self._hosts[0])),)
        table = self._nds.value
        if table is None:
            return None if self._nds.error is None else ()
        return next((table.addresses[host] for host in self._hosts if host in table.addresses), ())

    def _candidates(self, addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for address in addresses:
            yield f"{address}_{self._port}", address
        if not addresses:
            # What a control plane without a NameTable calls a host's listener (kitex's NDSNotRequired).
            for host in self._hosts:
                yield join_host_port(host, self._port), ""
        for wildcard in ANY_ADDRESS:
            yield f"{wildcard}_{self._port}", addresses[0] if addresses else ""

    def _listener(self, addresses: tuple[str, ...]) -> tuple[ProxyListener, str, list[str]] | None:
        """The first listener that is there and has a filter for the target, the destination address, and why
        others were passed over; ``None``: on its way."""
        seen: set[str] = set()
        passed: list[str] = []
        found: tuple[ProxyListener, str, list[str]] | None = None
        for name, address in self._candidates(addresses):
            seen.add(name)
            watch = self._listeners.get(name)
            if watch is None:
                watch = self._listeners[name] = Watch(self._source, LDS, name, self._touch)
            listener: ProxyListener | None = watch.value
            if listener is None and watch.error is None:
                return None
            if listener is None:
                missing = isinstance(watch.error, ResourceNotFound)
                passed.append(f"there is no listener {name}" if missing else str(watch.error))
                continue
            if self._filters(listener, address):
                found = (listener, address, passed)
                break
            passed.append(f"listener {name} has no filter that calls to {self._authority} could take")
        for name in self._listeners.keys() - seen:
            self._listeners.pop(name).close()
        return found or (ProxyListener(""), "", passed)

    def _filters(self, listener: ProxyListener, address: str) -> list[NetworkFilter]:
        """The filters of the chains that a connection to ``address`` can take, in the order of trying."""
        chains = _reachable(listener, address)
        kinds = (ThriftProxy, HttpConnectionManager, TcpProxy)
        filters = [chain.filter for kind in kinds for chain in chains if isinstance(chain.filter, kind)]
        if not self._thrift:
            filters = [entry for entry in filters if not isinstance(entry, ThriftProxy)]
        if listener.name.startswith(tuple(f"{wildcard}_" for wildcard in ANY_ADDRESS)):
            # A shared address: without a domain to tell services apart, the clusters' host has to.
            own = any(chain.prefixes for chain in chains)
            filters = [entry for entry in filters if own or self._is_ours(entry)]
        return filters

    def _is_ours(self, entry: NetworkFilter) -> bool:
        if isinstance(entry, HttpConnectionManager):
            return True
        if isinstance(entry, TcpProxy):
            names = [cluster.name for cluster in entry.clusters]
        else:
            names = _clusters_of(entry.route_config)
        keys = [SubsetKey.parse(name) for name in names]
        return any(key is not None and key.host.lower() in self._hosts for key in keys)

    # -- routes -----------------------------------------------------------------------------------------------

    def _find(self) -> tuple[Listener, RouteConfiguration] | None:
        addresses = self._addresses()
        if addresses is None:
            return None
        found = self._listener(addresses)
        if found is None:
            return None
        listener, address, passed = found
        filters = self._filters(listener, address)
        if not filters:
            self._lost(addresses, passed)
            return None
        self._grace, self._expired = None, False
        http = next((entry for entry in filters if isinstance(entry, HttpConnectionManager)), None)
        self._follow_routes(http.route_config_name if http and http.route_config is None else None)
        rds = self._rds
        if rds is not None and rds.error is not None:
            self._lack(rds)
            return None
        config: RouteConfiguration | None = None
        if http is not None:
            config = http.route_config or (rds.value if rds else None)
            if config is None:
                return None
        parts = (listener, address, config)
        if self._made is None or any(a is not b for a, b in zip(self._made[0], parts, strict=True)):
            try:
                self._made = (parts, self._make(listener, address, filters, config))
            except _Refused as refused:
                self._give_up(str(refused))
                return None
        return self._made[1]

    def _lost(self, addresses: tuple[str, ...], passed: list[str]) -> None:
        if self._published is not None and not self._expired:
            if self._grace is None:
                self._graces += 1
                self._grace = number = self._graces
                self._later(GRACE, lambda: self._expire(number))
            return
        self._grace = None
        self._follow_routes(None)
        known = f"the addresses of {self._hosts[0]} are {', '.join(addresses)}"
        if not addresses:
            known = f"Istio's NameTable has no host {' or '.join(self._hosts)}"
            if self._nds is not None and self._nds.error is not None:
                known = str(self._nds.error)
        self._give_up(
            f"{known}; {'; '.join(passed)}; check the Service's name, namespace and port, and that this workload may "
            "see it (exportTo, Sidecar)"
        )

    def _expire(self, number: int) -> None:
        if self._grace == number:
            self._expired = True
            self._touch()

    def _make(
        self,
        listener: ProxyListener,
        address: str,
        filters: list[NetworkFilter],
        config: RouteConfiguration | None,
    ) -> tuple[Listener, RouteConfiguration]:
        """The target's virtual host out of the filters: Thrift's routes, then the HTTP ones, or else TCP's."""
        # As kitex: a Thrift route that matches decides, what none matches goes on to HTTP.
        routes = [
            route
            for entry in filters
            if isinstance(entry, ThriftProxy)
            for route in _routes(entry.route_config)
        ]
        label = "thrift_proxy" if routes else ""
        domains: tuple[str, ...] = (self._authority,)
        notes: list[str] = [f"listener {listener.name}" + (f", for {address}" if address else "")]
        name, duration = listener.name, None
        others: tuple[VirtualHost, ...] = ()
        http = next((entry for entry in filters if isinstance(entry, HttpConnectionManager)), None)
        tcp = next((entry for entry in filters if isinstance(entry, TcpProxy)), None)
        serves = bool(routes)
        if http is not None and config is not None:
            name, duration = config.name, http.max_stream_duration
            notes += config.notes
            hosts = tuple(host for host in config.virtual_hosts if host.name not in _NOBODYS)
            chosen = self._virtual_host(replace(config, virtual_hosts=hosts), address)
            if chosen is not None:
                chosen = self._usable(chosen, notes)
                serves = True
                routes += chosen.routes
                label = f"{label} and {chosen.name}" if label else chosen.name
                domains += tuple(domain for domain in chosen.domains if domain != self._authority)
            else:
                others = hosts
        elif tcp is not None and not routes:
            serves, label = True, "tcp_proxy"
            routes.append(
                Route(RouteMatch(PathMatcher(PathMatch.PREFIX, "")), ClusterRoute(tcp.clusters), "tcp_proxy")
            )
            notes.append(
                "the port's protocol is TCP: VirtualService tcp routes are applied, by call, and http routes are not; "
                "name the Service's port http-..., http2-... or grpc-... (or set appProtocol) to have those"
            )
        made = (VirtualHost(label, domains, tuple(routes)),) if serves else others
        return (
            Listener(listener.name, name, None, duration, listener.notes),
            RouteConfiguration(name, made, tuple(notes)),
        )

    def _usable(self, host: VirtualHost, notes: list[str]) -> VirtualHost:
        """``host``, or its last good version where the newest is refused.

        :raises _Refused: there is none.
        """
        if not host.refused:
            self._good = host
            return host
        text = f"virtual host {host.name!r} is refused: {host.refused}"
        if self._good is None or self._good.name != host.name:
            raise _Refused(text)
        _log.warning("%s: %s; its last good version is used", self._authority, text)
        notes.append(f"{text}; its last good version is used")
        return self._good

    def _virtual_host(self, config: RouteConfiguration, address: str) -> VirtualHost | None:
        """By the host's spellings first, then the address; a domain ``*`` only where nothing else fits."""
        names = [*self._hosts, *([address] if address else [])]
        found = [self._choose(config, join_host_port(name, self._port)) for name in names]
        known = [entry for entry in found if entry is not None]
        chosen = next((entry for entry in known if entry[0] != "*"), known[0] if known else None)
        return chosen[1] if chosen else None

    def close(self) -> None:
        """Unsubscribe everything."""
        for watch in (self._nds, *self._listeners.values()):
            if watch is not None:
                watch.close()
        self._listeners.clear()
        self._grace = None
        super().close()


def _reachable(listener: ProxyListener, address: str) -> list[FilterChain]:
    """The chains for a destination, by Envoy's order: the longest prefix that holds the address, then the protocol.

    The listener cannot tell before the first byte whether it is HTTP, so both kinds of chain are kept.
    """
    best = -1
    chains: list[FilterChain] = []
    for chain in listener.chains:
        length = _prefix_length(chain, address)
        if length is None or length < best:
            continue
        if length > best:
            best, chains = length, []
        chains.append(chain)
    if listener.default is not None and all(chain.http_only for chain in chains):
        chains.append(listener.default)
    return chains


def _prefix_length(chain: FilterChain, address: str) -> int | None:
    """The longest prefix of ``chain`` that holds ``address``; 0: it wants none; ``None``: none does."""
    if not chain.prefixes:
        return 0
    if not address:
        return None
    ip = ip_address(address)
    networks = [ip_network(prefix) for prefix in chain.prefixes]
    lengths = [network.prefixlen for network in networks if network.version == ip.version and ip in network]
    return max(lengths, default=None)


def _routes(config: RouteConfiguration) -> tuple[Route, ...]:
    return tuple(route for host in config.virtual_hosts for route in host.routes)


def _clusters_of(config: RouteConfiguration) -> list[str]:
    actions = [route.action for route in _routes(config)]
    return [
        cluster.name for action in actions if isinstance(action, ClusterRoute) for cluster in action.clusters
    ]


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
