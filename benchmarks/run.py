"""Ours beside its rivals, in one run: ``python -m benchmarks.run`` (or ``make bench``); see the README."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import crowd, memory, mesh, moonshot, push, rivals, start, triple_callers, triple_streams
from .rounds import compare, ratio

GROUPS = (
    "thrift",
    "thrift-mux",
    "thrift-server",
    "thrift-storm",
    "triple",
    "triple-callers",
    "triple-streams",
    "moonshot",
    "start",
    "matcher",
    "eds",
    "decode",
    "memory",
    "thrift-alone",
    "triple-alone",
)
BUILDS = {"python": "uncompiled", "cython": "compiled"}
RESULTS = mesh.ROOT / "benchmarks" / "results" / "latest.json"
LIBRARIES = ("grpcio", "protobuf", "thriftpy2", "Cython", "xds-protos", "envoy-data-plane")


@dataclass
class Goal:
    """A figure that must be at most ``limit``; ``seen`` is None where a rival was absent.

    :param interval: where the figure would be with 95 % probability after endless rounds
        (:func:`.rounds.against`): a limit inside of it is a tie, and met.
    """

    text: str
    limit: float
    seen: float | None
    unit: str = "x"
    interval: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        if self.seen is None:
            return "[yellow]not measured[/]"
        if self.seen <= self.limit:
            return f"[green]met[/]: {self.seen:g} {self.unit}"
        if self.interval and self.interval[0] <= self.limit:
            return f"[green]met[/], a tie: {self.seen:g} {self.unit}, from {self.interval[0]:g} to {self.interval[1]:g}"
        return f"[red]missed by {100 * (self.seen / self.limit - 1):.0f} %[/]: {self.seen:g} {self.unit}"


@dataclass
class Result:
    """One group's figures and goals."""

    title: str
    figures: dict[str, Any]
    goals: list[Goal]
    absent: dict[str, str]


def calls(group: str, control_plane: str, quick: bool) -> Result:
    """Thrift or Triple: every rival makes the same call to the same servers, round by round."""
    rounds, number = (10, 100) if quick else (80, 100)
    with rivals.surroundings(control_plane) as (ports, sidecar):
        entered = {"thrift": rivals.thrift, "triple": rivals.triple}[group](ports[group], sidecar)
        field = entered.rivals
        figures = compare(field, rounds, number)

    def seen(one: str, other: str) -> float | None:
        present = {rival.name for rival in field}
        return round(ratio(field, one, other), 3) if {one, other} <= present else None

    if group == "thrift":
        goals = [
            Goal("p50 to bare thriftpy2: at most 1.08", 1.08, seen(rivals.OURS, rivals.BARE_THRIFT)),
            Goal("p50 to Envoy: at most 0.6", 0.6, seen(rivals.OURS, rivals.ENVOY_THRIFT)),
        ]
    else:
        goals = [Goal("p50 to grpcio's xds:///: at most 1", 1.0, seen(rivals.OURS, rivals.GRPC_XDS))]
    title = f"{group.capitalize()}, one unary call ({rounds} rounds of {number} calls)"
    return Result(title, figures, goals, entered.absent)


def of_module(name: str, title: str, quick: bool) -> Result:
    """A group that a module measures by itself: ``measure(rounds) -> dict``."""
    measure = importlib.import_module(f".{name}", __package__).measure
    figures = measure(rounds=5) if quick else measure()
    return Result(title, figures, [], {})


def with_goals(name: str, title: str, quick: bool) -> Result:
    """The same of a module that says what its figures must be: ``goals(figures)``."""
    module = importlib.import_module(f".{name}", __package__)
    figures = module.measure(rounds=2, calls=256) if quick else module.measure()
    absent = figures.pop("absent", {})
    return Result(title, figures, [Goal(*each) for each in module.goals(figures)], absent)


def tied(text: str, figure: dict[str, Any], limit: float = 1.0) -> Goal:
    """A goal of a ratio that :func:`.rounds.against` has given."""
    return Goal(
        f"{text}: at most {limit:g}", limit, figure["ratio"], interval=tuple(figure["ratio_interval"])
    )


def of_callers(control_plane: str, quick: bool) -> Result:
    rounds, number = (4, 128) if quick else (40, 640)
    figures = triple_callers.measure(rounds, number, control_plane)
    goals = []
    for callers, rivals_of in figures.items():
        ours = rivals_of[rivals.OURS]
        goals.append(tied(f"{callers}: p50 to grpcio's xds:///", ours))
        goals.append(tied(f"{callers}: time of all together to grpcio's xds:///", ours["together"]))
    title = f"Triple, callers at once ({rounds} rounds of {number} calls):"
    return Result(title, figures, goals, {})


