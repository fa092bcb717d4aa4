"""``pyrpc-xds check``: what a folder of YAML, or a bootstrap file, will do and will not do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from ..bootstrap import Bootstrap, Mode
from .app import app, console, json_option, print_json

STYLE = {"error": "red", "warning": "yellow", "note": "dim"}


@app.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@json_option
def check(path: Path, strict: bool, as_json: bool) -> None:
    """Check PATH before it is deployed: a folder (or file) of Istio and Kubernetes YAML, with Dubbo's YAML
    among it or not, or a bootstrap *.json.

    Exits with 1 where something is refused, or leads nowhere whatever runs; --strict: also where pods that the rules
    need are not among the documents, or rules have no effect.
    """
    if path.suffix == ".json":
        check_bootstrap(path, as_json)
        return
    from .findings import check_folder

    report = check_folder(path)
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        for finding in report.findings:
            place = f"{escape(finding.where)}: " if finding.where else ""
            style = STYLE[finding.level]
            console.print(f"[{style}]{finding.level}[/] {place}{escape(finding.what)}", soft_wrap=True)
        for target in report.targets:
            console.print(
                f"[bold]{escape(target.target)}[/] {target.protocol}, {plural(target.routes, 'route')}",
                soft_wrap=True,
            )
            for name, count in target.clusters:
                style = "green" if count else "red"
                console.print(f"  [{style}]{plural(count, 'endpoint')}[/] in {escape(name)}", soft_wrap=True)
        for reference in report.references:
            console.print(
                f"[bold]{escape(reference.where)}[/] calls {escape(reference.target)} (by {reference.by})",
                soft_wrap=True,
            )
        if not report.targets and not report.references:
            console.print(f"{escape(str(path))} describes no service", soft_wrap=True)
    failing = {"error", "warning"} if strict else {"error"}
    raise SystemExit(1 if any(finding.level in failing for finding in report.findings) else 0)


def plural(count: int, word: str) -> str:
    """``1 route``, ``2 routes``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def check_bootstrap(path: Path, as_json: bool) -> None:
    """Show what a bootstrap file says; an error in it is the command's."""
    bootstrap = Bootstrap.from_file(path)
    server, node = bootstrap.servers[0], bootstrap.node
    if as_json:
        print_json(
            {
                "ok": True,
                "server": server.uri,
                "credentials": server.credentials.kind,
                "node": node.id,
                "mode": bootstrap.mode.value,
            }
        )
        return
    mode = "" if bootstrap.mode is Mode.GRPC else f", {bootstrap.mode.value} mode"
    console.print(
        f"control plane {escape(server.uri)} ({server.credentials.kind}), node {escape(node.id)}{mode}",
        soft_wrap=True,
    )
    for spare in bootstrap.servers[1:]:
        console.print(
            f"[dim]note[/] {escape(spare.uri)} is used where the one before it cannot be had", soft_wrap=True
        )
