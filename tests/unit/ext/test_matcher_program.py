"""Route programs: every test runs compiled and uncompiled. The differential tests are in
tests/unit/routing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest


def path(matcher: Any, kind: str, value: str, **options: Any) -> Any:
    return matcher.PathTest(matcher.StringTest(kind, value, **options))


def header(matcher: Any, name: str, value: str) -> Any:
    return matcher.HeaderTest(name, matcher.StringTest("exact", value))


def program(
    matcher: Any, *routes: tuple[Any, ...], refuse: Callable[[str, int], object] | None = None
) -> Any:
    entries = [matcher.RouteEntry(route[0], tuple(route[1:]), index) for index, route in enumerate(routes)]
    return matcher.RouteProgram(entries, refuse)


def test_first_match_decides_whatever_its_kind(matcher: Any) -> None:
    routes = program(
        matcher,
        (path(matcher, "suffix", "/never"),),
        (path(matcher, "prefix", "/a.B/"), header(matcher, "v", "1")),
        (path(matcher, "exact", "/a.B/C"),),
        (path(matcher, "exact", "/A.b/c", ignore_case=True),),
        (path(matcher, "prefix", "/"),),
        (path(matcher, "exact", "/late"),),
    )
    assert routes.find("/a.B/C", {"v": "1"}) == 1
    assert routes.find("/a.B/C", {}) == 2
    assert routes.find("/A.B/C", {}) == 3
    assert routes.find("/a.B/X", {}) == 4
    assert routes.find("/late", {}) == 4
    assert routes.find("late", {}) == -1


def test_separated_prefix_is_found_by_its_two_forms_only(matcher: Any) -> None:
    routes = program(matcher, (path(matcher, "separated_prefix", "/a"),))
    assert [routes.find(text, {}) for text in ("/a", "/a/b", "/ab", "/")] == [0, 0, -1, -1]


def test_nested_prefixes_are_all_candidates(matcher: Any) -> None:
    prefixes = ["/a/b/c", "/a", "/a/b", "/", "/b", "/a/bb"]
    routes = program(matcher, *((path(matcher, "prefix", p), header(matcher, "h", p)) for p in prefixes))
    for index, prefix in enumerate(prefixes):
        wanted = index if "/a/b/c/d".startswith(prefix) else -1
        assert routes.find("/a/b/c/d", {"h": prefix}) == wanted


def test_paths_between_two_prefixes_in_order_find_the_shorter_one(matcher: Any) -> None:
    routes = program(matcher, *((path(matcher, "prefix", p),) for p in ("/m", "/m/a", "/m/c", "/z")))
    assert routes.find("/m/b", {}) == 0
    assert routes.find("/n", {}) == -1


def test_empty_prefix_takes_every_path(matcher: Any) -> None:
    assert program(matcher, (path(matcher, "prefix", ""),)).find("", {}) == 0


def test_path_kinds_without_an_index_still_count(matcher: Any) -> None:
    routes = program(
        matcher,
        (path(matcher, "suffix", "/Get"),),
        (path(matcher, "contains", "admin"),),
        (path(matcher, "glob", "", parts=("/a", "z")),),
        (path(matcher, "prefix", "/x", one_line=True),),
    )
    calls = ["/s/Get", "/admin/x", "/a-z", "/xy", "/x\n", "/none"]
    assert [routes.find(call, {}) for call in calls] == [0, 1, 2, 3, -1, -1]


def test_a_thousand_values_of_one_header(matcher: Any) -> None:
    lanes = [(path(matcher, "prefix", "/"), header(matcher, "lane", f"lane-{i}")) for i in range(1000)]
    routes = program(matcher, *lanes, (path(matcher, "prefix", "/"),))
    assert routes.find("/s/m", {"lane": "lane-777"}) == 777
    assert routes.find("/s/m", {"lane": "other"}) == 1000
    assert routes.find("/s/m", {}) == 1000


def test_guards_of_more_names_than_the_call_has_headers(matcher: Any) -> None:
    routes = program(
        matcher, *((path(matcher, "prefix", "/"), header(matcher, f"h{i}", "1")) for i in range(50))
    )
    assert routes.find("/", {"h31": "1", "other": "1"}) == 31
    assert routes.find("/", {"h31": "1", "h7": "1", "h44": "1"}) == 7
    assert routes.find("/", {"h31": "2"}) == -1


def test_guarded_and_plain_routes_keep_their_order(matcher: Any) -> None:
    present = matcher.PresentTest("x")
    root = path(matcher, "prefix", "/")
    routes = program(
        matcher,
        (root, header(matcher, "a", "1")),
        (root, present),
        (root, header(matcher, "b", "1")),
        (root,),
    )
    assert routes.find("/", {"a": "1", "b": "1", "x": ""}) == 0
    assert routes.find("/", {"b": "1", "x": ""}) == 1
    assert routes.find("/", {"b": "1"}) == 2
    assert routes.find("/", {}) == 3


def test_all_conditions_of_a_guarded_route_hold(matcher: Any) -> None:
    root = path(matcher, "prefix", "/")
    routes = program(
        matcher,
        (root, header(matcher, "env", "prod"), header(matcher, "user", "a")),
        (root, header(matcher, "env", "prod"), header(matcher, "user", "b")),
        (root, header(matcher, "user", "b"), header(matcher, "user", "c")),
    )
    assert routes.find("/", {"env": "prod", "user": "b"}) == 1
    assert routes.find("/", {"env": "test", "user": "b"}) == -1


class Counting:
    """A regex that counts its calls."""

    def __init__(self, result: bool) -> None:
        self.result = result
        self.calls = 0

    def __call__(self, value: str) -> bool:
        self.calls += 1
        return self.result


def regex_path(matcher: Any, regex: Counting) -> Any:
    return path(matcher, "regex", "r", regex=regex)


def test_regex_is_not_run_where_an_earlier_route_decides(matcher: Any) -> None:
    regex = Counting(True)
    header_regex = matcher.HeaderTest("h", matcher.StringTest("regex", "r", regex=regex))
    routes = program(
        matcher,
        (path(matcher, "prefix", "/a"),),
        (regex_path(matcher, regex),),
        (path(matcher, "exact", "/a"), header_regex),
    )
    assert routes.find("/a", {"h": "x"}) == 0
    assert regex.calls == 0
    assert routes.find("/b", {}) == 1
    assert regex.calls == 1


def test_regexes_run_in_order_until_one_matches(matcher: Any) -> None:
    regexes = [Counting(False), Counting(True), Counting(True)]
    header_regex = matcher.HeaderTest("h", matcher.StringTest("regex", "r", regex=regexes[1]))
    routes = program(
        matcher,
        (regex_path(matcher, regexes[0]),),
        (path(matcher, "exact", "/a"), header_regex),
        (regex_path(matcher, regexes[2]),),
        (path(matcher, "exact", "/a"),),
    )
    assert routes.find("/a", {"h": "x"}) == 1
    assert [regex.calls for regex in regexes] == [1, 1, 0]


def test_regex_is_not_run_where_another_condition_of_the_route_fails(matcher: Any) -> None:
    regex = Counting(True)
    routes = program(
        matcher,
        (regex_path(matcher, regex), header(matcher, "user", "admin")),
        (regex_path(matcher, regex), matcher.PresentTest("x")),
    )
    assert routes.find("/a", {"user": "joe"}) == -1
    assert regex.calls == 0


def test_regex_of_a_path_is_tried_once_for_a_path(matcher: Any) -> None:
    regexes = [Counting(False), Counting(True), Counting(False)]
    routes = program(
        matcher,
        (regex_path(matcher, regexes[0]),),
        (regex_path(matcher, regexes[1]), header(matcher, "user", "admin")),
        (regex_path(matcher, regexes[2]), matcher.PresentTest("user")),
        (path(matcher, "prefix", "/"),),
    )
    for _ in range(3):
        assert routes.find("/a", {"user": "admin"}) == 1
        assert routes.find("/a", {"user": "joe"}) == 3
        assert routes.find("/a", {}) == 3
    assert [regex.calls for regex in regexes] == [1, 1, 1]
    assert routes.find("/b", {"user": "admin"}) == 1
    assert [regex.calls for regex in regexes] == [2, 2, 1]


def test_regex_of_a_header_is_tried_for_every_call(matcher: Any) -> None:
    # The value may differ; whoever gives the function may remember (pyrpc_xds.routing.regex does).
    asked: list[str] = []
    regex = matcher.StringTest("regex", "r", regex=lambda value: asked.append(value) or value == "yes")
    routes = program(matcher, (path(matcher, "prefix", "/"), matcher.HeaderTest("h", regex)))
    assert [routes.find("/", {"h": value}) for value in ("no", "yes", "no")] == [-1, 0, -1]
    assert asked == ["no", "yes", "no"]


def test_regexes_of_path_and_header_hold_together(matcher: Any) -> None:
    def regex_header(result: bool) -> Any:
        return matcher.HeaderTest("h", matcher.StringTest("regex", "r", regex=Counting(result)))

    routes = program(
        matcher,
        (regex_path(matcher, Counting(True)), regex_header(False)),
        (regex_path(matcher, Counting(False)), regex_header(True)),
        (path(matcher, "suffix", "/x"), regex_header(True)),
        (regex_path(matcher, Counting(True)), regex_header(True)),
    )
    for _ in range(2):
        assert routes.find("/a", {"h": ""}) == 3
        assert routes.find("/x", {"h": ""}) == 2
        assert routes.find("/x", {}) == -1


def test_what_one_path_ruled_out_stays_for_another(matcher: Any) -> None:
    routes = program(
        matcher,
        (path(matcher, "suffix", "/a"), header(matcher, "user", "x")),
        (path(matcher, "suffix", "/a"),),
        (path(matcher, "regex", "r", regex=lambda value: value == "/b"),),
        (path(matcher, "regex", "r", regex=lambda value: value == "/c"),),
    )
    for _ in range(2):
        assert [routes.find(call, {}) for call in ("/a", "/b", "/c", "/d")] == [1, 2, 3, -1]
        assert [routes.find(call, {"user": "x"}) for call in ("/a", "/b", "/c", "/d")] == [0, 2, 3, -1]


def test_fraction_is_drawn_only_when_all_else_holds(build: Any) -> None:
    matcher, rng = build.matcher, build.picker.Rng(9)
    root = path(matcher, "prefix", "/")
    routes = program(matcher, (root, matcher.FractionTest(500_000, rng), matcher.PresentTest("x")), (root,))
    for _ in range(50):
        assert routes.find("/", {}) == 1
    assert rng.next() == build.picker.Rng(9).next()
    assert {routes.find("/", {"x": "1"}) for _ in range(50)} == {0, 1}


def test_match_gives_the_destination_by_identity(matcher: Any) -> None:
    there = object()
    routes = matcher.RouteProgram([matcher.RouteEntry(path(matcher, "prefix", "/"), (), there)])
    assert routes.match("/a", {}) is there
    assert routes.match("a", {}) is None


def test_match_picks_among_weighted_destinations(build: Any) -> None:
    matcher = build.matcher
    weighted = build.picker.WeightedPicker(("a", "b"), (1, 0), build.picker.Rng(1))
    routes = matcher.RouteProgram([matcher.RouteEntry(path(matcher, "prefix", "/"), (), None, weighted)])
    assert routes.match("/", {}) == "a"


def test_refusal_is_told_the_path_and_the_route(matcher: Any) -> None:
    entries = [
        matcher.RouteEntry(path(matcher, "exact", "/a"), (), "there"),
        matcher.RouteEntry(path(matcher, "exact", "/redirect")),
    ]
    routes = matcher.RouteProgram(entries, lambda call, index: (call, index))
    assert routes.match("/a", {}) == "there"
    assert routes.match("/redirect", {}) == ("/redirect", 1)
    assert routes.match("/none", {}) == ("/none", -1)


def test_refusal_may_raise(matcher: Any) -> None:
    def refuse(call: str, index: int) -> object:
        raise LookupError(call)

    with pytest.raises(LookupError, match="/none"):
        matcher.RouteProgram([], refuse).match("/none", {})


def test_headers_may_be_any_mapping(matcher: Any) -> None:
    routes = program(matcher, (path(matcher, "prefix", "/"), header(matcher, "user", "admin")))
    assert routes.find("/", MappingProxyType({"user": "admin"})) == 0


def test_an_error_of_a_regex_reaches_the_caller(matcher: Any) -> None:
    def fail(value: str) -> bool:
        raise MemoryError(value)

    routes = program(matcher, (path(matcher, "regex", "r", regex=fail),))
    with pytest.raises(MemoryError):
        routes.find("/", {})


def test_plans_do_not_grow_with_the_paths_that_peers_choose(build: Any) -> None:
    routes = program(build.matcher, (path(build.matcher, "prefix", "/s"),))
    for i in range(5_000):
        assert routes.find(f"/s/{i}", {}) == 0
        assert routes.find(f"/{i}", {}) == -1
    assert routes.find("/s" * 100_000, {}) == 0
    assert routes.remembered() <= 1024
    fresh = program(build.matcher, (path(build.matcher, "prefix", "/s"),))
    assert fresh.find("/s" + "x" * 10_000, {}) == 0
    assert fresh.remembered() == 0


def test_threads_share_a_program(matcher: Any) -> None:
    routes = program(matcher, *((path(matcher, "exact", f"/{i}"),) for i in range(300)))
    wrong: list[int] = []

    def run(offset: int) -> None:
        for i in range(4_000):
            number = (i * 7 + offset) % 1500
            if routes.find(f"/{number}", {}) != (number if number < 300 else -1):
                wrong.append(number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(offset,)) for offset in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
