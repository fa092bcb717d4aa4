"""Whole route tables, compiled and uncompiled, against the naive oracle."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrpc_xds.errors import Unavailable
from pyrpc_xds.model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    StringMatcher,
    Unroutable,
    VirtualHost,
    WeightedCluster,
)
from tests.unit.ext.variants import NAMES, variant
from tests.unit.routing import oracle

# Small alphabets, so that conditions often hold; what does not fit in them is in the tables of test_table.py.
segments = st.sampled_from(["a", "A", "b", "ab", "aB", "", "S.v", "\u212a", "k", "\n"])
paths = st.lists(segments, max_size=3).map(lambda parts: "/" + "/".join(parts))
values = st.one_of(
    st.sampled_from(["", "a", "A", "ab", "Ab", "b", "aab", "a\nb", "bab", "\u00e4", "\u00c4"]),
    st.integers(-12, 12).map(str),
    st.sampled_from(["+3", " 3 ", "03", "3.0", "9" * 25, "-9223372036854775808"]),
)
names = st.sampled_from(["h", "user", "x-lane", "content-type", "trace-bin"])
regexes = st.sampled_from(
    [
        ".*",
        "a.*",
        ".*b",
        ".*a.*",
        "a.*b",
        "a",
        "/a/.*",
        "/(a|b)/?.*",
        "[ab]+",
        "(a+)+b",
        "",
        "^a$",
        "a\\.b",
        ".+",
        "/.*/ab",
    ]
)

path_matchers = st.one_of(
    st.builds(
        PathMatcher,
        st.sampled_from([PathMatch.EXACT, PathMatch.PREFIX, PathMatch.SEPARATED_PREFIX]),
        paths,
        st.booleans(),
    ),
    st.builds(PathMatcher, st.just(PathMatch.PREFIX), st.sampled_from(["", "/"])),
    st.builds(PathMatcher, st.just(PathMatch.REGEX), regexes),
)
plain_strings = st.builds(
    StringMatcher,
    st.sampled_from([StringMatch.EXACT, StringMatch.PREFIX, StringMatch.SUFFIX, StringMatch.CONTAINS]),
    values,
    st.booleans(),
)
exact_strings = st.builds(StringMatcher, st.just(StringMatch.EXACT), st.sampled_from(["a", "b", "", "1"]))
regex_strings = st.builds(StringMatcher, st.just(StringMatch.REGEX), regexes)
numbers = st.one_of(st.integers(-12, 12), st.sampled_from([-(2**63), 2**63 - 1]))
header_matchers = st.builds(
    HeaderMatcher,
    names,
    st.one_of(
        exact_strings,
        plain_strings,
        regex_strings,
        st.builds(RangeMatcher, numbers, numbers),
        st.builds(PresentMatcher, st.booleans()),
    ),
    st.booleans(),
    st.booleans(),
)
guards = st.builds(HeaderMatcher, names, exact_strings)
routes = st.builds(
    Route,
    st.builds(
        RouteMatch,
        path_matchers,
        st.lists(st.one_of(guards, header_matchers), max_size=3).map(tuple),
        st.sampled_from([None, None, None, 0, 1_000_000]),
    ),
    st.sampled_from([ClusterRoute((WeightedCluster("c"),)), Unroutable("redirect")]),
)
calls = st.tuples(paths, st.dictionaries(names, values, max_size=4))


def decided(
    name: str, config: RouteConfiguration, authority: str, calls: list[tuple[str, Mapping[str, str]]]
) -> object:
    build = variant(name)
    table = build.table.compile_route_table(
        config, authority, lambda route, action, cluster: route, build.picker.Rng(1)
    )
    found: list[int | None] = []
    for path, headers in calls:
        try:
            route = table.match(path, headers)
            # By identity: two equal routes are different answers.
            index = next(at for at, one in enumerate(table.virtual_host.routes) if one is route)
        except Unavailable as error:
            index = table.explain(path, headers).matched
            assert str(error) == table.explain(path, headers).error
        assert table.explain(path, headers).matched == index
        found.append(index)
    return found


@given(st.lists(routes, max_size=12), st.lists(calls, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
@example(
    [
        Route(RouteMatch(PathMatcher(PathMatch.REGEX, "/a.*")), Unroutable("x")),
        Route(RouteMatch(PathMatcher(PathMatch.EXACT, "/a")), ClusterRoute((WeightedCluster("c"),))),
    ],
    [("/a", {}), ("/a\n", {})],
)
def test_routes_are_found_as_by_trying_them_in_order(
    listed: list[Route], wanted_calls: list[tuple[str, dict[str, str]]]
) -> None:
    # Equal routes are made different objects, so that identity tells them apart.
    fresh = tuple(Route(route.match, route.action, str(at)) for at, route in enumerate(listed))
    host = VirtualHost("host", ("*",), fresh)
    wanted = [oracle.first_match(host, path, headers) for path, headers in wanted_calls]
    for name in NAMES:
        assert decided(name, RouteConfiguration("rc", (host,)), "a:80", wanted_calls) == wanted


labels = st.sampled_from(["a", "b", "A", "a.b", "x.a", "ab"])
domains = st.one_of(
    labels,
    labels.map("{}:80".format),
    labels.map("*.{}".format),
    labels.map("*{}:80".format),
    labels.map("{}.*".format),
    labels.map("{}*".format),
    st.just("*"),
)


@given(st.lists(domains, unique_by=str.lower, max_size=8), labels, st.sampled_from(["80", "81"]))
def test_virtual_host_is_chosen_as_by_trying_them_all(listed: list[str], host: str, port: str) -> None:
    hosts = tuple(VirtualHost(domain, (domain,)) for domain in listed)
    config = RouteConfiguration("rc", hosts)
    wanted = oracle.virtual_host(config, host, port)
    for name in NAMES:
        chosen = variant(name).table.choose_virtual_host(config, f"{host}:{port}")
        assert (chosen.host if chosen else None) == wanted


@pytest.mark.parametrize("seed", range(2))
def test_a_thousand_mixed_routes_are_found_as_by_trying_them_in_order(seed: int) -> None:
    chance = random.Random(seed)
    services = [f"/pkg.Service{i}" for i in range(60)]

    def path_matcher() -> PathMatcher:
        service = chance.choice(services)
        return chance.choice(
            [
                PathMatcher(PathMatch.EXACT, f"{service}/M{chance.randrange(4)}", chance.random() < 0.8),
                PathMatcher(PathMatch.PREFIX, service[: chance.randrange(12, len(service) + 1)]),
                PathMatcher(PathMatch.SEPARATED_PREFIX, service),
                PathMatcher(PathMatch.REGEX, f"{service}/.*"),
                PathMatcher(PathMatch.REGEX, f"{service}/M[0-9]"),
                PathMatcher(PathMatch.EXACT, f"{service}/other"),
            ]
        )

    def header_matchers() -> tuple[HeaderMatcher, ...]:
        lane = HeaderMatcher("x-lane", StringMatcher(StringMatch.EXACT, f"lane{chance.randrange(20)}"))
        more = [
            HeaderMatcher("user", StringMatcher(StringMatch.PREFIX, "ad", chance.random() < 0.5)),
            HeaderMatcher("n", RangeMatcher(0, chance.randrange(100))),
            HeaderMatcher("user", PresentMatcher(), invert=chance.random() < 0.5),
        ]
        return (lane, *chance.sample(more, chance.randrange(3)))

    listed = tuple(
        Route(RouteMatch(path_matcher(), header_matchers()), ClusterRoute((WeightedCluster("c"),)), str(at))
        for at in range(1000)
    )
    host = VirtualHost("host", ("*",), listed)
    calls = [
        (
            f"{chance.choice(services)}/{chance.choice(('M1', 'm2', 'M3', 'other'))}",
            {
                "x-lane": f"lane{chance.randrange(22)}",
                "n": str(chance.randrange(120)),
                **({"user": chance.choice(("admin", "ADA", "joe"))} if chance.random() < 0.5 else {}),
            },
        )
        for _ in range(60)
    ]
    wanted = [oracle.first_match(host, path, headers) for path, headers in calls]
    assert len(set(wanted)) > 20
    for name in NAMES:
        assert decided(name, RouteConfiguration("rc", (host,)), "a:80", calls) == wanted
