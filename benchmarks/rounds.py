"""Rivals measured side by side: in every round each has its turn, and the order rotates.

A machine's speed drifts by more than the rivals differ. Within one round it hardly does, so ratios are taken
round by round, and the median of them is reported with the spread of its middle half.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import Any

WARM_UP = 20
"""Calls at the start of each turn that do not count: the caches are still the previous rival's."""


@dataclass
class Rival:
    """One way of making the same call.

    :param call: makes one call, and raises if it fails.
    :param close: releases what it holds; called once.
    """

    name: str
    call: Callable[[], object]
    close: Callable[[], object] = lambda: None
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def turn(self, calls: int, warm_up: int) -> None:
        """Make ``calls`` calls, after ``warm_up`` that do not count.

        Keeps the 50th and 99th percentile of their times, and what a call uses of this process's processor
        time (all threads), in microseconds.
        """
        call = self.call
        for _ in range(warm_up):
            call()
        times = []
        used = process_time_ns()
        for _ in range(calls):
            start = perf_counter_ns()
            call()
            times.append(perf_counter_ns() - start)
        self.cpu.append((process_time_ns() - used) / calls / 1000)
        times.sort()
        self.p50.append(percentile(times, 50) / 1000)
        self.p99.append(percentile(times, 99) / 1000)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def compare(
    rivals: Sequence[Rival], rounds: int, calls: int, warm_up: int = WARM_UP
) -> dict[str, dict[str, Any]]:
    """Measure ``rivals``; figures by name, in microseconds, with ratios to the first.

    Closes every rival, whatever happens.
    """
    try:
        for number in range(rounds):
            shift = number % len(rivals)
            gc.collect()
            for rival in [*rivals[shift:], *rivals[:shift]]:
                rival.turn(calls, warm_up)
    finally:
        for rival in rivals:
            rival.close()
    base = rivals[0]
    figures = {}
    for rival in rivals:
        figures[rival.name] = {
            "p50_us": round(median(rival.p50), 1),
            "p99_us": round(median(rival.p99), 1),
            "cpu_us": round(median(rival.cpu), 1),
            **against(rival.p50, base.p50),
        }
    return figures


def against(mine: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """How many times as much as another a rival takes, round by round: the median, the middle half, and between
    which ratios the median would be with 95 % probability if there had been endless rounds.

    That interval comes from the order of the ratios alone (the sign test's), whatever their distribution. Where it
    has 1 inside, the rivals tie: these rounds do not tell them apart.
    """
    ratios = sorted(one / other for one, other in zip(mine, base, strict=True))
    reach = 0.98 * math.sqrt(len(ratios))
    low = max(0, math.floor(len(ratios) / 2 - reach))
    high = min(len(ratios) - 1, math.ceil(len(ratios) / 2 + reach) - 1)
    return {
        "ratio": round(median(ratios), 3),
        "ratio_middle_half": [round(percentile(ratios, 25), 3), round(percentile(ratios, 75), 3)],
        "ratio_interval": [round(ratios[low], 3), round(ratios[high], 3)],
    }


def ratio(rivals: Sequence[Rival], one: str, other: str) -> float:
    """The median over the rounds of one rival's p50 to another's."""
    by_name = {rival.name: rival for rival in rivals}
    pairs = zip(by_name[one].p50, by_name[other].p50, strict=True)
    return median(mine / theirs for mine, theirs in pairs)
