"""The resource types the client knows.

Importing protobuf's classes for Envoy's messages takes longer than everything else here together. So a decoder is
imported when it is first needed, and the driver has that done (:func:`load_decoders`) while it connects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import ResourceInvalid
from .decode.envelope import first_string

_PREFIX = "type.googleapis.com/envoy.config."


class _Later:
    """A decoder that is imported when it is first needed.

    :param module: below :mod:`.decode`.
    """

    __slots__ = ("_found", "_function", "_module")

    def __init__(self, module: str, function: str) -> None:
        self._module = module
        self._function = function
        self._found: Callable[[bytes], Any] | None = None

    def load(self) -> Callable[[bytes], Any]:
        found = self._found
        if found is None:
            module = import_module(f".decode.{self._module}", __package__)
            found = self._found = getattr(module, self._function)
        return found

    def __call__(self, raw: bytes) -> Any:
        return (self._found or self.load())(raw)


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """One type of resource; there is one object per type and mode, compared by identity.

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

    def decode(self, raw: bytes) -> tuple[str, Any]:
        """The resource's name and model.

        :raises ResourceInvalid: whatever goes wrong; its ``name`` is empty where that is unknown.
        """
        try:
            model = self.decoder(raw)
            return model.name, model
        except ResourceInvalid:
            raise
        except Exception as error:
            raise ResourceInvalid(
                self.short_name, "", f"decoder failed with {type(error).__name__}: {error}"
            ) from error

    def __repr__(self) -> str:
        return self.short_name


LDS: ResourceType = ResourceType(
    "LDS", f"{_PREFIX}listener.v3.Listener", True, _Later("listener", "decode_listener")
)
RDS: ResourceType = ResourceType(
    "RDS", f"{_PREFIX}route.v3.RouteConfiguration", False, _Later("route", "decode_route_configuration")
)
CDS: ResourceType = ResourceType(
    "CDS", f"{_PREFIX}cluster.v3.Cluster", True, _Later("cluster", "decode_cluster")
)
EDS: ResourceType = ResourceType(
    "EDS",
    f"{_PREFIX}endpoint.v3.ClusterLoadAssignment",
    False,
    _Later("endpoint", "decode_cluster_load_assignment"),
)

TYPES: Mapping[str, ResourceType] = {kind.type_url: kind for kind in (CDS, EDS, LDS, RDS)}
"""By type URL, in the order in which requests of one turn are sent."""

# What istiod gives a sidecar: LDS and CDS are always sent as a whole there, whatever names are asked for, and every
# further name asked for would have it sent again.
SIDECAR_LDS: ResourceType = ResourceType(
    "LDS", LDS.type_url, True, _Later("proxy_listener", "decode_proxy_listener"), first_string
)
SIDECAR_CDS: ResourceType = ResourceType(
    "CDS", CDS.type_url, True, _Later("cluster", "decode_sidecar_cluster"), first_string
)
SIDECAR_RDS: ResourceType = ResourceType(
    "RDS", RDS.type_url, False, _Later("route", "decode_shared_route_configuration")
)
SIDECAR_EDS: ResourceType = ResourceType(
    "EDS", EDS.type_url, False, _Later("endpoint", "decode_sidecar_assignment")
)


def _name_table(_raw: bytes) -> str:
    from ..model.name_table import NAME

    return NAME


NDS: ResourceType = ResourceType(
    "NDS",
    "type.googleapis.com/istio.networking.nds.v1.NameTable",
    True,
    _Later("name_table", "decode_name_table"),
    _name_table,
)
"""Istio's name table: one resource, which has no name on the wire."""

SIDECAR_TYPES: Mapping[str, ResourceType] = {
    kind.type_url: kind for kind in (SIDECAR_CDS, SIDECAR_EDS, NDS, SIDECAR_LDS, SIDECAR_RDS)
}
"""The types of sidecar mode, by type URL; NDS before LDS, because the names lead to the listeners."""


def load_decoders(types: Iterable[ResourceType]) -> None:
    """Import the decoders of ``types`` now, rather than when the first resource of each comes."""
    for kind in types:
        if isinstance(kind.decoder, _Later):
            kind.decoder.load()
