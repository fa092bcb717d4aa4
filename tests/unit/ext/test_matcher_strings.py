"""String tests and the parsing of integers: every test runs compiled and uncompiled."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ext.variants import NAMES, variant

TABLE = [
    # kind, value, ignore_case, passes, fails
    ("exact", "abc", False, ["abc"], ["", "ab", "abcd", "ABC", " abc"]),
    ("exact", "aBc", True, ["abc", "ABC", "aBc"], ["ab", "abcd"]),
    ("exact", "", False, [""], ["a"]),
    ("prefix", "ab", False, ["ab", "abc"], ["", "a", "Ab", "xab"]),
    ("prefix", "AB", True, ["ab", "aBc"], ["a", "xab"]),
    ("prefix", "", False, ["", "a"], []),
    ("suffix", "bc", False, ["bc", "abc"], ["", "c", "bcx", "aBC"]),
    ("suffix", "Bc", True, ["bc", "aBC"], ["bcx"]),
    ("contains", "b", False, ["b", "abc"], ["", "ac", "B"]),
    ("contains", "B", True, ["abc", "B"], ["ac"]),
    ("contains", "", False, ["", "a"], []),
    ("separated_prefix", "/a", False, ["/a", "/a/", "/a/b"], ["", "/", "/ab", "/A", "/b/a", "/a\\b"]),
    ("separated_prefix", "/A", True, ["/a", "/A/b"], ["/ab"]),
    # ASCII only, as Envoy: the Kelvin sign is not a k, and the capital umlaut not the small one.
    ("exact", "k\u00e4", True, ["K\u00e4"], ["\u212a\u00e4", "k\u00c4"]),
    # Compared as received: nothing is normalised.
    ("exact", "/a/b", False, ["/a/b"], ["/a//b", "/a/./b", "/a%2fb", "/a/b\0", "/a/b/"]),
    ("prefix", "/a\0", False, ["/a\0b"], ["/a"]),
]


@pytest.mark.parametrize(("kind", "value", "ignore_case", "passes", "fails"), TABLE)
def test_string_test_of_each_kind(
    matcher: Any, kind: str, value: str, ignore_case: bool, passes: list[str], fails: list[str]
) -> None:
    test = matcher.StringTest(kind, value, ignore_case)
    assert [text for text in passes if not test.holds(text)] == []
    assert [text for text in fails if test.holds(text)] == []


@pytest.mark.parametrize(
    ("parts", "passes", "fails"),
    [
        (("a", "b"), ["ab", "axb", "aab", "abb"], ["a", "b", "ba", "abx", "xab"]),
        (("ab", "ba"), ["abba", "abxba"], ["aba", "ab"]),  # the ends must not overlap
        (("a", "a"), ["aa", "aba"], ["a"]),
        (("", "x", "y", ""), ["xy", "-x-y-"], ["yx", "x"]),
        (("a", "b", "c"), ["abc", "a-b-c", "abbc"], ["ac", "acb", "abcb"]),
        (("a", "aa", "a"), ["aaaa"], ["aaa"]),
    ],
)
def test_glob_takes_its_parts_in_order_without_overlap(
    matcher: Any, parts: tuple[str, ...], passes: list[str], fails: list[str]
) -> None:
    test = matcher.StringTest("glob", "", parts=parts)
    assert [text for text in passes if not test.holds(text)] == []
    assert [text for text in fails if test.holds(text)] == []


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=5), st.text("ab", max_size=12))
def test_glob_is_the_regular_expression_it_stands_for(parts: list[str], text: str) -> None:
    wanted = re.fullmatch(".*".join(parts), text) is not None
    for name in NAMES:
        assert variant(name).matcher.StringTest("glob", "", parts=tuple(parts)).holds(text) is wanted


def test_one_line_refuses_a_line_feed(matcher: Any) -> None:
    test = matcher.StringTest("prefix", "a", one_line=True)
    assert test.holds("ab")
    assert not test.holds("a\nb")


def test_regex_asks_the_function_given(matcher: Any) -> None:
    asked: list[str] = []
    test = matcher.StringTest("regex", "pattern", regex=lambda value: not asked.append(value))
    assert test.holds("x") is True
    assert asked == ["x"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("regex", "x"), ValueError), (("glob", "x"), ValueError), (("no such kind", "x"), KeyError)],
)
def test_string_test_that_is_not_complete_is_refused(
    matcher: Any, arguments: tuple[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        matcher.StringTest(*arguments)


@given(st.text())
def test_fold_changes_ascii_letters_only(text: str) -> None:
    wanted = "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text)
    for name in NAMES:
        assert variant(name).matcher.fold(text) == wanted


INTEGERS = {
    "0": 0,
    "-0": 0,
    "+7": 7,
    "007": 7,
    " 12\t": 12,
    "-9223372036854775808": -(2**63),
    "9223372036854775807": 2**63 - 1,
    "0" * 70_000 + "5": 5,
}
NO_INTEGERS = [
    "",
    " ",
    "-",
    "+",
    "+-1",
    "--1",
    "1 2",
    "1.0",
    "1e3",
    "0x1",
    "1_000",
    "\u0663",
    "\u00b2",
    "1" * 20,
]


@pytest.mark.parametrize("text", INTEGERS, ids=lambda text: repr(text[:24]))
def test_integer_of_a_number(matcher: Any, text: str) -> None:
    assert matcher.integer(text) == INTEGERS[text]


@pytest.mark.parametrize("text", NO_INTEGERS)
def test_integer_of_what_is_none(matcher: Any, text: str) -> None:
    assert matcher.integer(text) is None


def test_integer_of_a_million_digits_is_not_converted(matcher: Any) -> None:
    # int() would take quadratic time; where it has a limit, it would raise.
    assert matcher.integer("9" * 1_000_000) is None
    assert matcher.integer("-" + "9" * 1_000_000) is None
