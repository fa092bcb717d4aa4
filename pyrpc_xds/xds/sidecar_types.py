"""The resource types as istiod gives them to a sidecar.

A module of its own, because most clients need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.name_table import NAME
from .decode.cluster import decode_sidecar_cluster
from .decode.endpoint import decode_sidecar_assignment
from .decode.envelope import first_string
from .decode.name_table import decode_name_table
from .decode.proxy_listener import decode_proxy_listener
from .decode.route import decode_shared_route_configuration
from .types import CDS, EDS, LDS, RDS, ResourceType

# What istiod gives a sidecar: LDS and CDS are always sent as a whole there, whatever names are asked for, and every
# further name asked for would have it sent again.
SIDECAR_LDS: ResourceType = ResourceType("LDS", LDS.type_url, True, decode_proxy_listener, first_string)
SIDECAR_CDS: ResourceType = ResourceType("CDS", CDS.type_url, True, decode_sidecar_cluster, first_string)
SIDECAR_RDS: ResourceType = ResourceType("RDS", RDS.type_url, False, decode_shared_route_configuration)
SIDECAR_EDS: ResourceType = ResourceType("EDS", EDS.type_url, False, decode_sidecar_assignment)


NDS: ResourceType = ResourceType(
    "NDS",
    "type.googleapis.com/istio.networking.nds.v1.NameTable",
    True,
    decode_name_table,
    lambda raw: NAME,
)
"""Istio's name table: one resource, which has no name on the wire."""

SIDECAR_TYPES: Mapping[str, ResourceType] = {
    kind.type_url: kind for kind in (SIDECAR_CDS, SIDECAR_EDS, NDS, SIDECAR_LDS, SIDECAR_RDS)
}
"""The types of sidecar mode, by type URL; NDS before LDS, because the names lead to the listeners."""
