"""Virtual hosts by domain: every test runs compiled and uncompiled. Sources: gRFC A27, A28, Envoy's
VirtualHost.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ext.variants import NAMES, variant


@pytest.mark.parametrize(
    ("patterns", "authority", "chosen"),
    [
        (["*", "*.x", "a.*", "a.x"], "a.x", "a.x"),
        (["*", "a.*", "*.x"], "a.x", "*.x"),
        (["*", "a.*"], "a.x", "a.*"),
        (["*"], "a.x", "*"),
        (["b.x"], "a.x", None),
        (["*.x", "*.b.x", "*x"], "a.b.x", "*.b.x"),
        (["a.*", "a.b.*", "a*"], "a.b.x", "a.b.*"),
        (["*.x"], ".x", None),  # the star stands for at least one character
        (["a.*"], "a.", None),
        (["*-b.x"], "a-b.x", "*-b.x"),
        (["*.X"], "A.x", "*.X"),
        (["A.x"], "a.X", "A.x"),
        (["a.x:80", "a.x"], "a.x:80", "a.x:80"),
        (["a.x"], "a.x:80", None),
        (["*:80"], "a.x:80", "*:80"),
        ([], "a.x", None),
    ],
)
def test_order_of_domains(matcher: Any, patterns: list[str], authority: str, chosen: str | None) -> None:
    found = matcher.DomainIndex([(pattern, pattern) for pattern in patterns]).find(authority)
    assert (found and found[0]) == chosen


def test_first_of_two_equal_domains_counts(matcher: Any) -> None:
    index = matcher.DomainIndex([("a", 1), ("A", 2), ("*", 3), ("*", 4), ("*.x", 5), ("*.X", 6)])
    assert [index.find(text)[2] for text in ("a", "b", "b.x")] == [1, 3, 5]


def test_found_says_pattern_spelling_and_target(matcher: Any) -> None:
    target = object()
    assert matcher.DomainIndex([("A.x", target)]).find("a.X:80", "a.X") == ("A.x", "a.X", target)


def test_a_kind_is_tried_on_every_spelling_before_the_next_kind(matcher: Any) -> None:
    index = matcher.DomainIndex([("*", "any"), ("a.*", "prefix"), ("*.x:80", "suffix"), ("a.x", "exact")])
    assert index.find("a.x:80", "a.x")[2] == "exact"
    assert index.find("b.x:80", "b.x")[2] == "suffix"
    assert index.find("a.y:80", "a.y")[2] == "prefix"
    assert index.find("c:80", "c")[1:] == ("c:80", "any")


def test_nothing_to_find_without_a_spelling(matcher: Any) -> None:
    assert matcher.DomainIndex([("*", 1)]).find() is None


def rank(pattern: str, authority: str) -> tuple[int, int] | None:
    """The oracle: how well ``pattern`` fits, greater is better; ``None``: not at all."""
    pattern, authority = pattern.lower(), authority.lower()
    if pattern == "*":
        return (0, 0)
    if pattern.startswith("*"):
        return (
            (2, len(pattern)) if authority.endswith(pattern[1:]) and len(authority) >= len(pattern) else None
        )
    if pattern.endswith("*"):
        return (
            (1, len(pattern))
            if authority.startswith(pattern[:-1]) and len(authority) >= len(pattern)
            else None
        )
    return (3, 0) if pattern == authority else None


names = st.text("abAB.", min_size=1, max_size=6)
patterns = st.one_of(names, names.map("*{}".format), names.map("{}*".format), st.just("*"))


@given(st.lists(patterns, max_size=12, unique_by=str.lower), st.lists(names, min_size=1, max_size=20))
def test_domains_are_chosen_as_by_trying_them_all(domains: list[str], authorities: list[str]) -> None:
    for name in NAMES:
        index = variant(name).matcher.DomainIndex([(domain, domain) for domain in domains])
        for authority in authorities:
            fits = [(rank(domain, authority), domain) for domain in domains if rank(domain, authority)]
            wanted = max(fits)[1] if fits else None  # type: ignore[type-var]
            found = index.find(authority)
            assert (found and found[0]) == wanted
