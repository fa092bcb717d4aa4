"""Why a call goes where it goes: what ``pyrpc-xds route`` prints.

Plain data, made of strings and numbers, so that :func:`dataclasses.asdict` is ready for JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from .._matcher import HeaderTest, RouteEntry
from ..model.route import (
    ClusterRoute,
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    Route,
    StringMatch,
    StringMatcher,
)

MILLION = 1_000_000
Outcome: TypeAlias = Literal["matched", "sometimes", "failed", "not reached"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a route, and what the call had.

    :param subject: ``path``, ``header NAME`` or ``fraction``.
    :param wanted: such as ``is 'admin'``.
    :param got: the call's value; ``None``: the header is missing, or there is nothing to show.
    """

    subject: str
    wanted: str
    got: str | None


@dataclass(frozen=True, slots=True)
class RouteExplanation:
    """One route of the virtual host.

    :param outcome: ``matched``: it decides; ``failed``: see ``condition``; ``sometimes``: all else holds and
        a fraction is drawn for each call; ``not reached``: an earlier route decides.
    :param condition: the first one that failed, or the fraction.
    :param wants: every condition, in words.
    :param action: ``cluster``, or the field that makes the route unroutable.
    :param clusters: name and weight of each destination.
    """

    index: int
    name: str
    outcome: Outcome
    condition: Condition | None
    wants: str
    action: str
    clusters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a route table decides one call.

    :param virtual_host: its name; ``None``: none serves the authority.
    :param domain: the domain pattern that chose it.
    :param why: how the pattern was found, in words.
    :param matched: the index of the deciding route; ``None``: none matches.
    :param clusters: name and weight of each destination of the deciding route.
    :param error: what the call fails with; empty where it has a destination.
    """

    authority: str
    path: str
    route_config: str
    virtual_host: str | None
    domain: str
    why: str
    routes: tuple[RouteExplanation, ...]
    matched: int | None
    clusters: tuple[tuple[str, int], ...]
    error: str


_STRING_VERBS = {
    StringMatch.EXACT: "is",
    StringMatch.PREFIX: "starts with",
    StringMatch.SUFFIX: "ends with",
    StringMatch.CONTAINS: "contains",
    StringMatch.REGEX: "matches the regular expression",
}

_PATH_VERBS = {
    PathMatch.EXACT: "is",
    PathMatch.PREFIX: "starts with",
    PathMatch.SEPARATED_PREFIX: "is, or continues after a slash,",
    PathMatch.REGEX: "matches the regular expression",
    PathMatch.METHOD: "has the method",
    PathMatch.SERVICE: "has the service",
}


def words_of_path(path: PathMatcher) -> str:
    """What a path condition wants, such as ``starts with '/pkg.Service/'``."""
    if path.invert:
        return f"has another {path.kind.value} than {path.value!r}"
    case = "" if path.case_sensitive or path.kind is PathMatch.REGEX else " in any case"
    return f"{_PATH_VERBS[path.kind]} {path.value!r}{case}"


def words_of_header(header: HeaderMatcher) -> str:
    """What a header condition wants, such as ``is 'admin'``."""
    matcher = header.matcher
    match matcher:
        case StringMatcher(kind, value, ignore_case):
            words = f"{_STRING_VERBS[kind]} {value!r}{' in any case' if ignore_case else ''}"
        case RangeMatcher(start, end):
            words = f"is an integer in [{start}, {end})"
        case PresentMatcher(present):
            return "is present" if present != header.invert else "is absent"
    if header.invert:
        words = f"is there and not: {words}" if not header.missing_as_empty else f"not: {words}"
    return words + (" (missing counts as empty)" if header.missing_as_empty else "")


def words_of_fraction(numerator: int) -> str:
    """What a fraction of a million means, in per cent."""
    return f"takes {numerator / 10_000:g} % of the calls"


def explain_routes(
    routes: Sequence[Route], entries: Sequence[RouteEntry], path: str, headers: Mapping[str, str]
) -> tuple[tuple[RouteExplanation, ...], int | None]:
    """What each route makes of a call, by its compiled ``entries``, and the index of the one that decides."""
    view = {**headers, ":path": path}
    matched: int | None = None
    explained = []
    for index, (route, entry) in enumerate(zip(routes, entries, strict=True)):
        outcome: Outcome = "not reached"
        condition = None
        if matched is None:
            outcome, condition = _verdict(route, entry, path, view)
            matched = index if outcome == "matched" else None
        explained.append(
            RouteExplanation(
                index, route.name, outcome, condition, _wants(route), _action(route), _clusters(route)
            )
        )
    return tuple(explained), matched


def _verdict(
    route: Route, entry: RouteEntry, path: str, headers: dict[str, str]
) -> tuple[Outcome, Condition | None]:
    if not entry.path.holds(path, headers):
        return "failed", Condition("path", words_of_path(route.match.path), path)
    for header, test in zip(route.match.headers, entry.tests, strict=False):  # the fraction comes after
        if not test.holds(path, headers):
            got = cast("HeaderTest", test).value(headers)
            return "failed", Condition(f"header {header.name}", words_of_header(header), got)
    fraction = route.match.fraction
    if fraction is None or fraction >= MILLION:
        return "matched", None
    return "sometimes" if fraction else "failed", Condition("fraction", words_of_fraction(fraction), None)


def _wants(route: Route) -> str:
    match = route.match
    words = [f"path {words_of_path(match.path)}"]
    words += [f"header {header.name} {words_of_header(header)}" for header in match.headers]
    if match.fraction is not None:
        words.append(words_of_fraction(match.fraction))
    return "; ".join(words)


def _action(route: Route) -> str:
    return "cluster" if isinstance(route.action, ClusterRoute) else route.action.kind


def _clusters(route: Route) -> tuple[tuple[str, int], ...]:
    if not isinstance(route.action, ClusterRoute):
        return ()
    return tuple((cluster.name, cluster.weight) for cluster in route.action.clusters)
