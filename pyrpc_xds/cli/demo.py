"""``pyrpc-xds demo``: a scenario with all its parts, in one command.

A scenario is the module ``examples/NAME/scenario.py``. It has

* ``play(xds_address, apply, calls=..., on_result=...)``: runs all parts, changes the rules by ``apply`` and returns
  the results, each with ``passed``, ``calls`` (how many were measured) and ``as_dict()``;
* ``Report(console)``: prints a result that it is called with;
* and, if it has a page, ``serve(xds_address, apply, listen)``: a context manager that gives its URL.
"""

from __future__ import annotations

import importlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from rich.markup import escape

from ..waiting import Bell
from .app import app, console, json_option, print_json

SCENARIOS = ("bookinfo", "greeter")


def scenario_module(name: str) -> Any:
    """The scenario's module; it comes with the package.

    :raises click.ClickException: what the scenario needs is not installed.
    """
    try:
        return importlib.import_module(f"pyrpc_xds.examples.{name}.scenario")
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("pyrpc_xds"):
            raise
        raise click.ClickException(f"{error}: pip install 'pyrpc-xds[demo]'") from error


class Mesh:
    """The embedded control plane with a file of rules that may be changed while it runs.

    :ivar address: of the control plane.
    :ivar document: the file.
    """

    def __init__(self, address: str, document: Path) -> None:
        self.address = address
        self.document = document

    def apply(self, text: str) -> None:
        """Replace the file as a whole, as an editor does: the control plane never reads half of it."""
        fresh = self.document.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.document)


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Take SIGTERM like Ctrl-C: the parts are processes of their own, and whoever ends this one means them too."""

    def on_term(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        yield
    except Terminated:
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def embedded() -> Iterator[Mesh]:
    """A control plane on a free port of loopback, with no rules yet; SIGTERM ends what is done with it."""
    # Before signals raise: within an import that may come out as another error, or not at all.
    from ..controlplane import ControlPlane

    with interruptible(), tempfile.TemporaryDirectory(prefix="pyrpc-xds-demo-") as folder:
        document = Path(folder, "mesh.yaml")
        document.write_text("")
        with ControlPlane(Path(folder), "127.0.0.1:0") as plane:
            yield Mesh(plane.address, document)


@app.command()
@click.argument("name", type=click.Choice(SCENARIOS), default="greeter")
@click.option("--calls", default=1000, show_default=True, help="Calls measured for each row.")
@click.option("--web", is_flag=True, help="Serve the scenario's page instead, until Ctrl-C.")
@click.option(
    "--listen",
    default="127.0.0.1:8000",
    show_default=True,
    help="Of the page; a free port where it is taken.",
)
@json_option
def demo(name: str, calls: int, web: bool, listen: str, as_json: bool) -> None:
    """Play a scenario against the embedded control plane and check every distribution."""
    scenario = scenario_module(name)
    if web and not hasattr(scenario, "serve"):
        raise click.UsageError(f"the scenario {name} has no page")
    began = time.monotonic()
    with embedded() as mesh:
        if not as_json:
            console.print(
                f"control plane on [bold]{mesh.address}[/], rules in [bold]{mesh.document}[/]", soft_wrap=True
            )
        if web:
            serve(scenario, mesh, listen, as_json)
            return
        on_result = (lambda result: None) if as_json else scenario.Report(console)
        results = scenario.play(mesh.address, mesh.apply, calls=calls, on_result=on_result)
    seconds = time.monotonic() - began
    passed = all(result.passed for result in results)
    if as_json:
        rows = [result.as_dict() for result in results]
        print_json({"passed": passed, "seconds": round(seconds, 1), "rows": rows})
    else:
        verdict = "[bold green]every step as the rules say[/]" if passed else "[bold red]a step is off[/]"
        console.print(f"{verdict} ({sum(result.calls for result in results)} calls, {seconds:.1f} s)")
    raise SystemExit(0 if passed else 1)


def serve(scenario: Any, mesh: Mesh, listen: str, as_json: bool) -> None:
    """Serve the scenario's page until Ctrl-C."""
    with scenario.serve(mesh.address, mesh.apply, listen) as url:
        if as_json:
            print_json({"url": url, "control_plane": mesh.address, "rules": str(mesh.document)})
        else:
            if listen.rpartition(":")[2] not in ("0", str(urlsplit(url).port)):
                console.print(
                    f"[yellow]note:[/] {escape(listen)} is taken: here is a free port", soft_wrap=True
                )
            console.print(
                f"open [bold]{url}[/] (change the rules file while it runs; Ctrl-C ends)", soft_wrap=True
            )
        with suppress(Terminated):
            Bell().wait()
