"""One address and port that serves a named port of a service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .meta import Labels

_CANONICAL_NAME = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


class Health(IntEnum):
    """Health of an endpoint, numbered as ``envoy.config.core.v3.HealthStatus``."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2


@dataclass(frozen=True, slots=True)
class MeshEndpoint:
    """One address and port that serves a named port of a service."""

    address: str
    port: int
    port_name: str
    labels: tuple[tuple[str, str], ...] = ()
    locality: str = ""
    weight: int = 1
    workload: str = ""
    namespace: str = ""
    health: Health = Health.UNKNOWN
    tls_mode: str = ""
    node_name: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether the address is the path of a Unix socket: those have no port."""
        return not self.port and self.address.startswith("/")

    def has_labels(self, wanted: Labels) -> bool:
        """Whether all of ``wanted`` are among the endpoint's labels."""
        if not wanted:
            return True
        mine = dict(self.labels)
        return all(mine.get(key) == value for key, value in wanted.items())

    def canonical(self) -> tuple[str, str]:
        """Canonical service name and revision, as telemetry names the workload."""
        mine = dict(self.labels)
        name = next((mine[key] for key in _CANONICAL_NAME if key in mine), self.workload)
        revision = next((mine[key] for key in _CANONICAL_REVISION if key in mine), "")
        return name, "" if revision == "latest" else revision
