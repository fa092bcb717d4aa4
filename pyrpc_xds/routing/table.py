"""Route table: the routes of one authority, compiled into the matcher's program.

Order and rules are those of gRFC A28 with the header semantics of Envoy. The virtual host is chosen when the
table is compiled, because a target has one authority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, NoReturn, Protocol, TypeVar, cast

from .._matcher import (
    DomainIndex,
    FractionTest,
    HeaderTest,
    PathTest,
    PresentTest,
    RangeTest,
    RouteEntry,
    RouteProgram,
    StringTest,
    Test,
)
from .._picker import Rng, WeightedPicker
from ..errors import Unavailable
from ..model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    Route,
    RouteConfiguration,
    StringMatch,
    StringMatcher,
    VirtualHost,
    WeightedCluster,
)
from .regex import RegexCache
from .thrift_name import ThriftNameTest

if TYPE_CHECKING:
    from .explain import Explanation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

IMPLIED = {"content-type": "application/grpc", ":method": "POST", ":scheme": "http"}
"""What a call has where its headers do not say (gRFC A28); ``:authority`` is the table's and ``:path`` the call's.

As in Envoy, conditions see the pseudo headers; of other gRPC clients' xDS none does. Thrift has no such headers: its
calls count as gRPC's here, so that one rule says the same for both protocols."""

SHOWN_DOMAINS = 20
SHOWN_PATH = 200


class Bind(Protocol[T_co]):
    """Makes the destination of one (route, weighted cluster) pair, when the table is compiled."""

    def __call__(self, route: Route, action: ClusterRoute, cluster: WeightedCluster, /) -> T_co: ...


class ChosenVirtualHost(NamedTuple):
    """The virtual host that serves an authority.

    :param domain: the pattern that chose it, as written.
    :param spelling: the authority, or the authority without its port: what the pattern matched.
    """

    domain: str
    spelling: str
    host: VirtualHost


class RouteTable(Generic[T]):
    """The compiled routes of one authority. Immutable, shared by threads.

    :ivar match: ``match(path, headers)`` is the destination of a call, the weighted cluster drawn: one
        compiled call. Headers have lower-case names; several values of a name are joined by ``,``. Raises
        :class:`Unavailable` where no route matches, the matching one cannot carry a call, or no virtual host
            serves
        the authority.
    :ivar authority: as given.
    :ivar virtual_host: the chosen one, or ``None``.
    :ivar domain: the pattern that chose it.
    :ivar clusters: the name of every cluster that a call can be sent to, in route order.
    """

    __slots__ = (
        "_domains",
        "_program",
        "_route_config",
        "_spelling",
        "authority",
        "clusters",
        "domain",
        "match",
        "virtual_host",
    )

    match: Callable[[str, Mapping[str, str]], T]

    def __init__(
        self,
        config: RouteConfiguration,
        authority: str,
        chosen: ChosenVirtualHost | None,
        bind: Bind[T],
        rng: Rng,
    ) -> None:
        self.authority = authority
        self._route_config = config.name
        self.domain = chosen.domain if chosen else ""
        self._spelling = chosen.spelling if chosen else ""
        self.virtual_host = chosen.host if chosen else None
        self._domains = () if chosen else tuple(d for host in config.virtual_hosts for d in host.domains)
        routes = self._routes
        tests = _Tests(authority)
        self._program = RouteProgram([_entry(route, bind, tests, rng) for route in routes], self._refuse)
        self.clusters = clusters_of(routes)
        self.match = cast("Callable[[str, Mapping[str, str]], T]", self._program.match)

    @property
    def _routes(self) -> tuple[Route, ...]:
        return self.virtual_host.routes if self.virtual_host else ()

    def _refuse(self, path: str, index: int) -> NoReturn:
        raise Unavailable(self._refusal(path, index))

    def _refusal(self, path: str, index: int) -> str:
        shown = repr(path[:SHOWN_PATH])
        if self.virtual_host is None:
            domains = ", ".join(self._domains[:SHOWN_DOMAINS]) or "none"
            more = len(self._domains) - SHOWN_DOMAINS
            return (
                f"{self.authority}: no virtual host of RouteConfiguration {self._route_config!r} serves it; "
                f"domains: {domains}{f' and {more} more' if more > 0 else ''}"
            )
        where = f"virtual host {self.virtual_host.name!r} (RouteConfiguration {self._route_config!r})"
        routes = self._routes
        if index < 0:
            return f"{self.authority}: none of the {len(routes)} routes of {where} matches {shown}"
        route = routes[index]
        kind = getattr(route.action, "kind", "")
        return (
            f"{self.authority}: {shown} matches route {index + 1} of {len(routes)}"
            f"{f' ({route.name})' if route.name else ''} of {where}, whose action {kind} cannot carry a call"
        )

    def explain(self, path: str, headers: Mapping[str, str]) -> Explanation:
        """How a call is decided, by the same compiled tests that decide it. Draws nothing."""
        from .explain import Explanation, explain_routes  # for people only

        routes, matched = explain_routes(self._routes, self._program.entries, path, headers)
        routable = matched is not None and isinstance(self._routes[matched].action, ClusterRoute)
        return Explanation(
            authority=self.authority,
            path=path,
            route_config=self._route_config,
            virtual_host=self.virtual_host.name if self.virtual_host else None,
            domain=self.domain,
            why=self._why(),
            routes=routes,
            matched=matched,
            clusters=routes[matched].clusters if matched is not None else (),
            error="" if routable else self._refusal(path, -1 if matched is None else matched),
        )

    def _why(self) -> str:
        if self.virtual_host is None:
            return "no domain matches the authority"
        if self.domain == "*":
            return "only the domain * matches the authority"
        kind = "the longest matching suffix" if self.domain.startswith("*") else "an exact domain"
        if self.domain.endswith("*"):
            kind = "the longest matching prefix"
        spelled = "" if self._spelling == self.authority else f" of {self._spelling}, without the port"
        return f"{self.domain} is {kind}{spelled}"

    def __repr__(self) -> str:
        host = self.virtual_host.name if self.virtual_host else "no virtual host"
        return f"<RouteTable {self.authority} {host} {len(self._routes)} routes>"


