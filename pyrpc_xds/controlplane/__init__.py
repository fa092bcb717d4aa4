"""An xDS control plane inside the process: Istio and Kubernetes YAML in, ADS out.

It answers proxyless nodes (``GENERATOR: grpc``) as istiod does, resource by resource, so that what runs
against it runs against a real mesh. Needs the extra ``pyrpc-xds[control-plane]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import missing_extra
from .documents import Documents, config_files, read_files, read_text

if TYPE_CHECKING:
    from .plane import ControlPlane, PlaneStatus
    from .server import NodeStatus
    from .session import TypeStatus

__all__ = [
    "ControlPlane",
    "Documents",
    "NodeStatus",
    "PlaneStatus",
    "TypeStatus",
    "config_files",
    "read_files",
    "read_text",
]

_HOMES = {"ControlPlane": "plane", "PlaneStatus": "plane", "NodeStatus": "server", "TypeStatus": "session"}


def __getattr__(name: str) -> Any:
    # Reading documents must not load the Envoy messages: that takes a second, and `check` does without them.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f".{home}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] in {"envoy_data_plane", "betterproto2"}:
            raise missing_extra("control-plane", error.name, "the control plane") from None
        raise
