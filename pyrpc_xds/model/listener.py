"""Listener (LDS), the client side's ApiListener form."""

from __future__ import annotations

from dataclasses import field

from ..frozen import frozen
from .route import RouteConfiguration


@frozen
class Listener:
    """What a target's listener says: where its routes are.

    :param name: as requested, such as ``greeter.default.svc.cluster.local:9090``.
    :param route_config_name: the RDS name; empty where ``route_config`` is inline.
    :param route_config: the inline RouteConfiguration.
    :param max_stream_duration: seconds, the default of routes that say nothing; ``None``: none.
    """

    name: str
    route_config_name: str = ""
    route_config: RouteConfiguration | None = None
    max_stream_duration: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