def of_streams(quick: bool) -> Result:
    rounds, number = (4, 400) if quick else (40, 1000)
    figures = triple_streams.measure(rounds, number)
    goals = [tied(f"{kind}: a message, to bare", found[rivals.OURS]) for kind, found in figures.items()]
    title = f"Triple, a message of a stream ({rounds} rounds of {number} messages):"
    return Result(title, figures, goals, {})


def of_moonshot(quick: bool) -> Result:
    figures = moonshot.measure(rounds=6) if quick else moonshot.measure()
    goals = [
        tied(f"{name}: p50 to bare grpcio", figures[name], most) for name, most in moonshot.LIMITS.items()
    ]
    return Result("Triple on nghttp2, one unary call:", figures, goals, {})


def of_start(control_plane: str, quick: bool) -> Result:
    rounds = 3 if quick else 25
    figures = start.measure(rounds, control_plane)
    goals = [
        tied(f"import of {name} to grpc", found, 1.3)
        for name, found in figures["import"].items()
        if name != start.GRPC
    ]
    goals += [
        tied(f"first call {since}, to grpcio's xds:///", found[rivals.OURS])
        for since, found in figures["first call"].items()
    ]
    return Result(f"Starting ({rounds} processes each):", figures, goals, {})


def of_push(quick: bool) -> Result:
    figures = push.measure(rounds=3 if quick else 15)
    goal = Goal("median to the bare parse and walk: at most 3", 3.0, figures[rivals.OURS]["ratio"])
    title = f"Applying an EDS push of {push.ENDPOINTS:,} endpoints, to the first pick"
    return Result(title, figures, [goal], {})


def of_memory(control_plane: str) -> Result:
    figures = memory.measure(control_plane)
    goal = Goal("above idle: under 30 MB", 30.0, figures["above_idle_mb"], "MB")
    return Result(f"Memory of {figures['endpoints']:,} endpoints", figures, [goal], {})


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the machine."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    versions["envoy"] = rivals.envoy_peer.VERSION
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "compiled": bool(compiled := compiled_modules()),
        "compiled_modules": compiled,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }


def compiled_modules() -> list[str]:
    """Which modules of ext/ run compiled."""
    names = sorted(path.stem for path in (mesh.ROOT / "ext").glob("_*.py"))
    loaded = {name: importlib.import_module(f"pyrpc_xds.{name}") for name in names}
    return [name for name, module in loaded.items() if not str(module.__file__).endswith(".py")]


def tables(result: Result) -> Iterator[Table]:
    """The figures of one group, as a person reads them."""
    others = {}
    for path, figures in nested(result.figures):
        if is_comparison(figures) and "ms" in next(iter(figures.values())):
            yield milliseconds(" ".join(filter(None, [result.title, path])), figures)
        elif is_comparison(figures) and "connections" in next(iter(figures.values())):
            yield crowd.table(" ".join(filter(None, [result.title, path])), figures)
        elif is_comparison(figures):
            yield comparison(" ".join(filter(None, [result.title, path])), figures)
        else:
            others[path] = figures
    if others:
        shown = Table("", "", title=result.title, title_justify="left", show_header=False)
        for path, figures in others.items():
            for name, figure in leaves(figures, path):
                shown.add_row(name, f"{figure:,}" if isinstance(figure, int) else str(figure))
        yield shown


def is_comparison(figures: Any) -> bool:
    return isinstance(figures, dict) and all(
        isinstance(figure, dict) and ("p50_us" in figure or "ms" in figure) for figure in figures.values()
    )


