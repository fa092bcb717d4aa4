"""``pyrpc-xds dump``: what a client of the given targets holds, and what it thinks of it."""

from __future__ import annotations

import click
from rich.table import Table

from ..client import XdsClient
from ..errors import CallError
from .app import app, console, json_option, print_json, timeout_option
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
        node = state["node"]
        console.print(f"[bold]{node['id']}[/] at [bold]{state['server']}[/]: {state['stream']}")
        table = Table("type", "name", "state", "version", "updated", "error", box=None, pad_edge=False)
        for resource in state["resources"]:
            style = STATE_STYLE.get(resource["state"], "magenta")
            table.add_row(
                resource["type"],
                resource["name"],
                f"[{style}]{resource['state']}[/]",
                resource["version"] or "",
                resource["updated"] or "",
                resource["error"] or "",
            )
        console.print(table)
        for note in notes.values():
            console.print(f"[red]{note}[/]")
    if notes:
        raise SystemExit(1)
