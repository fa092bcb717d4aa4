"""NameTable (NDS): Istio's host names and their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ..frozen import frozen

NAME = "NameTable"
"""The one NameTable has no name of its own on the wire; this is what it is subscribed to by."""


@frozen
class NameTable:
    """What the mesh's DNS would answer (``istio.networking.nds.v1.NameTable``).

    :param addresses: by host name in lower case: the service's virtual IPs, for a headless service those of its
        endpoints. IPv4 and IPv6, as sent.
    """

    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """:data:`NAME`."""
        return NAME
