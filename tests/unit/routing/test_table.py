"""Route tables: every test runs compiled and uncompiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pyrpc_xds.errors import ConfigError, Unavailable
from pyrpc_xds.model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    StringMatcher,
    Unroutable,
    VirtualHost,
    WeightedCluster,
)
from pyrpc_xds.routing.table import choose_virtual_host
from tests.unit.ext.chi_square import p_value
from tests.unit.ext.variants import Variant

AUTHORITY = "greeter.default.svc.cluster.local:9090"
ANY = PathMatcher(PathMatch.PREFIX, "")
DOMAINS = ("greeter.default.svc.cluster.local", AUTHORITY, "greeter", "10.0.0.1:9090")


def to(
    *clusters: str, path: PathMatcher = ANY, headers: tuple[HeaderMatcher, ...] = (), **more: Any
) -> Route:
    """A route to ``NAME`` or ``NAME=WEIGHT``."""
    weighted = [cluster.partition("=") for cluster in clusters]
    return Route(
        RouteMatch(path, headers, more.pop("fraction", None)),
        ClusterRoute(tuple(WeightedCluster(name, int(weight or 1)) for name, _, weight in weighted)),
        **more,
    )


def config(*routes: Route, domains: tuple[str, ...] = DOMAINS) -> RouteConfiguration:
    return RouteConfiguration("outbound|9090||greeter", (VirtualHost("greeter:9090", domains, routes),))


def compiled(
    build: Variant, what: RouteConfiguration, authority: str = AUTHORITY, seed: int = 1, last: Any = None
) -> Any:
    def bind(route: Route, action: ClusterRoute, cluster: WeightedCluster) -> str:
        assert route.action is action
        return cluster.name

    return build.table.compile_route_table(what, authority, bind, build.picker.Rng(seed), last)


def test_match_gives_what_bind_made_for_the_route_and_cluster(build: Variant) -> None:
    user = HeaderMatcher("user", StringMatcher(StringMatch.EXACT, "admin"))
    table = compiled(build, config(to("v2", headers=(user,)), to("v1")))
    assert table.match("/a.B/C", {"user": "admin"}) == "v2"
    assert table.match("/a.B/C", {"user": "joe"}) == "v1"
    assert table.match("/a.B/C", {}) == "v1"


def test_bind_is_called_once_for_each_weighted_cluster_and_never_by_a_call(build: Variant) -> None:
    bound: list[tuple[str, str]] = []

    def bind(route: Route, action: ClusterRoute, cluster: WeightedCluster) -> object:
        bound.append((route.name, cluster.name))
        return object()

    table = build.table.compile_route_table(
        config(to("a=9", "b=1", name="one"), to("a", name="two")), AUTHORITY, bind, build.picker.Rng(1)
    )
    assert bound == [("one", "a"), ("one", "b"), ("two", "a")]
    assert len({id(table.match("/x", {})) for _ in range(200)}) == 2
    assert len(bound) == 3


def test_weighted_clusters_get_their_share_of_the_calls(build: Variant) -> None:
    table = compiled(build, config(to("v1=90", "v2=10")), seed=5)
    seen = Counter(table.match("/a/b", {}) for _ in range(100_000))
    assert p_value(seen, {"v1": 90_000.0, "v2": 10_000.0}) > 0.001


def test_fraction_sends_its_share_on_and_the_rest_to_the_next_route(build: Variant) -> None:
    table = compiled(build, config(to("some", fraction=300_000), to("rest")), seed=5)
    seen = Counter(table.match("/a/b", {}) for _ in range(100_000))
    assert p_value(seen, {"some": 30_000.0, "rest": 70_000.0}) > 0.001


@pytest.mark.parametrize(("fraction", "wanted"), [(0, "rest"), (1_000_000, "some")])
def test_fraction_of_nothing_and_of_everything(build: Variant, fraction: int, wanted: str) -> None:
    table = compiled(build, config(to("some", fraction=fraction), to("rest")))
    assert {table.match("/a/b", {}) for _ in range(10_000)} == {wanted}


@pytest.mark.parametrize(
    "authority",
    [
        AUTHORITY,
        "greeter",
        "GREETER",
        "greeter:9090",
        "greeter:1",
        "10.0.0.1:9090",
        "greeter.default.svc.cluster.local",
    ],
)
def test_authority_finds_its_virtual_host(build: Variant, authority: str) -> None:
    assert compiled(build, config(to("v1")), authority).match("/a/b", {}) == "v1"


@pytest.mark.parametrize(
    "authority", ["other:9090", "10.0.0.1", "10.0.0.1:80", "greeter:http", "greeter:", "[greeter]:1"]
)
def test_authority_without_a_virtual_host(build: Variant, authority: str) -> None:
    table = compiled(build, config(to("v1")), authority)
    assert table.virtual_host is None
    assert table.clusters == ()
    with pytest.raises(Unavailable) as caught:
        table.match("/a/b", {})
    assert str(caught.value) == (
        f"{authority}: no virtual host of RouteConfiguration 'outbound|9090||greeter' serves it; "
        f"domains: {', '.join(DOMAINS)}"
    )


@pytest.mark.parametrize(
    ("authority", "chosen"),
    [("[::1]:80", "[::1]"), ("[::2]:80", "[::2]:80"), ("::1", "*"), ("a:b:80", "*"), ("a:80", "a")],
)
def test_port_of_an_authority_is_left_out_where_it_is_one(
    build: Variant, authority: str, chosen: str
) -> None:
    hosts = tuple(VirtualHost(domain, (domain,)) for domain in ("[::1]", "[::2]:80", "a", ":", "a:b", "*"))
    found = build.table.choose_virtual_host(RouteConfiguration("rc", hosts), authority)
    assert found.domain == chosen


def test_many_domains_are_not_all_listed(build: Variant) -> None:
    what = config(domains=tuple(f"host-{i}" for i in range(50)))
    with pytest.raises(Unavailable, match=r"host-19 and 30 more$"):
        compiled(build, what, "x:1").match("/", {})


def test_no_virtual_hosts_at_all_is_said(build: Variant) -> None:
    with pytest.raises(Unavailable, match=r"domains: none$"):
        compiled(build, RouteConfiguration("rc")).match("/", {})


def test_no_match_names_the_path_the_virtual_host_and_the_number_of_routes(build: Variant) -> None:
    table = compiled(build, config(*[to("v1", path=PathMatcher(PathMatch.EXACT, f"/{i}")) for i in range(3)]))
    with pytest.raises(Unavailable) as caught:
        table.match("/a.B/C", {"secret": "hidden"})
    assert str(caught.value) == (
        f"{AUTHORITY}: none of the 3 routes of virtual host 'greeter:9090' "
        "(RouteConfiguration 'outbound|9090||greeter') matches '/a.B/C'"
    )


def test_unroutable_names_the_route_and_the_kind(build: Variant) -> None:
    redirect = Route(RouteMatch(PathMatcher(PathMatch.EXACT, "/r")), Unroutable("redirect"), "old")
    with pytest.raises(Unavailable) as caught:
        compiled(build, config(to("v1", path=PathMatcher(PathMatch.EXACT, "/a")), redirect)).match("/r", {})
    assert str(caught.value) == (
        f"{AUTHORITY}: '/r' matches route 2 of 2 (old) of virtual host 'greeter:9090' "
        "(RouteConfiguration 'outbound|9090||greeter'), whose action redirect cannot carry a call"
    )


def test_unroutable_is_not_passed_over_for_a_later_route(build: Variant) -> None:
    table = compiled(build, config(Route(RouteMatch(ANY), Unroutable("direct_response")), to("v1")))
    with pytest.raises(Unavailable, match="direct_response"):
        table.match("/a/b", {})


def test_path_in_an_error_is_escaped_and_cut(build: Variant) -> None:
    with pytest.raises(Unavailable) as caught:
        compiled(build, config()).match("/\x1b[31m\n" + "x" * 10_000, {})
    assert "\\x1b[31m\\n" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_clusters_are_every_one_that_a_call_can_reach_once(build: Variant) -> None:
    redirect = Route(RouteMatch(ANY), Unroutable("redirect"))
    other = VirtualHost("other", ("other",), (to("x"),))
    what = config(to("b=1", "a=2"), redirect, to("c"), to("a"))
    what = RouteConfiguration("rc", (*what.virtual_hosts, other))
    assert compiled(build, what).clusters == ("b", "a", "c")


@pytest.mark.parametrize(
    "match",
    [
        RouteMatch(PathMatcher(PathMatch.REGEX, "(?=a)")),
        RouteMatch(ANY, (HeaderMatcher("h", StringMatcher(StringMatch.REGEX, "(?=a)")),)),
    ],
    ids=["path", "header"],
)
def test_regex_that_is_refused_fails_the_compilation(build: Variant, match: RouteMatch) -> None:
    with pytest.raises(ConfigError, match="invalid perl operator"):
        compiled(build, config(Route(match, ClusterRoute((WeightedCluster("v1"),)))))


def test_content_type_is_grpc_where_the_call_says_nothing(build: Variant) -> None:
    wants = HeaderMatcher("content-type", StringMatcher(StringMatch.EXACT, "application/grpc"))
    there = HeaderMatcher("content-type", PresentMatcher())
    table = compiled(build, config(to("grpc", headers=(wants, there)), to("rest")))
    assert table.match("/a/b", {}) == "grpc"
    assert table.match("/a/b", {"content-type": "application/thrift"}) == "rest"


def test_istios_without_headers_takes_calls_without_the_header(build: Variant) -> None:
    without = HeaderMatcher(
        "user", StringMatcher(StringMatch.EXACT, "admin"), invert=True, missing_as_empty=True
    )
    table = compiled(build, config(to("others", headers=(without,)), to("admin")))
    calls: list[dict[str, str]] = [{}, {"user": "joe"}, {"user": "admin"}]
    assert [table.match("/a/b", headers) for headers in calls] == ["others", "others", "admin"]


def test_regex_runs_once_for_a_value(build: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    real: Callable[[Any, str], bool] = build.regex.Regex.full_match
    monkeypatch.setattr(
        build.regex.Regex, "full_match", lambda self, value: runs.append(value) or real(self, value)
    )
    table = compiled(build, config(to("v1", path=PathMatcher(PathMatch.REGEX, "/(a|b)")), to("rest")))
    assert [table.match(path, {}) for path in ("/a", "/a", "/c", "/a", "/c")] == [
        "v1",
        "v1",
        "rest",
        "v1",
        "rest",
    ]
    assert runs == ["/a", "/c"]


def test_unchanged_virtual_host_keeps_its_table(build: Variant) -> None:
    first = compiled(build, config(to("v1")))
    elsewhere = VirtualHost("other", ("other",), (to("x"),))
    same = RouteConfiguration("rc2", (elsewhere, *config(to("v1")).virtual_hosts))
    assert compiled(build, same, last=first) is first
    assert compiled(build, config(to("v2")), last=first) is not first
    assert compiled(build, same, authority="greeter:80", last=first) is not first
    assert compiled(build, config(to("v1"), domains=("*",)), last=first) is not first


def test_table_without_virtual_host_is_not_kept(build: Variant) -> None:
    first = compiled(build, RouteConfiguration("rc"))
    assert compiled(build, RouteConfiguration("rc"), last=first) is not first


def test_repr_says_authority_virtual_host_and_routes(build: Variant) -> None:
    assert repr(compiled(build, config(to("v1")))) == f"<RouteTable {AUTHORITY} greeter:9090 1 routes>"
    assert (
        repr(compiled(build, RouteConfiguration("rc")))
        == f"<RouteTable {AUTHORITY} no virtual host 0 routes>"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", AUTHORITY),
        ("content-type", "application/grpc"),
    ],
)
def test_what_every_call_has_is_matched_without_being_given(build: Variant, name: str, value: str) -> None:
    wanted = HeaderMatcher(name, StringMatcher(StringMatch.EXACT, value))
    other = HeaderMatcher(name, StringMatcher(StringMatch.EXACT, "other"))
    table = compiled(build, config(to("other", headers=(other,)), to("wanted", headers=(wanted,))))
    assert table.match("/a/b", {}) == "wanted"
    assert table.match("/a/b", {name: "other"}) == "other"


@pytest.mark.parametrize(
    "matcher",
    [
        StringMatcher(StringMatch.EXACT, "/a.B/Wanted"),
        StringMatcher(StringMatch.PREFIX, "/a.B/W"),
        StringMatcher(StringMatch.REGEX, "/a.*/W[a-z]+"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {":path": "/a.B/Wanted"}])
def test_the_header_path_is_the_path_whether_the_transport_writes_it_or_not(
    build: Variant, matcher: StringMatcher, headers: dict[str, str]
) -> None:
    route = to("wanted", headers=(HeaderMatcher(":path", matcher),))
    inverted = to("inverted", headers=(HeaderMatcher(":path", matcher, invert=True),))
    table = compiled(build, config(route, inverted))
    for _ in range(2):  # the second time the matcher remembers the path
        assert table.match("/a.B/Wanted", headers) == "wanted"
        assert table.match("/a.B/Other", {}) == "inverted"
    explanation = table.explain("/a.B/Other", {})
    assert explanation.routes[0].condition is not None
    assert explanation.routes[0].condition.subject == "header :path"
    assert explanation.routes[0].condition.got == "/a.B/Other"
    assert table.explain("/a.B/Wanted", {}).matched == 0


@pytest.mark.parametrize(
    ("domains", "chosen"),
    [
        (("greeter", "greeter:90*"), "greeter:90*"),  # gRFC A27: as given first, whatever the kind
        (("greeter", "*:9090"), "*:9090"),
        (("greeter", "*"), "greeter"),
        (("*eeter", "*"), "*eeter"),
        (("greeter", "greeter:9090"), "greeter:9090"),
    ],
)
def test_a_domain_without_the_port_comes_after_those_that_match_as_given_and_before_the_one_for_all(
    domains: tuple[str, ...], chosen: str
) -> None:
    hosts = tuple(VirtualHost(domain, (domain,), ()) for domain in domains)
    found = choose_virtual_host(RouteConfiguration("rc", hosts), "greeter:9090")
    assert found is not None and found.domain == chosen
