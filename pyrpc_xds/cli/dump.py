"""``pyrpc-xds dump``: what a client of the given targets holds, and what it thinks of it."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape

from ..client import XdsClient
from ..errors import CallError
from .app import (
    NO_ENDPOINTS,
    app,
    console,
    json_option,
    not_in_the_mesh,
    print_json,
    problems,
    timeout_option,
)
from .offline import NoConnector

STATE_STYLE = {"ACKED": "green", "NACKED": "red", "REQUESTED": "yellow"}


@app.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@timeout_option
@json_option
def dump(targets: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Follow each TARGET (xds:///host:port) and show every resource received for it: version, ACK or NACK.

    The control plane and the identity come from the environment, as for an application.
    """
    notes = {}
    for target in targets:
        if note := not_in_the_mesh(target):
            problems.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    with XdsClient.from_env() as client:
        for router in [client.router(target, NoConnector()) for target in targets]:
            try:
                router.wait(timeout)
            except CallError as error:
                notes[router.authority] = str(error)
        state = client.dump()
    if as_json:
        print_json({**state, "problems": notes})
    else:
        stream = "[green]connected[/]" if state["connected"] else "[red]not connected[/]"
        console.print(
            f"[bold]{escape(state['node']['id'])}[/] at [bold]{state['server']}[/], {stream}", soft_wrap=True
        )
        if state["last_error"]:
            console.print(f"[red]{escape(state['last_error'])}[/]", soft_wrap=True)
        for resource in state["resources"]:
            style = STATE_STYLE.get(resource["state"], "magenta")
            age = resource["age_seconds"]
            details = [f"version {resource['version']}"] if resource["version"] else []
            details += [f"{age:.1f} s ago"] if age is not None else []
            details += [f"[red]{escape(resource['error'])}[/]"] if resource["error"] else []
            if resource["type"] == "EDS" and _empty(resource["resource"]):
                details += [f"[yellow]{escape(NO_ENDPOINTS)}[/]"]
            line = (
                f"[{style}]{resource['state']:9}[/] {resource['type']} [bold]{escape(resource['name'])}[/]  "
            )
            console.print(line + ", ".join(details), soft_wrap=True)
        for note in notes.values():
            console.print(f"[red]{escape(note)}[/]", soft_wrap=True)
    if notes:
        raise SystemExit(1)


def _empty(assignment: dict[str, Any] | None) -> bool:
    """Whether a ClusterLoadAssignment came and has no endpoint."""
    return assignment is not None and not any(each["endpoints"] for each in assignment["localities"])
