"""The test of the draws is itself tested, against the tables of the chi-square distribution."""

from __future__ import annotations

import pytest

from tests.unit.ext.chi_square import p_value, upper_gamma


@pytest.mark.parametrize(
    ("freedom", "statistic", "p"),
    [(1, 3.841, 0.05), (1, 10.828, 0.001), (2, 5.991, 0.05), (4, 18.467, 0.001), (9, 16.919, 0.05)],
)
def test_upper_gamma_gives_the_tabulated_p_values(freedom: int, statistic: float, p: float) -> None:
    assert upper_gamma(freedom / 2, statistic / 2) == pytest.approx(p, rel=0.01)


def test_p_value_of_a_biased_coin_is_small() -> None:
    assert p_value({"a": 5300, "b": 4700}, {"a": 5000.0, "b": 5000.0}) < 0.001


def test_p_value_of_a_fair_coin_is_large() -> None:
    assert p_value({"a": 5010, "b": 4990}, {"a": 5000.0, "b": 5000.0}) > 0.5


def test_p_value_refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(AssertionError):
        p_value({"c": 1}, {"a": 1.0})
