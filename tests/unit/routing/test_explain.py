"""Explanations of a route table's decisions: every test runs compiled and uncompiled."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from pyrpc_xds.errors import Unavailable
from pyrpc_xds.model.route import (
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
)
from pyrpc_xds.routing.explain import Condition, words_of_fraction, words_of_header, words_of_path
from tests.unit.ext.variants import Variant
from tests.unit.routing.test_table import ANY, AUTHORITY, compiled, config, to

ADMIN = HeaderMatcher("user", StringMatcher(StringMatch.EXACT, "admin"))
BETA = HeaderMatcher("x-env", StringMatcher(StringMatch.PREFIX, "beta"))


def test_explanation_of_the_tutorial(build: Variant) -> None:
    table = compiled(
        build, config(to("v2", headers=(ADMIN,), name="admins"), to("v1=90", "v2=10", name="rest"))
    )
    joe = table.explain("/a.B/C", {"user": "joe"})
    assert (joe.virtual_host, joe.domain, joe.matched) == ("greeter:9090", AUTHORITY, 1)
    assert (joe.clusters, joe.error) == ((("v1", 90), ("v2", 10)), "")
    first, second = joe.routes
    assert (first.outcome, first.name) == ("failed", "admins")
    assert first.condition == Condition("header user", "is 'admin'", "joe")
    assert (second.outcome, second.condition) == ("matched", None)
    admin = table.explain("/a.B/C", {"user": "admin"})
    assert [route.outcome for route in admin.routes] == ["matched", "not reached"]
    assert admin.clusters == (("v2", 1),)


def test_first_condition_that_failed_is_told(build: Variant) -> None:
    path = PathMatcher(PathMatch.PREFIX, "/a.B/")
    route = to("v1", path=path, headers=(ADMIN, BETA))
    table = compiled(build, config(route))

    def failed(call: str, headers: dict[str, str]) -> Condition | None:
        return table.explain(call, headers).routes[0].condition

    assert failed("/x", {}) == Condition("path", "starts with '/a.B/'", "/x")
    assert failed("/a.B/C", {}) == Condition("header user", "is 'admin'", None)
    assert failed("/a.B/C", {"user": "admin"}) == Condition("header x-env", "starts with 'beta'", None)
    assert failed("/a.B/C", {"user": "admin", "x-env": "prod"}) == Condition(
        "header x-env", "starts with 'beta'", "prod"
    )
    assert failed("/a.B/C", {"user": "admin", "x-env": "beta-1"}) is None


def test_fraction_is_told_and_not_drawn(build: Variant) -> None:
    table = compiled(
        build, config(to("some", fraction=250_000), to("none", fraction=0), to("all", fraction=1_000_000))
    )
    told = table.explain("/a/b", {})
    assert [route.outcome for route in told.routes] == ["sometimes", "failed", "matched"]
    assert told.routes[0].condition == Condition("fraction", "takes 25 % of the calls", None)
    assert told.matched == 2
    twin = compiled(
        build, config(to("some", fraction=250_000), to("none", fraction=0), to("all", fraction=1_000_000))
    )
    assert [table.match("/", {}) for _ in range(50)] == [twin.match("/", {}) for _ in range(50)]


def test_error_is_the_text_that_a_call_fails_with(build: Variant) -> None:
    redirect = Route(RouteMatch(PathMatcher(PathMatch.EXACT, "/r")), Unroutable("redirect"))
    table = compiled(build, config(redirect))
    for path in ("/r", "/x"):
        with pytest.raises(Unavailable) as caught:
            table.match(path, {})
        assert table.explain(path, {}).error == str(caught.value)
    told = table.explain("/r", {})
    assert (told.matched, told.clusters, told.routes[0].action) == (0, (), "redirect")


def test_explanation_without_a_virtual_host(build: Variant) -> None:
    told = compiled(build, config(to("v1")), "other:1").explain("/a/b", {})
    assert (told.virtual_host, told.why, told.routes) == (None, "no domain matches the authority", ())
    assert "no virtual host" in told.error


@pytest.mark.parametrize(
    ("domain", "authority", "why"),
    [
        ("a.x:80", "a.x:80", "a.x:80 is an exact domain"),
        ("a.x", "a.x:80", "a.x is an exact domain of a.x, without the port"),
        ("*.x:80", "a.x:80", "*.x:80 is the longest matching suffix"),
        ("a.*", "a.x:80", "a.* is the longest matching prefix"),
        ("*", "a.x:80", "only the domain * matches the authority"),
    ],
)
def test_explanation_says_why_the_virtual_host(build: Variant, domain: str, authority: str, why: str) -> None:
    what = RouteConfiguration("rc", (VirtualHost("host", (domain,)),))
    assert compiled(build, what, authority).explain("/", {}).why == why


def test_explanation_is_ready_for_json(build: Variant) -> None:
    table = compiled(build, config(to("v2", headers=(ADMIN,)), to("v1", fraction=1), to("v1=9", "v2=1")))
    told = json.loads(json.dumps(asdict(table.explain("/a.B/C", {"user": "joe"}))))
    assert told["routes"][0]["condition"] == {"subject": "header user", "wanted": "is 'admin'", "got": "joe"}
    assert told["clusters"] == [["v1", 9], ["v2", 1]]


def test_wants_lists_every_condition(build: Variant) -> None:
    route = to("v1", path=PathMatcher(PathMatch.EXACT, "/a"), headers=(ADMIN, BETA), fraction=1_000)
    assert compiled(build, config(route)).explain("/", {}).routes[0].wants == (
        "path is '/a'; header user is 'admin'; header x-env starts with 'beta'; takes 0.1 % of the calls"
    )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (ADMIN, "is 'admin'"),
        (HeaderMatcher("h", StringMatcher(StringMatch.SUFFIX, "x", True)), "ends with 'x' in any case"),
        (HeaderMatcher("h", StringMatcher(StringMatch.CONTAINS, "x")), "contains 'x'"),
        (HeaderMatcher("h", StringMatcher(StringMatch.REGEX, "x+")), "matches the regular expression 'x+'"),
        (HeaderMatcher("h", RangeMatcher(1, 10)), "is an integer in [1, 10)"),
        (HeaderMatcher("h", PresentMatcher()), "is present"),
        (HeaderMatcher("h", PresentMatcher(), invert=True), "is absent"),
        (HeaderMatcher("h", PresentMatcher(False)), "is absent"),
        (HeaderMatcher("h", RangeMatcher(1, 2), invert=True), "is there and not: is an integer in [1, 2)"),
        (
            HeaderMatcher("h", ADMIN.matcher, invert=True, missing_as_empty=True),
            "not: is 'admin' (missing counts as empty)",
        ),
    ],
)
def test_words_of_a_header_condition(header: HeaderMatcher, words: str) -> None:
    assert words_of_header(header) == words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (ANY, "starts with ''"),
        (PathMatcher(PathMatch.EXACT, "/a", case_sensitive=False), "is '/a' in any case"),
        (PathMatcher(PathMatch.SEPARATED_PREFIX, "/a"), "is, or continues after a slash, '/a'"),
        (PathMatcher(PathMatch.REGEX, "/a+", case_sensitive=False), "matches the regular expression '/a+'"),
    ],
)
def test_words_of_a_path_condition(path: PathMatcher, words: str) -> None:
    assert words_of_path(path) == words


def test_words_of_a_fraction() -> None:
    assert words_of_fraction(1) == "takes 0.0001 % of the calls"
    assert words_of_fraction(500_000) == "takes 50 % of the calls"
