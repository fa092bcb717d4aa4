"""The ``pyrpc-xds`` command. One file a subcommand; every one answers ``--json``."""

from __future__ import annotations

import sys

from ..errors import missing_extra


def main() -> None:
    """Entry point of the console script."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        sys.exit(f"pyrpc-xds: {missing_extra('cli', str(error.name), 'the command line')}")
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        from .app import app

        app()
    except KeyboardInterrupt:  # before a command began
        sys.exit(130)
