"""A connector for commands that decide calls and make none."""

from __future__ import annotations

from typing import Any


class NoConnection:
    """Stands where a transport has a connection."""

    def drain(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class NoConnector:
    """Reaches nothing; see :class:`pyrpc_xds.transports.base.Connector`."""

    key: tuple[Any, ...] = ("offline",)

    def connect(self, address: str) -> NoConnection:
        """A stand-in."""
        return NoConnection()
