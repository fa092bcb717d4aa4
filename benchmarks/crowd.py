"""Many callers at once, rival beside rival: calls a second, and how long a call takes among the others.

As in :mod:`.rounds` every rival has its turn in each round and the order rotates; the ratio is that of the calls a
second, taken within each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import Any

from rich.table import Table

from .rounds import percentile

WARM_UP = 2
"""Calls of each caller at the start of a turn that do not count."""


@dataclass
class Crowd:
    """One way in which callers make the same call at once.

    :param run: has the callers make so many calls each, all at once; the nanoseconds that all of them together
        took, and those of every call.
    :param close: releases what it holds; called once.
    :param server_cpu_ns: what the server has used of the processors so far.
    :param connections: how many it has open; asked after the last round.
    """

    name: str
    run: Callable[[int], tuple[int, list[int]]]
    close: Callable[[], object] = lambda: None
    server_cpu_ns: Callable[[], int] | None = None
    connections: Callable[[], int] | None = None
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)

    def turn(self, calls: int) -> None:
        """Have each caller make ``calls`` calls."""
        self.run(WARM_UP)
        served = self.server_cpu_ns() if self.server_cpu_ns else 0
        used = process_time_ns()
        elapsed, times = self.run(calls)
        self.cpu.append((process_time_ns() - used) / len(times) / 1000)
        if self.server_cpu_ns:
            self.server_cpu.append((self.server_cpu_ns() - served) / len(times) / 1000)
        times.sort()
        self.rate.append(len(times) / elapsed * 1e9)
        self.p50.append(percentile(times, 50) / 1000)
        self.p99.append(percentile(times, 99) / 1000)


def compare_crowds(crowds: Sequence[Crowd], rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    """Figures by name; ``ratio`` is that of the calls a second to the first. Closes every rival, whatever happens.

    :param calls: of each caller in each turn.
    """
    open_connections: dict[str, int] = {}
    try:
        for number in range(rounds):
            shift = number % len(crowds)
            gc.collect()
            for crowd in [*crowds[shift:], *crowds[:shift]]:
                crowd.turn(calls)
        open_connections = {each.name: each.connections() for each in crowds if each.connections}
    finally:
        for crowd in crowds:
            crowd.close()
    base = crowds[0]
    figures = {}
    for crowd in crowds:
        ratios = sorted(mine / bare for mine, bare in zip(crowd.rate, base.rate, strict=True))
        times = [mine / bare for mine, bare in zip(crowd.p50, base.p50, strict=True)]
        figures[crowd.name] = {
            "calls_per_s": round(median(crowd.rate)),
            "p50_us": round(median(crowd.p50), 1),
            "p99_us": round(median(crowd.p99), 1),
            "cpu_us": round(median(crowd.cpu), 1),
            "server_cpu_us": round(median(crowd.server_cpu), 1) if crowd.server_cpu else None,
            "connections": open_connections.get(crowd.name),
            "p50_ratio": round(median(times), 3),
            "ratio": round(median(ratios), 3),
            "ratio_middle_half": [round(percentile(ratios, 25), 3), round(percentile(ratios, 75), 3)],
        }
    return figures


def table(title: str, figures: dict[str, dict[str, Any]]) -> Table:
    """The figures of :func:`compare_crowds`, as a person reads them."""
    shown = Table("", title=title, title_justify="left")
    for heading in ("calls/s", "to 1st", "middle half", "p50 us", "p99 us", "CPU us", "server", "open"):
        shown.add_column(heading, justify="right")
    for name, figure in figures.items():
        low, high = figure["ratio_middle_half"]
        served = figure["server_cpu_us"]
        shown.add_row(
            name,
            f"{figure['calls_per_s']:,}",
            f"{figure['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{figure['p50_us']:,.0f}",
            f"{figure['p99_us']:,.0f}",
            f"{figure['cpu_us']:,.0f}",
            "" if served is None else f"{served:,.0f}",
            str(figure["connections"] or ""),
        )
    return shown


def threads(calls: Sequence[Callable[[], object]]) -> Callable[[int], tuple[int, list[int]]]:
    """A :attr:`Crowd.run` with a thread for each of ``calls``."""

    def run(count: int) -> tuple[int, list[int]]:
        together = threading.Barrier(len(calls))
        begun: list[int] = []
        ended: list[int] = []
        times: list[int] = []
        failures: list[BaseException] = []

        def caller(call: Callable[[], object]) -> None:
            mine = []
            together.wait(60)
            begun.append(perf_counter_ns())
            try:
                for _ in range(count):
                    start = perf_counter_ns()
                    call()
                    mine.append(perf_counter_ns() - start)
            except BaseException as error:
                failures.append(error)
            ended.append(perf_counter_ns())
            times.extend(mine)

        running = [threading.Thread(target=caller, args=(call,)) for call in calls]
        for each in running:
            each.start()
        for each in running:
            each.join()
        if failures:
            raise failures[0]
        return max(ended) - min(begun), times

    return run


def tasks(
    runner: asyncio.Runner, calls: Sequence[Callable[[], Awaitable[object]]]
) -> Callable[[int], tuple[int, list[int]]]:
    """A :attr:`Crowd.run` with a task for each of ``calls``."""

    async def caller(call: Callable[[], Awaitable[object]], count: int, times: list[int]) -> None:
        for _ in range(count):
            start = perf_counter_ns()
            await call()
            times.append(perf_counter_ns() - start)

    async def all_of(count: int) -> tuple[int, list[int]]:
        times: list[int] = []
        start = perf_counter_ns()
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(caller(call, count, times))
        return perf_counter_ns() - start, times

    return lambda count: runner.run(all_of(count))


@contextlib.contextmanager
def closing_on_failure() -> Iterator[list[Crowd]]:
    """A list to put rivals in while they are set up: closed where that fails."""
    crowds: list[Crowd] = []
    try:
        yield crowds
    except BaseException:
        for crowd in crowds:
            crowd.close()
        raise
