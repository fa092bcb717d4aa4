"""The policy for regular expressions: every test runs compiled and uncompiled. Source: RE2's syntax, gRFC
A28.
"""

from __future__ import annotations

import builtins
import sys
import time
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrpc_xds.errors import ConfigError
from tests.unit.ext.variants import NAMES, Variant, variant


@pytest.mark.parametrize(
    ("pattern", "kind", "value"),
    [
        ("", "exact", ""),
        ("abc", "exact", "abc"),
        ("/pkg\\.Service/Get", "exact", "/pkg.Service/Get"),
        ("^/a$", "exact", "/a"),
        ("a\\*\\$", "exact", "a*$"),
        ("a\nb", "exact", "a\nb"),
        (".*", "prefix", ""),
        (".*.*", "prefix", ""),
        ("/a/.*", "prefix", "/a/"),
        ("^/a/.*$", "prefix", "/a/"),
        ("/a/.*?", "prefix", "/a/"),
        (".*canary", "suffix", "canary"),
        (".*env=dev.*", "contains", "env=dev"),
    ],
)
def test_a_pattern_that_is_a_plain_comparison_becomes_one(
    build: Variant, pattern: str, kind: str, value: str
) -> None:
    shape = build.regex.compile_regex(pattern).shape
    assert (shape.kind, shape.value) == (kind, value)


def test_literals_with_anything_between_them_become_a_glob(build: Variant) -> None:
    shape = build.regex.compile_regex("/a/.*\\.v1.*/Get").shape
    assert (shape.kind, shape.parts) == ("glob", ("/a/", ".v1", "/Get"))


@pytest.mark.parametrize(
    "pattern",
    [
        "a|b",
        "a+",
        "a.",
        ".+",
        "a*",
        "[ab]",
        "(a)",
        "a{2}",
        "\\d",
        "a?",
        ".*\n",
        "(?i)a",
        "a$b",
        "a^",
        ".**",
        ".*a+",
    ],
)
def test_a_pattern_that_says_more_goes_to_re2(build: Variant, pattern: str) -> None:
    assert build.regex.shape_of(pattern) is None


literals = st.text("ab.*\\/-_=^$+", max_size=3)
pieces = st.one_of(literals.map(re2.escape), literals, st.just(".*"), st.just(".*?"))


@given(
    st.lists(pieces, max_size=5).map("".join),
    st.lists(st.text("ab./-_=*\\\n", max_size=8), min_size=1, max_size=6),
)
@settings(max_examples=400, deadline=None)
def test_every_pattern_matches_as_in_re2(pattern: str, texts: list[str]) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        engine = re2.compile(pattern, options)
    except re2.error:
        engine = None
    for name in NAMES:
        regex = variant(name).regex
        if engine is None:
            with pytest.raises(ConfigError):
                regex.compile_regex(pattern)
            continue
        compiled = regex.compile_regex(pattern)
        for text in [*texts, pattern]:
            assert compiled.full_match(text) is (engine.fullmatch(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "invalid perl operator"),
        ("(a)\\1", "invalid escape sequence"),
        ("a(", "missing )"),
        ("[", "missing ]"),
        ("a{1001}", "invalid repetition size"),
        ("\\", "trailing"),
        ("[\ud800]", "not Unicode text"),
    ],
)
def test_a_pattern_that_re2_refuses_is_refused_in_its_words(
    build: Variant, pattern: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match="RE2") as caught:
        build.regex.validate_regex(pattern)
    assert reason in str(caught.value)
    assert repr(pattern) in str(caught.value)


def test_refused_patterns_write_nothing_to_stderr(build: Variant, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        build.regex.validate_regex("(?=a)")
    assert capfd.readouterr().err == ""


def test_without_the_extra_a_plain_pattern_works_and_another_names_it(
    build: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert build.regex.compile_regex("/a/.*").full_match("/a/b")
    with pytest.raises(ConfigError, match=r"pyrpc-xds\[regex\]") as caught:
        build.regex.compile_regex("a|b")
    assert "'a|b'" in str(caught.value)


def test_pythons_re_is_not_imported(build: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "re" not in vars(build.regex)
    imported: list[str] = []
    real = builtins.__import__

    def watch(name: str, globals: Any = None, *rest: Any) -> Any:
        if (globals or {}).get("__name__") == build.regex.__name__:
            imported.append(name)
        return real(name, globals, *rest)

    monkeypatch.setattr(builtins, "__import__", watch)
    build.regex.compile_regex("(a+)+b")
    assert imported == ["re2"]


def test_nested_repetition_on_64_kb_does_not_explode(build: Variant) -> None:
    regex = build.regex.compile_regex("(a+)+b")
    before = time.process_time()
    assert not regex.full_match("a" * 65_536)
    assert regex.full_match("a" * 65_536 + "b")
    # Backtracking would not end in the life of the universe; linear time takes about a millisecond.
    assert time.process_time() - before < 2


def test_a_value_that_is_not_unicode_text_matches_nothing(build: Variant) -> None:
    assert not build.regex.compile_regex("a.+").full_match("a\udc80b")


def test_cache_runs_a_regex_once_for_a_value(build: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    real = build.regex.Regex.full_match

    def counted(self: Any, value: str) -> bool:
        runs.append(value)
        return real(self, value)

    monkeypatch.setattr(build.regex.Regex, "full_match", counted)
    cache = build.regex.RegexCache(capacity=2)
    test = cache.test("a|b")
    assert [test.holds(value) for value in ("a", "a", "x", "a")] == [True, True, False, True]
    assert runs == ["a", "x"]
    test.holds("y")  # over the capacity: the least recently used one goes
    test.holds("a")
    assert runs == ["a", "x", "y"]
    test.holds("x")
    assert runs == ["a", "x", "y", "x"]
    other = cache.test("a|c")
    assert other.holds("a")
    assert runs == ["a", "x", "y", "x", "a"]


def test_cache_keeps_no_long_values(build: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    monkeypatch.setattr(build.regex.Regex, "full_match", lambda self, value: not runs.append(len(value)))
    test = build.regex.RegexCache().test("a|b")
    for _ in range(2):
        test.holds("x" * (build.regex.LONGEST_CACHED_VALUE + 1))
        test.holds("x" * build.regex.LONGEST_CACHED_VALUE)
    assert runs == [1025, 1024, 1025]


def test_cache_compiles_a_pattern_once(build: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = build.regex.compile_regex
    monkeypatch.setattr(
        build.regex, "compile_regex", lambda pattern: compiled.append(pattern) or real(pattern)
    )
    cache = build.regex.RegexCache()
    for _ in range(3):
        cache.test("a|b")
    assert compiled == ["a|b"]


def test_repr_says_how_a_pattern_is_matched(build: Variant) -> None:
    assert repr(build.regex.compile_regex("/a/.*")) == "<Regex '/a/.*' as prefix>"
    assert repr(build.regex.compile_regex("a|b")) == "<Regex 'a|b' as RE2>"
