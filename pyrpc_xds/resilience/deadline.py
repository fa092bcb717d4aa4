"""The time a call may take: the route's timeout or the caller's, whichever is shorter (gRFC A31)."""

from __future__ import annotations

from ..transports.base import Destination


def shorter(destination: Destination, timeout: float | None) -> float | None:
    """Seconds that the call may take; ``None``: no limit.

    :param timeout: the caller's own, in seconds, ``None`` where it gave none.
    """
    limit = destination.timeout
    if limit is None or (destination.cap_only and timeout is None):
        return timeout
    return limit if timeout is None or limit < timeout else timeout
