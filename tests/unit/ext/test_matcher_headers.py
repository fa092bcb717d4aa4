"""Header conditions: every test runs compiled and uncompiled. Sources: gRFC A28, A41; Envoy's header
matching.
"""

from __future__ import annotations

from typing import Any

import pytest

ABSENT: dict[str, str] = {}


def exact(matcher: Any, name: str, value: str, **options: Any) -> Any:
    return matcher.HeaderTest(name, matcher.StringTest("exact", value), **options)


@pytest.mark.parametrize(
    ("invert", "default", "headers", "holds"),
    [
        (False, None, {"user": "admin"}, True),
        (False, None, {"user": "joe"}, False),
        (False, None, ABSENT, False),
        (True, None, {"user": "admin"}, False),
        (True, None, {"user": "joe"}, True),
        (True, None, ABSENT, False),  # a missing header meets no value condition, inverted or not (A41)
        (True, "", ABSENT, True),  # Istio's withoutHeaders
        (True, "", {"user": "admin"}, False),
        (False, "", ABSENT, False),
        (False, None, {"User": "admin"}, False),  # the view has lower-case names
        (False, None, {"user": "admin,joe"}, False),  # several values are one, joined
    ],
)
def test_exact_value(
    matcher: Any, invert: bool, default: str | None, headers: dict[str, str], holds: bool
) -> None:
    test = exact(matcher, "user", "admin", invert=invert, default=default)
    assert test.holds("/", headers) is holds


def test_missing_header_that_counts_as_empty_passes_an_empty_condition(matcher: Any) -> None:
    assert exact(matcher, "user", "", default="").holds("/", ABSENT)
    assert not exact(matcher, "user", "").holds("/", ABSENT)


@pytest.mark.parametrize(
    ("present", "invert", "default", "there", "missing"),
    [
        (True, False, None, True, False),
        (False, False, None, False, True),
        (True, True, None, False, True),
        (False, True, None, True, False),
        # treat_missing_header_as_empty makes a missing header one that is there, as in Envoy.
        (True, False, "", True, True),
        (True, True, "", False, False),
    ],
)
def test_presence(
    matcher: Any, present: bool, invert: bool, default: str | None, there: bool, missing: bool
) -> None:
    test = matcher.PresentTest("user", present, invert, default)
    assert test.holds("/", {"user": ""}) is there
    assert test.holds("/", ABSENT) is missing


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ("1", True),
        ("9", True),
        ("10", False),
        ("0", False),
        ("-1", False),
        ("x", False),
        ("", False),
        ("5" * 30, False),
    ],
)
def test_range_is_half_open(matcher: Any, value: str, inside: bool) -> None:
    assert matcher.RangeTest("n", 1, 10).holds("/", {"n": value}) is inside
    assert matcher.RangeTest("n", 1, 10, invert=True).holds("/", {"n": value}) is not inside


def test_range_of_a_missing_header(matcher: Any) -> None:
    assert not matcher.RangeTest("n", 1, 10).holds("/", ABSENT)
    assert not matcher.RangeTest("n", 1, 10, invert=True).holds("/", ABSENT)
    assert matcher.RangeTest("n", 1, 10, invert=True, default="").holds("/", ABSENT)


def test_range_at_the_limits_of_64_bits(matcher: Any) -> None:
    test = matcher.RangeTest("n", -(2**63), 2**63 - 1)
    assert test.holds("/", {"n": str(-(2**63))})
    assert test.holds("/", {"n": str(2**63 - 2)})
    assert not test.holds("/", {"n": str(2**63 - 1)})
    assert not test.holds("/", {"n": str(-(2**63) - 1)})


def test_binary_header_counts_as_missing(matcher: Any) -> None:
    headers = {"trace-bin": "x"}
    assert not exact(matcher, "trace-bin", "x").holds("/", headers)
    assert not exact(matcher, "trace-bin", "y", invert=True).holds("/", headers)
    assert not matcher.PresentTest("trace-bin").holds("/", headers)
    assert matcher.PresentTest("trace-bin", False).holds("/", headers)
    assert exact(matcher, "trace-bin", "x", invert=True, default="").holds("/", headers)


def test_default_stands_in_for_a_missing_header_only(matcher: Any) -> None:
    test = exact(matcher, "content-type", "application/grpc", default="application/grpc")
    assert test.holds("/", ABSENT)
    assert not test.holds("/", {"content-type": "text/html"})


def test_guard_is_a_condition_that_one_value_alone_meets(matcher: Any) -> None:
    string = matcher.StringTest
    assert exact(matcher, "user", "admin").guard() == ("user", "admin")
    assert exact(matcher, "user", "admin", invert=True).guard() is None
    assert exact(matcher, "user", "", default="").guard() is None
    assert exact(matcher, "x-bin", "a").guard() is None
    assert matcher.HeaderTest("user", string("exact", "a", True)).guard() is None
    assert matcher.HeaderTest("user", string("prefix", "a")).guard() is None
    assert matcher.PresentTest("user").guard() is None


def test_fraction_of_nothing_never_passes_and_of_everything_always(build: Any) -> None:
    rng = build.picker.Rng(1)
    none, all_ = build.matcher.FractionTest(0, rng), build.matcher.FractionTest(1_000_000, rng)
    calls = 1_000_000 if build.name == "cython" else 50_000
    assert sum(none.holds("/", ABSENT) for _ in range(calls)) == 0
    assert sum(all_.holds("/", ABSENT) for _ in range(calls)) == calls


@pytest.mark.parametrize(
    ("seed", "draw"),
    [(1_127_518, 0), (967_665, 250_000), (1_009_366, 999_999)],
    ids=["0", "250000", "999999"],
)
def test_fraction_passes_draws_under_its_numerator(build: Any, seed: int, draw: int) -> None:
    assert build.picker.Rng(seed).below(1_000_000) == draw

    def passes(numerator: int) -> bool:
        rng = build.picker.Rng(seed)
        return bool(build.matcher.FractionTest(numerator, rng).holds("/", ABSENT))

    assert not passes(draw)
    assert passes(draw + 1)


@pytest.mark.parametrize("numerator", [1_000, 250_000, 999_000])
def test_fraction_passes_its_share(build: Any, numerator: int) -> None:
    from tests.unit.ext.chi_square import p_value

    test = build.matcher.FractionTest(numerator, build.picker.Rng(23))
    calls = 100_000
    passed = sum(test.holds("/", ABSENT) for _ in range(calls))
    share = calls * numerator / 1_000_000
    assert p_value({True: passed, False: calls - passed}, {True: share, False: calls - share}) > 0.001
