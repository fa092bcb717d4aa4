"""Proxyless Istio mesh for Python: Thrift and Triple/gRPC routed by xDS, without a sidecar.

xds = pyrpc_xds.XdsClient.from_env()
stub = GreeterStub(xds.triple.channel("xds:///greeter.default.svc.cluster.local:20000"))
with pyrpc_xds.attachments({"user": "admin"}):
    stub.SayHello(HelloRequest(name="Joe"))
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .attachments import attachments, current_attachments, incoming_attachments
from .errors import (
    CallError,
    ClosedError,
    Code,
    ConfigError,
    DeadlineExceeded,
    PortNotBound,
    PyrpcXdsError,
    RemoteProtocolError,
    Unavailable,
    UsageError,
    XdsError,
)
from .incoming_deadline import detached, time_remaining

if TYPE_CHECKING:
    from .bootstrap import Bootstrap
    from .client import XdsClient
    from .dubbo import Dubbo

__all__ = [
    "Bootstrap",
    "CallError",
    "ClosedError",
    "Code",
    "ConfigError",
    "DeadlineExceeded",
    "Dubbo",
    "PortNotBound",
    "PyrpcXdsError",
    "RemoteProtocolError",
    "Unavailable",
    "UsageError",
    "XdsClient",
    "XdsError",
    "__version__",
    "attachments",
    "current_attachments",
    "detached",
    "incoming_attachments",
    "time_remaining",
]


def __dir__() -> list[str]:
    return sorted(__all__)


# What brings grpcio and the xDS protos, or reads files: not for programs that only set attachments.
_LATE = {"Bootstrap": "bootstrap", "Dubbo": "dubbo", "XdsClient": "client"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{_LATE[name]}", __name__), name)
    return value
