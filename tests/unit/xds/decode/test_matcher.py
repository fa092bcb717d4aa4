"""Conditions of a route: every form, old and new, and what is refused, not dropped (gRFC A28, A41, A63)."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2, range_pb2

from pyrpc_xds.model.route import (
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    StringMatch,
    StringMatcher,
)
from pyrpc_xds.xds.decode.common import Refused
from pyrpc_xds.xds.decode.matcher import header_matcher, path_matcher, route_match

Header = route_components_pb2.HeaderMatcher
Match = route_components_pb2.RouteMatch
RE = regex_pb2.RegexMatcher
String = string_pb2.StringMatcher


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exact_match": "v"}, StringMatcher(StringMatch.EXACT, "v")),
        ({"exact_match": ""}, StringMatcher(StringMatch.EXACT, "")),
        ({"prefix_match": "v"}, StringMatcher(StringMatch.PREFIX, "v")),
        ({"suffix_match": "v"}, StringMatcher(StringMatch.SUFFIX, "v")),
        ({"contains_match": "v"}, StringMatcher(StringMatch.CONTAINS, "v")),
        ({"safe_regex_match": RE(regex="v.*")}, StringMatcher(StringMatch.REGEX, "v.*")),
        ({"string_match": String(exact="v")}, StringMatcher(StringMatch.EXACT, "v")),
        ({"string_match": String(exact="")}, StringMatcher(StringMatch.EXACT, "")),
        ({"string_match": String(prefix="v")}, StringMatcher(StringMatch.PREFIX, "v")),
        ({"string_match": String(suffix="v")}, StringMatcher(StringMatch.SUFFIX, "v")),
        ({"string_match": String(contains="v")}, StringMatcher(StringMatch.CONTAINS, "v")),
        ({"string_match": String(safe_regex=RE(regex="v+"))}, StringMatcher(StringMatch.REGEX, "v+")),
        ({"string_match": String(exact="V", ignore_case=True)}, StringMatcher(StringMatch.EXACT, "V", True)),
        (
            {"string_match": String(safe_regex=RE(regex="v+"), ignore_case=True)},
            StringMatcher(StringMatch.REGEX, "v+"),
        ),
        ({"range_match": range_pb2.Int64Range(start=-1, end=3)}, RangeMatcher(-1, 3)),
        ({"range_match": range_pb2.Int64Range(start=3, end=3)}, RangeMatcher(3, 3)),
        ({"present_match": True}, PresentMatcher(True)),
        ({"present_match": False}, PresentMatcher(False)),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("as_empty", [False, True])
def test_header_form(fields: dict[str, Any], expected: Any, invert: bool, as_empty: bool) -> None:
    message = Header(name="X-User", invert_match=invert, treat_missing_header_as_empty=as_empty, **fields)
    assert header_matcher(message) == HeaderMatcher("x-user", expected, invert, as_empty)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no or an unknown header_match_specifier"),
        ({"prefix_match": ""}, "prefix_match is empty"),
        ({"suffix_match": ""}, "suffix_match is empty"),
        ({"contains_match": ""}, "contains_match is empty"),
        ({"string_match": String()}, "string_match: no or an unknown pattern"),
        ({"string_match": String(prefix="")}, "string_match.prefix is empty"),
        ({"string_match": String(suffix="")}, "string_match.suffix is empty"),
        ({"string_match": String(contains="")}, "string_match.contains is empty"),
        ({"string_match": String(custom={"name": "x"})}, "string_match: custom is not supported"),
        ({"range_match": range_pb2.Int64Range(start=2, end=1)}, "end 1 is before start 2"),
        ({"safe_regex_match": RE(regex="(")}, "safe_regex_match: "),
        ({"string_match": String(safe_regex=RE(regex="a("))}, "string_match.safe_regex: "),
        ({"string_match": String(safe_regex=RE(regex="(?=x)"))}, "string_match.safe_regex: "),
    ],
)
def test_header_form_that_is_not_understood_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        header_matcher(Header(name="h", **fields))
    assert reason in caught.value.reason


def test_header_without_a_name_is_refused() -> None:
    with pytest.raises(Refused, match="name is empty"):
        header_matcher(Header(exact_match="v"))


def test_header_specifier_of_a_newer_api_is_refused_and_not_taken_for_presence() -> None:
    """Field 99 is unknown to this build: the message parses, and nothing is set."""
    newer = Header.FromString(Header(name="h").SerializeToString() + b"\x9a\x06\x01v")
    with pytest.raises(Refused, match="header_match_specifier"):
        header_matcher(newer)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prefix": "/a"}, PathMatcher(PathMatch.PREFIX, "/a")),
        ({"prefix": ""}, PathMatcher(PathMatch.PREFIX, "")),
        ({"path": "/a/B"}, PathMatcher(PathMatch.EXACT, "/a/B")),
        ({"path": "/a", "case_sensitive": {"value": False}}, PathMatcher(PathMatch.EXACT, "/a", False)),
        ({"path": "/a", "case_sensitive": {"value": True}}, PathMatcher(PathMatch.EXACT, "/a")),
        ({"safe_regex": RE(regex="/a.*")}, PathMatcher(PathMatch.REGEX, "/a.*")),
        ({"path_separated_prefix": "/a"}, PathMatcher(PathMatch.SEPARATED_PREFIX, "/a")),
    ],
)
def test_path_form(fields: dict[str, Any], expected: PathMatcher) -> None:
    assert path_matcher(Match(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "missing or unknown"),
        ({"connect_matcher": {}}, "connect_matcher"),
        ({"path_match_policy": {"name": "template"}}, "path_match_policy"),
        ({"safe_regex": RE(regex="[")}, "safe_regex: "),
        ({"prefix": "/", "tls_context": {}}, "tls_context"),
        ({"prefix": "/", "dynamic_metadata": [{"filter": "f"}]}, "dynamic_metadata"),
        ({"prefix": "/", "filter_state": [{"key": "k"}]}, "filter_state"),
        ({"prefix": "/", "runtime_fraction": {}}, "no default_value"),
        (
            {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 1, "denominator": 7}}},
            "denominator 7",
        ),
        ({"prefix": "/", "headers": [{"name": "a", "exact_match": "b"}, {"name": "x"}]}, "headers[1] 'x': "),
    ],
)
def test_condition_that_is_not_understood_is_refused_by_name(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        route_match(Match(**fields))
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (0, "HUNDRED", 0),
        (1, "HUNDRED", 10_000),
        (100, "HUNDRED", None),
        (250, "HUNDRED", None),
        (1, "TEN_THOUSAND", 100),
        (10_000, "TEN_THOUSAND", None),
        (1, "MILLION", 1),
        (999_999, "MILLION", 999_999),
        (1_000_000, "MILLION", None),
        (2**32 - 1, "MILLION", None),
    ],
)
def test_runtime_fraction_is_per_million(numerator: int, denominator: str, expected: int | None) -> None:
    fraction = base_pb2.RuntimeFractionalPercent(
        default_value=percent_pb2.FractionalPercent(numerator=numerator, denominator=denominator),
        runtime_key="ignored",
    )
    assert route_match(Match(prefix="/", runtime_fraction=fraction)).fraction == expected


def test_match_of_grpc_requests_only_looks_at_the_content_type() -> None:
    (header,) = route_match(Match(prefix="/", grpc={})).headers
    assert header == HeaderMatcher("content-type", StringMatcher(StringMatch.PREFIX, "application/grpc"))


def test_two_matchers_of_one_header_are_both_kept() -> None:
    headers = [{"name": "a", "prefix_match": "x"}, {"name": "A", "suffix_match": "y"}]
    assert [header.name for header in route_match(Match(prefix="/", headers=headers)).headers] == ["a", "a"]
