"""Match and pick alone: one call's decision, from 1 to 1,000 routes, compiled and uncompiled.

``python -m benchmarks.matcher [--json PATH]``. The rival is a dict look-up, measured in the same rounds: it
says how fast the machine was, and is the least that finding a route by its path can cost.

Every route has two header rules and two weighted clusters. Calls go to 64 routes spread over the table, and
one in eight to none of the listed ones. ``new path`` is what a path costs that the program sees for the first
time.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from pyrpc_xds.model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    StringMatcher,
    VirtualHost,
    WeightedCluster,
)
from tests.unit.ext.variants import NAMES, Variant, variant

SIZES = (1, 10, 100, 1000)
ROUNDS = 31
PASSES = {"python": 3, "cython": 30}
"""How often a round goes through the calls."""

Call = tuple[str, Mapping[str, str]]
CLUSTERS = ClusterRoute((WeightedCluster("v1", 90), WeightedCluster("v2", 10)))


def exact_paths(number: int) -> PathMatcher:
    return PathMatcher(PathMatch.EXACT, f"/pkg.Service{number}/Method")


def one_prefix(number: int) -> PathMatcher:
    return PathMatcher(PathMatch.PREFIX, "/")


def mixed_paths(number: int) -> PathMatcher:
    service = f"/pkg.Service{number}"
    return (
        PathMatcher(PathMatch.EXACT, f"{service}/Method"),
        PathMatcher(PathMatch.PREFIX, f"{service}/"),
        PathMatcher(PathMatch.EXACT, f"{service}/METHOD", case_sensitive=False),
        PathMatcher(PathMatch.SEPARATED_PREFIX, service),
        PathMatcher(PathMatch.REGEX, f"{service.replace('.', chr(92) + '.')}/.*"),
    )[number % 5]


def with_regexes(number: int) -> PathMatcher:
    if number % 10 == 9:
        return PathMatcher(PathMatch.REGEX, f"/pkg\\.Service{number}/(Method|Other)")
    return mixed_paths(number)


TABLES: dict[str, Callable[[int], PathMatcher]] = {
    "exact paths": exact_paths,
    "one prefix, told apart by a header": one_prefix,
    "exact, prefix, any case, .*": mixed_paths,
    "the same, 1 in 10 a regular expression": with_regexes,
}


def route(number: int, path: PathMatcher) -> Route:
    rules = (
        HeaderMatcher("x-lane", StringMatcher(StringMatch.EXACT, f"lane-{number}")),
        HeaderMatcher("user", StringMatcher(StringMatch.PREFIX, "ad")),
    )
    return Route(RouteMatch(path, rules), CLUSTERS)


def table(build: Variant, paths: Callable[[int], PathMatcher], size: int) -> Any:
    routes = tuple(route(number, paths(number)) for number in range(size))
    rest = Route(RouteMatch(PathMatcher(PathMatch.PREFIX, "")), CLUSTERS)
    config = RouteConfiguration("rc", (VirtualHost("host", ("*",), (*routes, rest)),))
    return build.table.compile_route_table(
        config, "greeter:9090", lambda route, action, cluster: cluster, build.picker.Rng(1)
    )


def calls_to(size: int) -> list[Call]:
    numbers = [at * size // 64 for at in range(64)]
    return [
        (
            f"/pkg.Service{number}/Method",
            {
                "x-lane": "none" if at % 8 == 7 else f"lane-{number}",
                "user": "admin",
                "traceparent": "00-ab-cd-01",
            },
        )
        for at, number in enumerate(numbers)
    ]


def turn(decide: Callable[[str, Mapping[str, str]], object], calls: list[Call], passes: int) -> float:
    """Nanoseconds a call, the loop included."""
    start = perf_counter_ns()
    for _ in range(passes):
        for path, headers in calls:
            decide(path, headers)
    return (perf_counter_ns() - start) / (passes * len(calls))


def look_up(known: dict[str, object], calls: list[Call], passes: int) -> float:
    """Nanoseconds a look-up, in the same loop."""
    start = perf_counter_ns()
    for _ in range(passes):
        for path, _headers in calls:
            known[path]
    return (perf_counter_ns() - start) / (passes * len(calls))


def new_path(build: Variant, paths: Callable[[int], PathMatcher], size: int) -> float:
    """Nanoseconds a call to a path never seen before."""
    decide = table(build, paths, size).match
    headers = {"x-lane": "lane-0", "user": "admin"}
    fresh = [(f"/pkg.Service{at % size}/New{at}", headers) for at in range(500)]
    return turn(decide, fresh, 1)


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Every table in every size, in nanoseconds (p50 over interleaved rounds).

    :returns: ``dict_lookup_ns``; for each build and table, by size, ``p50_ns`` and ``lookups`` (how many dict
        look-ups that is, by rounds), and ``flatness`` (1,000 routes against 1); ``goals``.
    """
    cases = []
    for build in map(variant, NAMES):
        for name, paths in TABLES.items():
            for size in SIZES:
                calls = calls_to(size)
                decide = table(build, paths, size).match
                turn(decide, calls, 1)
                cases.append((build, name, size, decide, calls))
    known: dict[str, object] = {path: path for path, _ in calls_to(1000)}
    known_calls = calls_to(1000)
    times: list[list[float]] = [[] for _ in cases]
    lookups: list[float] = []
    for _ in range(rounds):
        gc.collect()
        lookups.append(look_up(known, known_calls, PASSES["cython"]))
        for at, (build, _name, _size, decide, calls) in enumerate(cases):
            times[at].append(turn(decide, calls, PASSES[build.name]))
    figures: dict[str, Any] = {"dict_lookup_ns": round(median(lookups), 1), "rounds": rounds, "builds": {}}
    for (build, name, size, _decide, _calls), taken in zip(cases, times, strict=True):
        one = figures["builds"].setdefault(build.name, {}).setdefault(name, {"routes": {}})
        one["routes"][str(size)] = {
            "p50_ns": round(median(taken), 1),
            "lookups": round(median(mine / bare for mine, bare in zip(taken, lookups, strict=True)), 2),
            "new_path_ns": round(median(new_path(build, TABLES[name], size) for _ in range(3)), 1),
        }
    # Cases of one table stand together, smallest first. Round by round, because the machine's speed drifts.
    for first in range(0, len(cases), len(SIZES)):
        build, name = cases[first][:2]
        smallest, largest = times[first], times[first + len(SIZES) - 1]
        ratios = [most / least for most, least in zip(largest, smallest, strict=True)]
        figures["builds"][build.name][name]["flatness"] = round(median(ratios), 2)
    figures["goals"] = goals(figures["builds"])
    return figures


def goals(builds: dict[str, Any]) -> dict[str, Any]:
    """What is to be reached, and what was, by the compiled build."""
    if "cython" not in builds:
        return {}
    tables = builds["cython"]
    ten = [one["routes"]["10"] for name, one in tables.items() if "regular" not in name]
    flat = [one["flatness"] for name, one in tables.items() if "regular" not in name]
    return {
        "10 routes with 2 header rules, ns, at most 1000": max(size["p50_ns"] for size in ten),
        "10 routes with 2 header rules, dict look-ups, at most 10": max(size["lookups"] for size in ten),
        "1,000 routes against 1, at most 1.5": max(flat),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    figures = measure(chosen.rounds)
    print(f"one dict look-up: {figures['dict_lookup_ns']} ns")
    for build, tables in figures["builds"].items():
        for name, one in tables.items():
            print(f"{build}, {name} (1,000 against 1: {one['flatness']})")
            for size, found in one["routes"].items():
                print(
                    f"  {size:>5} routes  {found['p50_ns']:>9,.0f} ns  {found['lookups']:>7.1f} look-ups"
                    f"  {found['new_path_ns']:>9,.0f} ns new path"
                )
    for goal, seen in figures["goals"].items():
        print(f"{goal}: {seen}")
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
