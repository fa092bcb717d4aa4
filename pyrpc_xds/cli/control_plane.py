"""``pyrpc-xds control-plane``: serve a folder of Istio and Kubernetes YAML as xDS."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import click
from rich.logging import RichHandler

from ..waiting import Bell
from .app import INTERRUPTED, app, console, json_option, print_json, problems


@app.command("control-plane")
@click.option(
    "--config",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of YAML files; watched, one push a change.",
)
@click.option("--listen", default="127.0.0.1:15010", show_default=True, help="host:port to serve xDS on.")
@json_option
def control_plane(config: Path, listen: str, as_json: bool) -> None:
    """Serve the YAML in a folder as istiod would, until SIGTERM (exits with 0) or Ctrl-C (130).

    Point clients at it with ISTIOD_ADDR=127.0.0.1:15010.
    """
    from ..controlplane import ControlPlane

    stopping = Bell()
    came: list[int] = []

    def on_signal(number: int, _: object) -> None:
        came.append(number)
        stopping.ring()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if not as_json:
        show_log()
    with ControlPlane(config, listen) as plane:
        if as_json:
            print_json({"address": plane.address})
        else:
            console.print(
                f"serving [bold]{config}[/] as xDS on [bold]{plane.address}[/]; ISTIOD_ADDR={plane.address}",
                soft_wrap=True,
            )
        stopping.wait()
    if came[:1] == [signal.SIGINT]:
        raise SystemExit(INTERRUPTED)


def show_log() -> None:
    """What happens while it serves, as lines on standard error: bad documents, reloads, refusals of clients."""
    handler: logging.Handler
    if problems.is_terminal:
        handler = RichHandler(console=problems, show_path=False, markup=False, log_time_format="%H:%M:%S")
    else:  # a line each, however long, for files and grep
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pyrpc_xds.controlplane")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
