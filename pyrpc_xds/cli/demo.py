"""``pyrpc-xds demo``: a scenario with all its parts, in one command."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from .app import app, console, json_option, print_json

SCENARIOS = ("greeter",)


def scenario_module(name: str) -> Any:
    """The scenario's module: installed with the package, or in the source tree."""
    try:
        return importlib.import_module(f"pyrpc_xds.examples.{name}.scenario")
    except ModuleNotFoundError:
        return importlib.import_module(f"examples.{name}.scenario")


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
                console.print(f"control plane on [bold]{plane.address}[/], rules in [bold]{document}[/]")
            results = scenario.play(
                plane.address,
                apply,
                calls=calls,
                on_result=(lambda result: None) if as_json else (lambda result: console.print(progress(result))),
            )
    seconds = time.monotonic() - began
    passed = all(result.passed for result in results)
    if as_json:
        print_json({"passed": passed, "seconds": round(seconds, 1), "rows": [as_dict(result) for result in results]})
    else:
        console.print(table(results))
        verdict = "[bold green]every step as the rules say[/]" if passed else "[bold red]a step is off[/]"
        console.print(f"{verdict} ({sum(sum(r.seen.values()) for r in results)} calls, {seconds:.1f} s)")
    raise SystemExit(0 if passed else 1)


def progress(result: Any) -> str:
    """One line as a block ends."""
    mark = "[green]ok[/]" if result.passed else "[red]off[/]"
    return f"  {mark} {result.protocol}: {result.step.title} (attachments: {result.block.label})"


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


def table(results: list[Any]) -> Table:
    """Expected and seen, per step and protocol."""
    view = Table("rules", "attachments", "protocol", "expected", "seen", "", title="Who answered", title_justify="left")
    last = None
    for result in results:
        total = sum(result.seen.values())
        expected = "  ".join(f"{version} {share:4.0%}" for version, share in sorted(result.block.expected.items()))
        seen = "  ".join(f"{version} {count / total:6.1%}" for version, count in sorted(result.seen.items()))
        if last not in (None, result.step.title):
            view.add_section()
        view.add_row(
            result.step.title if last != result.step.title else "",
            result.block.label,
            result.protocol,
            expected,
            seen,
            "[green]ok[/]" if result.passed else f"[red]off[/] {'; '.join(result.failures[:1])}",
        )
        last = result.step.title
    return view
