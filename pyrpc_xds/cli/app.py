"""The command group and what its commands share."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import click
from rich.console import Console

from ..errors import PyrpcXdsError
from ..xds.names import TargetKind, parse_target

console = Console(highlight=False)
problems = Console(stderr=True, highlight=False)

# What `route` and `dump` say of a cluster without endpoints.
NO_ENDPOINTS = (
    "no usable endpoints: check readiness, labels, the DestinationRule's subset, and that a ServiceEntry's "
    "resolution is STATIC (DNS and NONE are looked up by nobody; a target without xds:/// is called directly)"
)


INTERRUPTED = 130
"""How a command exits that was ended by Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class Group(click.Group):
    """Shows our own errors as one line, not as a traceback; as JSON where that was asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except PyrpcXdsError as error:
            if "--json" in sys.argv:
                print_json({"error": str(error)})
                raise SystemExit(1) from error
            raise click.ClickException(str(error)) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pyrpc-xds")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Proxyless Istio mesh for Python: look at decisions, check configuration, serve it, try it."""
    # What a command must say, it says in its answer.
    logger = logging.getLogger("pyrpc_xds")
    ctx.call_on_close(partial(logger.setLevel, logger.level))
    logger.setLevel(logging.CRITICAL)


json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs."
)
timeout_option: Callable[..., Any] = click.option(
    "--timeout", default=10.0, show_default=True, help="Seconds to wait for the control plane."
)


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def not_in_the_mesh(target: str) -> str:
    """What to say of a target without a scheme, which may have been meant for one in the mesh; empty for others."""
    parsed = parse_target(target)
    if parsed.kind is not TargetKind.PLAIN:
        return ""
    meant = replace(parsed, kind=TargetKind.XDS)
    return f"{target} is one endpoint, which is not looked up in the mesh: did you mean {meant}?"


def headers_of(values: tuple[str, ...]) -> dict[str, str]:
    """``name=value`` or ``name: value`` options as a header view: lower-case names, values joined by a comma."""
    headers: dict[str, str] = {}
    for value in values:
        separator = "=" if "=" in value and (":" not in value or value.index("=") < value.index(":")) else ":"
        name, found, content = value.partition(separator)
        if not found:
            raise click.BadParameter(f"{value!r} is not name=value")
        key, content = name.strip().lower(), content.strip()
        headers[key] = f"{headers[key]},{content}" if key in headers else content
    return headers


# Each module registers its command.
from . import check, control_plane, demo, dump, route  # noqa: E402, F401
