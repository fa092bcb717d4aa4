"""Watchers: how a resource's news reach who asked for it."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import XdsError


class Watcher(Protocol):
    """Told about one or more resources, always on the driver's thread, never while a lock is held.

    A method may subscribe and unsubscribe. What it raises is logged and goes no further.
    The methods encode severity, not cause (gRFC A88). All news of one response come before one settled call.
    """

    def on_changed(self, name: str, resource: Any) -> None:
        """There is a new version, or the kept one is good again after an error."""

    def on_error(self, name: str, error: XdsError) -> None:
        """There is no version to use: forget what there was. A good version may still come later.

        :param error: :class:`~pyrpc_xds.errors.ResourceNotFound` (it does not exist), ``ResourceInvalid``
            (its first version was refused) or ``StreamError`` (the control plane cannot be reached, for now).
        """

    def on_ambient_error(self, name: str, error: XdsError) -> None:
        """The version in use stays good; ``error`` is why no newer one came; worth a line in a failure."""
