"""Proxyless Istio mesh for Python: Thrift and Triple/gRPC routed by xDS, without a sidecar.

xds = pyrpc_xds.XdsClient.from_env()
stub = GreeterStub(xds.triple.channel("xds:///greeter.default.svc.cluster.local:20000"))
with pyrpc_xds.attachments({"user": "admin"}):
    stub.SayHello(HelloRequest(name="Joe"))
"""

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .attachments import attachments, current_attachments, incoming_attachments
from .bootstrap import Bootstrap
from .errors import (
    CallError,
    Code,
    ConfigError,
    DeadlineExceeded,
    PyrpcXdsError,
    RemoteProtocolError,
    Unavailable,
    UsageError,
    XdsError,
)
from .incoming_deadline import detached, time_remaining

if TYPE_CHECKING:
    from .client import XdsClient

__all__ = [
    "Bootstrap",
    "CallError",
    "Code",
    "ConfigError",
    "DeadlineExceeded",
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


def __getattr__(name: str) -> Any:
    # The client brings grpcio and the xDS protos (a third of a second): not for programs that only set attachments.
    if name == "XdsClient":
        from .client import XdsClient

        globals()[name] = XdsClient
        return XdsClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
