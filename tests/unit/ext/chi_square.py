"""A chi-square test, enough of one for draws with fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping


def p_value(seen: Mapping[object, int], expected: Mapping[object, float]) -> float:
    """The chance of a deviation at least as large as that of ``seen`` from ``expected`` (counts, same
    total).
    """
    assert set(seen) <= set(expected), "drawn what cannot be drawn"
    statistic = sum((seen.get(key, 0) - count) ** 2 / count for key, count in expected.items())
    return upper_gamma((len(expected) - 1) / 2, statistic / 2)


def upper_gamma(shape: float, x: float) -> float:
    """The regularised upper incomplete gamma function, by the series of the lower one."""
    term = total = 1 / shape
    k = shape
    while term > total * 1e-15:
        k += 1
        term *= x / k
        total += term
    return max(0.0, 1 - total * math.exp(-x + shape * math.log(x) - math.lgamma(shape))) if x else 1.0
