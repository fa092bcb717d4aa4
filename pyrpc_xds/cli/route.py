"""``pyrpc-xds route``: where a call would go, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape

from ..client import XdsClient
from ..errors import CallError
from ..model.snapshot import ClusterConfig, ClusterState
from ..model.thrift_form import NOT_SAID, ThriftForms
from ..routing.explain import RouteExplanation
from ..routing.snapshot import CompiledSnapshot
from .app import (
    NO_ENDPOINTS,
    app,
    console,
    headers_of,
    json_option,
    not_in_the_mesh,
    print_json,
    timeout_option,
)
from .offline import NoConnector

MARKS = {
    "matched": "[green]✔[/]",
    "sometimes": "[yellow]%[/]",
    "failed": "[red]✘[/]",
    "not reached": "[dim]·[/]",
}
SHOWN_ENDPOINTS = 8


@app.command()
@click.argument("target")
@click.argument("path", metavar="/package.Service/Method")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="An attachment of the call; repeatable.",
)
@timeout_option
@json_option
def route(target: str, path: str, headers: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Explain which virtual host, route, cluster and endpoints a call of TARGET would get.

    The control plane and the identity come from the environment, as for an application. No call is made.
    Exits with 1 where the call would fail.
    """
    if not path.startswith("/"):
        raise click.BadParameter(
            f"{path!r} does not begin with a slash: /package.Service/Method", param_hint="PATH"
        )
    view = headers_of(headers)
    notes = [note] if (note := not_in_the_mesh(target)) else []
    with XdsClient.from_env() as client:
        router = client.router(target, NoConnector())
        try:
            snapshot = router.wait(timeout)
        except CallError as error:
            if as_json:
                print_json({"authority": router.authority, "path": path, "error": str(error)})
                raise SystemExit(1) from None
            raise
        notes += notes_of(snapshot)
        failed = show_json(snapshot, path, view, notes) if as_json else show(snapshot, path, view, notes)
    raise SystemExit(1 if failed else 0)


def endpoints_of(state: ClusterState) -> tuple[list[str], str]:
    """Addresses of a cluster, or why it has none."""
    if not isinstance(state, ClusterConfig):
        return [], state.reason
    addresses = [endpoint.address for endpoint in state.assignment.endpoints]
    if addresses:
        return addresses, ""
    return [], NO_ENDPOINTS


def thrift_of(state: ClusterState) -> dict[str, str]:
    """The form of Thrift messages that the control plane gives: by address of an endpoint, and of the cluster under
    ``*``. A client that is told a form by its arguments speaks that one."""
    if not isinstance(state, ClusterConfig):
        return {}
    said = ThriftForms(state.cluster.thrift_form, state.assignment.thrift_forms)
    found = {"*": state.cluster.thrift_form, **said}
    return {place: str(form) for place, form in found.items() if form != NOT_SAID}


def notes_of(snapshot: CompiledSnapshot) -> list[str]:
    """What was received and is not applied."""
    config = snapshot.config
    notes = [*config.listener.notes, *config.route_config.notes]
    for state in config.clusters.values():
        if isinstance(state, ClusterConfig):
            notes += [*state.cluster.notes, *state.assignment.notes]
    return notes


def show_json(snapshot: CompiledSnapshot, path: str, headers: dict[str, str], notes: list[str]) -> bool:
    """Print the explanation for programs; whether the call would fail."""
    explanation = snapshot.table.explain(path, headers)
    clusters: list[dict[str, Any]] = []
    for name, weight in explanation.clusters:
        state = snapshot.config.clusters[name]
        addresses, problem = endpoints_of(state)
        shown_cluster = {"name": name, "weight": weight, "endpoints": addresses, "error": problem}
        clusters.append({**shown_cluster, "thrift": thrift_of(state)})
    failed = bool(explanation.error) or any(cluster["error"] for cluster in clusters)
    timeout = None if explanation.error else snapshot.route(path, headers).timeout
    listener = snapshot.config.listener.name
    shown = {
        **asdict(explanation),
        "listener": listener,
        "clusters": clusters,
        "timeout": timeout,
        "notes": notes,
    }
    print_json(shown)
    return failed


def show(snapshot: CompiledSnapshot, path: str, headers: dict[str, str], notes: list[str]) -> bool:
    """Print the explanation for people; whether the call would fail."""
    explanation = snapshot.table.explain(path, headers)
    console.print(f"[bold]{escape(explanation.authority)}[/] {escape(path)}", soft_wrap=True)
    for name, value in headers.items():
        console.print(f"  {escape(name)}: {escape(value)}", soft_wrap=True)
    if (listener := snapshot.config.listener.name) != explanation.authority:
        console.print(f"Listener [bold]{escape(listener)}[/]", soft_wrap=True)
    console.print(f"RouteConfiguration [bold]{escape(explanation.route_config)}[/]", soft_wrap=True)
    host = escape(explanation.virtual_host or "none")
    console.print(f"VirtualHost [bold]{host}[/] ({escape(explanation.why)})", soft_wrap=True)
    for entry in explanation.routes:
        to = ", ".join(f"{name} ({weight})" for name, weight in entry.clusters) or entry.action
        label = f"[bold]{escape(entry.name)}[/] " if entry.name else ""
        console.print(
            f"{MARKS[entry.outcome]} {entry.index + 1}. {label}{escape(entry.wants)}", soft_wrap=True
        )
        if reason := why_not(entry):
            console.print(f"     [red]{escape(reason)}[/]", soft_wrap=True)
        console.print(f"     [dim]to {escape(to)}[/]", soft_wrap=True)
    if explanation.error:
        console.print(f"[red]the call fails:[/] {escape(explanation.error)}", soft_wrap=True)
    timeout = None if explanation.error else snapshot.route(path, headers).timeout
    if timeout is not None:
        console.print(f"timeout {timeout:g} s")
    failed = bool(explanation.error)
    total = sum(weight for _, weight in explanation.clusters)
    for name, weight in explanation.clusters:
        addresses, problem = endpoints_of(snapshot.config.clusters[name])
        failed = failed or bool(problem)
        more = f" and {len(addresses) - SHOWN_ENDPOINTS} more" if len(addresses) > SHOWN_ENDPOINTS else ""
        content = (
            f"[red]{escape(problem)}[/]" if problem else escape(", ".join(addresses[:SHOWN_ENDPOINTS])) + more
        )
        console.print(f"Cluster [bold]{escape(name)}[/] {weight / total:.0%}: {content}", soft_wrap=True)
        for place, form in list(thrift_of(snapshot.config.clusters[name]).items())[:SHOWN_ENDPOINTS]:
            of = "" if place == "*" else f" to {escape(place)}"
            console.print(f"     [dim]Thrift{of}: {escape(form)}[/]", soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    return failed


def why_not(entry: RouteExplanation) -> str:
    """The condition that failed, in words."""
    if entry.condition is None or entry.outcome == "not reached":
        return ""
    got = "missing" if entry.condition.got is None else repr(entry.condition.got)
    if entry.condition.subject == "fraction":
        return entry.condition.wanted
    return f"{entry.condition.subject} is {got}, wanted: {entry.condition.wanted}"
