"""The resource types that every client knows. Those of sidecar mode are in :mod:`.sidecar_types`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ResourceInvalid
from ..frozen import frozen
from .decode.cluster import decode_cluster
from .decode.endpoint import FollowingAssignments, decode_cluster_load_assignment
from .decode.listener import decode_listener
from .decode.route import decode_route_configuration

_PREFIX = "type.googleapis.com/envoy.config."


@frozen
class ResourceType:
    """One type of resource; there is one object per type and mode.

    Its model is the class of :mod:`pyrpc_xds.model` of the same name. A session knows its types by URL: what a
    subscription names is the type, and how it is spoken and decoded is the session's.

    :param short_name: ``LDS``, ``RDS``, ``CDS``, ``EDS`` or ``NDS``.
    :param full_state: a response names every resource that exists, so absence is deletion (the xDS
        specification says so for LDS and CDS only).
    :param decoder: bytes to model, or :class:`ResourceInvalid`.
    """

    short_name: str
    type_url: str
    full_state: bool
    decoder: Callable[[bytes], Any]
    wildcard_name: Callable[[bytes], str] | None = None
    """The name of an encoded resource, where the type is asked for as a whole (no names) and only what is watched
    is decoded; ``None``: it is asked for by name. Raises ``ValueError``."""
    follow: Callable[[Callable[[], None]], Callable[[bytes], Any]] | None = None
    """Makes a decoder for one resource that remembers parts of the version before, out of what lets other threads have
    the interpreter for a moment; ``None``: there is none."""

    def decode(self, raw: bytes, decoder: Callable[[bytes], Any] | None = None) -> tuple[str, Any]:
        """The resource's name and model.

        :param decoder: what :attr:`follow` made for the resource.
        :raises ResourceInvalid: whatever goes wrong; its ``name`` is empty where that is unknown.
        """
        try:
            model = (decoder or self.decoder)(raw)
            return model.name, model
        except ResourceInvalid:
            raise
        except Exception as error:
            raise ResourceInvalid(
                self.short_name, "", f"decoder failed with {type(error).__name__}: {error}"
            ) from error

    def __repr__(self) -> str:
        return self.short_name


LDS: ResourceType = ResourceType("LDS", f"{_PREFIX}listener.v3.Listener", True, decode_listener)
RDS: ResourceType = ResourceType(
    "RDS", f"{_PREFIX}route.v3.RouteConfiguration", False, decode_route_configuration
)
CDS: ResourceType = ResourceType("CDS", f"{_PREFIX}cluster.v3.Cluster", True, decode_cluster)
EDS: ResourceType = ResourceType(
    "EDS",
    f"{_PREFIX}endpoint.v3.ClusterLoadAssignment",
    False,
    decode_cluster_load_assignment,
    follow=FollowingAssignments,
)

TYPES: Mapping[str, ResourceType] = {kind.type_url: kind for kind in (CDS, EDS, LDS, RDS)}
"""By type URL, in the order in which requests of one turn are sent."""
