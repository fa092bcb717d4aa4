"""``pyrpc-xds demo``: a scenario with all its parts, in one command."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from .app import app, console, json_option, print_json

SCENARIOS = ("greeter",)


def scenario_module(name: str) -> Any:
    """The scenario's module; it comes with the package."""
    return importlib.import_module(f"pyrpc_xds.examples.{name}.scenario")


@app.command()
@click.argument("name", type=click.Choice(SCENARIOS), default="greeter")
@click.option("--calls", default=1000, show_default=True, help="Calls measured for each row.")
@json_option
def demo(name: str, calls: int, as_json: bool) -> None:
    """Play a scenario against the embedded control plane and check every distribution."""
    from ..controlplane import ControlPlane

    scenario = scenario_module(name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pyrpc-xds-demo-") as folder:
        document = Path(folder, "mesh.yaml")

        def apply(text: str) -> None:
            # Replaced whole, as an editor does: the control plane never reads half a file.
            fresh = document.with_suffix(".new")
            fresh.write_text(text)
            os.replace(fresh, document)

        apply(scenario.mesh_yaml(scenario.TUTORIAL[0].rules, {}))
        with ControlPlane(Path(folder), "127.0.0.1:0") as plane:
            if not as_json:
                console.print(
                    f"control plane on [bold]{plane.address}[/], rules in [bold]{document}[/]", soft_wrap=True
                )
            results = scenario.play(
                plane.address,
                apply,
                calls=calls,
                on_result=(lambda result: None) if as_json else Report(),
            )
    seconds = time.monotonic() - began
    passed = all(result.passed for result in results)
    if as_json:
        print_json(
            {"passed": passed, "seconds": round(seconds, 1), "rows": [as_dict(result) for result in results]}
        )
    else:
        verdict = "[bold green]every step as the rules say[/]" if passed else "[bold red]a step is off[/]"
        console.print(f"{verdict} ({sum(sum(r.seen.values()) for r in results)} calls, {seconds:.1f} s)")
    raise SystemExit(0 if passed else 1)


def as_dict(result: Any) -> dict[str, Any]:
    """A result for programs."""
    return {
        "protocol": result.protocol,
        "step": result.step.title,
        "attachments": dict(result.block.attachments),
        "expected": dict(result.block.expected),
        "seen": dict(result.seen),
        "probability": result.probability,
        "failures": list(result.failures),
        "passed": result.passed,
    }


BAR = 16
COLORS = ("cyan", "magenta", "yellow")


class Report:
    """Prints each result as it comes: what was seen of what was expected, and a bar of the shares."""

    def __init__(self) -> None:
        self._step = ""

    def __call__(self, result: Any) -> None:
        """Print one row."""
        if self._step != result.step.title:
            self._step = result.step.title
            console.print(f"[bold]{self._step}[/]")
        versions = sorted(set(result.block.expected) | set(result.seen))
        total = sum(result.seen.values())
        shares = [(version, result.seen.get(version, 0) / total) for version in versions]
        numbers = "  ".join(
            f"{version.partition('.')[0]} {share:6.1%} of {result.block.expected.get(version, 0):4.0%}"
            for version, share in shares
        )
        who = result.block.label if result.block.attachments else ""
        verdict = "[green]ok[/]" if result.passed else f"[red]off[/] {'; '.join(result.failures[:1])}"
        drawn = bar([share for _, share in shares])
        console.print(f"  {result.protocol:7} {who:12} {drawn}  {numbers:36} {verdict}")


def bar(shares: list[float]) -> str:
    """Shares as a coloured bar; shades tell them apart where there is no colour."""
    text, done, drawn = "", 0.0, 0
    for share, color, shade in zip(shares, COLORS, "█▒░", strict=False):
        done += share
        width = round(done * BAR) - drawn
        drawn += width
        text += f"[{color}]{shade * width}[/]"
    return text
