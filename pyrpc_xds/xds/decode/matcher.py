"""Conditions of a route: every header matcher form, old and new, and the path specifiers.

A condition that is not understood is refused: dropping it would widen the route (gRFC A28).
"""

from __future__ import annotations

from typing import Any

from ...model.route import (
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    RouteMatch,
    StringMatch,
    StringMatcher,
)
from .common import Refused, regex

_MILLION = 1_000_000
# FractionalPercent.DenominatorType: HUNDRED, TEN_THOUSAND, MILLION.
_PER_MILLION = {0: 10_000, 1: 100, 2: 1}

_STRING_FORMS = {
    "exact": StringMatch.EXACT,
    "prefix": StringMatch.PREFIX,
    "suffix": StringMatch.SUFFIX,
    "contains": StringMatch.CONTAINS,
}
_OLD_FORMS = {
    "exact_match": StringMatch.EXACT,
    "prefix_match": StringMatch.PREFIX,
    "suffix_match": StringMatch.SUFFIX,
    "contains_match": StringMatch.CONTAINS,
}
_PATH_FORMS = {
    "path": PathMatch.EXACT,
    "prefix": PathMatch.PREFIX,
    "path_separated_prefix": PathMatch.SEPARATED_PREFIX,
}

# Envoy's RouteMatch.grpc: only gRPC requests, known by their content type.
_GRPC_ONLY = HeaderMatcher("content-type", StringMatcher(StringMatch.PREFIX, "application/grpc"))


def string_matcher(message: Any, field: str) -> StringMatcher:
    """envoy.type.matcher.v3.StringMatcher (gRFC A63: ignore_case says nothing to a regex).

    :raises Refused: the form is unknown or its value invalid.
    """
    which = message.WhichOneof("match_pattern")
    if which == "safe_regex":
        return StringMatcher(StringMatch.REGEX, regex(message.safe_regex, f"{field}.safe_regex"))
    kind = _STRING_FORMS.get(which)
    if kind is None:
        raise Refused(f"{field}: {which or 'no or an unknown pattern'} is not supported")
    return _literal(kind, getattr(message, which), f"{field}.{which}", message.ignore_case)


def _literal(kind: StringMatch, value: str, field: str, ignore_case: bool = False) -> StringMatcher:
    # The Envoy API demands at least one byte here; an empty prefix would match everything.
    if not value and kind is not StringMatch.EXACT:
        raise Refused(f"{field} is empty")
    return StringMatcher(kind, value, ignore_case)


def header_matcher(message: Any) -> HeaderMatcher:
    """envoy.config.route.v3.HeaderMatcher, the deprecated forms normalised.

    :raises Refused: the form is unknown or its value invalid.
    """
    if not message.name:
        raise Refused("name is empty")
    which = message.WhichOneof("header_match_specifier")
    matcher: StringMatcher | RangeMatcher | PresentMatcher
    if which == "string_match":
        matcher = string_matcher(message.string_match, which)
    elif which in _OLD_FORMS:
        matcher = _literal(_OLD_FORMS[which], getattr(message, which), which)
    elif which == "safe_regex_match":
        matcher = StringMatcher(StringMatch.REGEX, regex(message.safe_regex_match, which))
    elif which == "range_match":
        start, end = message.range_match.start, message.range_match.end
        if end < start:
            raise Refused(f"range_match: end {end} is before start {start}")
        matcher = RangeMatcher(start, end)
    elif which == "present_match":
        matcher = PresentMatcher(message.present_match)
    else:
        # Also what a specifier of a newer API looks like: parsed, it is an unknown field and nothing is set.
        raise Refused("no or an unknown header_match_specifier")
    return HeaderMatcher(
        message.name.lower(), matcher, message.invert_match, message.treat_missing_header_as_empty
    )


def path_matcher(match: Any) -> PathMatcher:
    """The path specifier of a RouteMatch.

    :raises Refused: the form is unknown or missing.
    """
    which = match.WhichOneof("path_specifier")
    case_sensitive = match.case_sensitive.value if match.HasField("case_sensitive") else True
    if which == "safe_regex":
        return PathMatcher(PathMatch.REGEX, regex(match.safe_regex, which))
    kind = _PATH_FORMS.get(which)
    if kind is None:
        raise Refused(f"path specifier {which or 'missing or unknown'} is not supported")
    return PathMatcher(kind, getattr(match, which), case_sensitive)


def fraction(message: Any, field: str) -> int | None:
    """A FractionalPercent per million; ``None``: all.

    :raises Refused: the denominator is unknown.
    """
    scale = _PER_MILLION.get(message.denominator)
    if scale is None:
        raise Refused(f"{field}: unknown denominator {message.denominator}")
    value: int = message.numerator * scale
    return None if value >= _MILLION else value


def route_match(match: Any) -> RouteMatch:
    """envoy.config.route.v3.RouteMatch; ``query_parameters`` is the caller's business.

    :raises Refused: a condition is not understood.
    """
    path = path_matcher(match)
    headers = []
    for index, message in enumerate(match.headers):
        try:
            headers.append(header_matcher(message))
        except Refused as error:
            raise error.inside(f"headers[{index}] {message.name!r}") from None
    if match.HasField("grpc"):
        headers.append(_GRPC_ONLY)
    if match.HasField("tls_context"):
        raise Refused("tls_context is not supported")
    for field in ("dynamic_metadata", "filter_state"):
        if getattr(match, field):
            raise Refused(f"{field} is not supported")
    per_million = None
    if match.HasField("runtime_fraction"):
        if not match.runtime_fraction.HasField("default_value"):
            raise Refused("runtime_fraction has no default_value")
        per_million = fraction(match.runtime_fraction.default_value, "runtime_fraction")
    return RouteMatch(path, tuple(headers), per_million)
