"""Who the client says it is, and which view of the mesh it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from ..errors import ConfigError
from ..frozen import frozen


@frozen
class Locality:
    """Where the node runs."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


# Labels that name a workload, the one that Istio itself sets first.
_WORKLOAD_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")


@frozen
class Node:
    """Who the client says it is (envoy.config.core.v3.Node).

    :param id: Istio's form is ``sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local``.
    :param metadata: JSON values. Istio reads ``GENERATOR``, ``NAMESPACE``, ``CLUSTER_ID``, ``LABELS``,
        ``INSTANCE_IPS``, ``ISTIO_VERSION`` and ``SERVICE_ACCOUNT``.
    """

    id: str
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    locality: Locality = Locality()

    @property
    def workload(self) -> str:
        """The name of the workload: ``WORKLOAD_NAME`` of the metadata (Istio's agent sets it), else the labels
        ``service.istio.io/canonical-name``, ``app.kubernetes.io/name`` and ``app``, else the pod's name;
        empty where nothing says it."""
        labels = self.metadata.get("LABELS")
        held: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
        names = (self.metadata.get("WORKLOAD_NAME"), *(held.get(label) for label in _WORKLOAD_LABELS))
        said = next((str(name) for name in names if name), "")
        parts = self.id.split("~")
        return said or (parts[2].partition(".")[0] if len(parts) == 4 else "")


class Mode(Enum):
    """Which view of the mesh a client asks Istio for."""

    GRPC = "grpc"
    """That of a proxyless gRPC client, made on demand (node metadata ``GENERATOR: grpc``)."""
    SIDECAR = "sidecar"
    """All that a sidecar gets, which kitex-contrib/xds uses: TCP routes and what EnvoyFilters add are only here."""


def parse_mode(value: object, where: str) -> Mode | None:
    """The mode of that name; ``None``: nothing is said.

    :param where: named in error texts.
    :raises ConfigError: there is none of that name.
    """
    if value in (None, ""):
        return None
    if value not in [mode.value for mode in Mode]:
        raise ConfigError(
            f"{value!r} is not a mode", where=where, hint="Use 'grpc' (the default) or 'sidecar'"
        )
    return Mode(value)