def choose_virtual_host(config: RouteConfiguration, authority: str) -> ChosenVirtualHost | None:
    """The virtual host for ``authority``, or ``None``.

    The authority is matched as given, port included, against every kind of domain (gRFC A27). Where none but ``*``
    matches, it is tried without its port: Istio's sidecar configuration leaves ports out of its domains
    (``ignore_port_in_host_matching``).

    :param authority: ``host:port``, ``[v6]:port``, or with no port.
    """
    index = DomainIndex((domain, host) for host in config.virtual_hosts for domain in host.domains)
    found = [match for spelling in _spellings(authority) if (match := index.find(spelling)) is not None]
    best = next((match for match in found if match[0] != "*"), found[0] if found else None)
    return ChosenVirtualHost(best[0], best[1], cast("VirtualHost", best[2])) if best else None


def clusters_of(routes: Iterable[Route]) -> tuple[str, ...]:
    """The name of every cluster that one of ``routes`` can choose, in their order."""
    actions = [route.action for route in routes if isinstance(route.action, ClusterRoute)]
    return tuple(dict.fromkeys(cluster.name for action in actions for cluster in action.clusters))


def compile_route_table(
    config: RouteConfiguration,
    authority: str,
    bind: Bind[T],
    rng: Rng,
    last: RouteTable[T] | None = None,
) -> RouteTable[T]:
    """Compile the routes that ``config`` has for ``authority``; see :func:`choose_virtual_host`.

    :param authority: ``host:port``.
    :param bind: called once for each weighted cluster of each route.
    :param rng: draws weighted clusters and fractions.
    :param last: a table that is returned instead, where it was compiled for the same authority from an equal
        virtual host; its destinations are the ones that were bound then.
    :raises ConfigError: a regular expression is refused, see :mod:`pyrpc_xds.routing.regex`. A table without
        a virtual host is no error: each call raises :class:`Unavailable`.
    """
    chosen = choose_virtual_host(config, authority)
    if last is not None and chosen is not None:
        compiled = (last.authority, last.domain, last.virtual_host)
        if compiled == (authority, chosen.domain, chosen.host):
            return last
    return RouteTable(config, authority, chosen, bind, rng)


def _spellings(authority: str) -> tuple[str, ...]:
    host, colon, port = authority.rpartition(":")
    has_port = colon and port.isascii() and port.isdigit() and (":" not in host or host.endswith("]"))
    return (authority, host) if has_port else (authority,)


class _Tests:
    """The compiled conditions of one table. Routes share those that are equal: a big table touches less
    memory.
    """

    def __init__(self, authority: str) -> None:
        self._implied = {**IMPLIED, ":authority": authority}
        self._regexes = RegexCache()
        self._headers: dict[HeaderMatcher, HeaderTest] = {}

    def of_path(self, path: PathMatcher) -> StringTest:
        if path.kind is PathMatch.REGEX:
            return self._regexes.test(path.value, keep=False)
        if path.kind in (PathMatch.METHOD, PathMatch.SERVICE):
            return ThriftNameTest(path)
        return StringTest(path.kind.value, path.value, not path.case_sensitive)

    def of_header(self, header: HeaderMatcher) -> HeaderTest:
        test = self._headers.get(header)
        if test is None:
            test = self._headers[header] = self._header_test(header)
        return test

    def _header_test(self, header: HeaderMatcher) -> HeaderTest:
        default = self._implied.get(header.name, "" if header.missing_as_empty else None)
        if header.name == ":path":
            return _PathAsHeader(self._header_test_of(header, ""))
        return self._header_test_of(header, default)

    def _header_test_of(self, header: HeaderMatcher, default: str | None) -> HeaderTest:
        match header.matcher:
            case StringMatcher(kind, value, ignore_case):
                plain = kind is not StringMatch.REGEX
                test = StringTest(kind.value, value, ignore_case) if plain else self._regexes.test(value)
                return HeaderTest(header.name, test, header.invert, default)
            case RangeMatcher(start, end):
                return RangeTest(header.name, start, end, header.invert, default)
            case PresentMatcher(present):
                return PresentTest(header.name, present, header.invert, default)


class _PathAsHeader(HeaderTest):
    """A condition on the header ``:path``, which is the call's path whatever its transport writes.

    :param test: decides, given a view that has it.
    """

    def __init__(self, test: HeaderTest) -> None:
        super().__init__(":path", None)
        self._test = test

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """See :class:`Test`."""
        return self._test.holds(path, {":path": path})


def _entry(route: Route, bind: Bind[T], compiled: _Tests, rng: Rng) -> RouteEntry:
    tests: list[Test] = [compiled.of_header(header) for header in route.match.headers]
    if route.match.fraction is not None:
        tests.append(FractionTest(route.match.fraction, rng))
    path = PathTest(compiled.of_path(route.match.path))
    action = route.action
    if not isinstance(action, ClusterRoute):
        return RouteEntry(path, tuple(tests))
    bound = tuple([bind(route, action, cluster) for cluster in action.clusters])
    if len(bound) == 1:
        return RouteEntry(path, tuple(tests), bound[0])
    weights = tuple([cluster.weight for cluster in action.clusters])
    return RouteEntry(path, tuple(tests), None, WeightedPicker(bound, weights, rng))