def nested(figures: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What there is below ``figures``: comparisons whole, everything else by its leaves."""
    if isinstance(figures, dict) and not is_comparison(figures):
        for key, value in figures.items():
            yield from nested(value, f"{path} {key}".strip())
    else:
        yield path, figures


def comparison(title: str, figures: dict[str, Any]) -> Table:
    """The figures of :func:`.rounds.compare`."""
    shown = Table("", title=title, title_justify="left")
    rates = any("calls_per_s" in figure for figure in figures.values())
    for heading in ("p50 us", "p99 us", "CPU us", "p50 to 1st", "middle half", *["calls/s"] * rates):
        shown.add_column(heading, justify="right")
    for name, figure in figures.items():
        low, high = figure["ratio_middle_half"]
        shown.add_row(
            f"[bold]{name}[/]" if name == rivals.OURS else name,
            f"{figure['p50_us']:,.1f}",
            f"{figure['p99_us']:,.1f}",
            f"{figure['cpu_us']:,.1f}",
            f"{figure['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            *([f"{figure['calls_per_s']:,}"] if rates else []),
        )
    return shown


def milliseconds(title: str, figures: dict[str, Any]) -> Table:
    """The figures of :mod:`.start`."""
    shown = Table("", title=title, title_justify="left")
    for heading in ("ms", "to 1st", "middle half"):
        shown.add_column(heading, justify="right")
    for name, figure in figures.items():
        low, high = figure["ratio_middle_half"]
        shown.add_row(name, f"{figure['ms']:,.1f}", f"{figure['ratio']:.2f}", f"{low:.2f} to {high:.2f}")
    return shown


def of_matcher(quick: bool) -> Result:
    measure = importlib.import_module(".matcher", __package__).measure
    figures = measure(rounds=5) if quick else measure()
    goals = [
        Goal(text, float(text.rpartition("at most ")[2].replace(",", "")), seen, "")
        for text, seen in figures.pop("goals").items()
    ]
    return Result("Matching and picking alone", figures, goals, {})


def matcher_table(result: Result) -> Table:
    """Nanoseconds a decision, by build and number of routes."""
    builds = result.figures["builds"]
    sizes = next(iter(next(iter(builds.values())).values()))["routes"]
    shown = Table("ns a call", title=result.title, title_justify="left")
    for size in sizes:
        shown.add_column(f"{int(size):,} route{'s' * (size != '1')}", justify="right")
    shown.add_column("last to first", justify="right")
    for build, kinds in builds.items():
        for kind, found in kinds.items():
            times = (f"{figure['p50_ns']:,.0f}" for figure in found["routes"].values())
            shown.add_row(f"{BUILDS.get(build, build)}, {kind}", *times, f"{found['flatness']:.2f}")
    shown.add_row("one dict look-up", f"{result.figures['dict_lookup_ns']:.0f}")
    return shown


def leaves(figures: Any, path: str = "") -> list[tuple[str, Any]]:
    """The figures of nested dictionaries, with their paths."""
    if isinstance(figures, dict):
        return [leaf for key, value in figures.items() for leaf in leaves(value, f"{path} {key}".strip())]
    return [(path.replace("_", " "), figures)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that everything runs")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where to write the figures")
    parser.add_argument("--control-plane", choices=sorted(mesh.CONTROL_PLANES), default="embedded")
    chosen = parser.parse_args()
    chosen.only = [group for group in GROUPS if group in chosen.only.split(",")]
    return chosen


def main() -> int:
    """Measure the groups asked for; 1 if one of them could not be measured."""
    chosen = arguments()
    console = Console(width=None if sys.stdout.isatty() else 110)
    results: dict[str, Result] = {}
    failed: dict[str, str] = {}
    measures: dict[str, Callable[[], Result]] = {
        "thrift": lambda: calls("thrift", chosen.control_plane, chosen.quick),
        "thrift-mux": lambda: with_goals("thrift_mux", "TTHeader, callers at once:", chosen.quick),
        "thrift-server": lambda: with_goals("thrift_server", "Thrift servers:", chosen.quick),
        "thrift-storm": lambda: with_goals("thrift_storm", "Thrift in a storm of updates:", chosen.quick),
        "triple": lambda: calls("triple", chosen.control_plane, chosen.quick),
        "triple-callers": lambda: of_callers(chosen.control_plane, chosen.quick),
        "triple-streams": lambda: of_streams(chosen.quick),
        "moonshot": lambda: of_moonshot(chosen.quick),
        "start": lambda: of_start(chosen.control_plane, chosen.quick),
        "thrift-alone": lambda: of_module("thrift", "Thrift alone:", chosen.quick),
        "triple-alone": lambda: of_module("triple", "Triple alone:", chosen.quick),
        "matcher": lambda: of_matcher(chosen.quick),
        "eds": lambda: of_push(chosen.quick),
        "decode": lambda: of_module("eds", "Decoding the same endpoints alone:", chosen.quick),
        "memory": lambda: of_memory(chosen.control_plane),
    }
    facts = machine()
    for group in chosen.only:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(f"measuring {group}", total=None)
            try:
                result = results[group] = measures[group]()
            except Exception as error:
                failed[group] = f"{type(error).__name__}: {error}"
                console.print(f"[red]{group} could not be measured[/]: {failed[group]}\n")
                continue
        for shown in [matcher_table(result)] if group == "matcher" else tables(result):
            console.print(shown)
        for name, reason in result.absent.items():
            console.print(f"  [yellow]{name} is absent[/]: {reason}", markup=True, highlight=False)
        for goal in result.goals:
            console.print(f"  {goal.text}: {goal.verdict}")
        console.print()
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": chosen.quick,
        "control_plane": chosen.control_plane,
        "machine": facts,
        "groups": {group: asdict(result) for group, result in results.items()},
        "failed": failed,
    }
    chosen.json.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"Written to {os.path.relpath(chosen.json)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
