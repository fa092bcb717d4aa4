"""Triple and gRPC over grpcio: channels that are real ``grpc.Channel`` objects, and servers to match."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import PortNotBound
from .application import calling_application
from .channel import TripleChannel
from .connector import TripleConnector
from .errors import (
    ChannelClosed,
    TripleBusinessError,
    TripleCancelled,
    TripleDeadlineExceeded,
    TripleError,
    TripleResourceExhausted,
    TripleUnavailable,
)
from .metadata import incoming_attachments
from .response_attachments import response_attachments
from .transport import TripleTransport

if TYPE_CHECKING:
    from .aio_channel import AioTripleChannel
    from .aio_server import AioTripleServer
    from .generic import GenericService
    from .handling import set_response_attachments
    from .http import HttpOptions
    from .server import TripleServer

# What only some programs need: asyncio, and what serves.
_LATE = {
    "AioTripleChannel": "aio_channel",
    "AioTripleServer": "aio_server",
    "GenericService": "generic",
    "HttpOptions": "http",
    "TripleServer": "server",
    "set_response_attachments": "handling",
}

__all__ = [
    "AioTripleChannel",
    "AioTripleServer",
    "ChannelClosed",
    "GenericService",
    "HttpOptions",
    "PortNotBound",
    "TripleBusinessError",
    "TripleCancelled",
    "TripleChannel",
    "TripleConnector",
    "TripleDeadlineExceeded",
    "TripleError",
    "TripleResourceExhausted",
    "TripleServer",
    "TripleTransport",
    "TripleUnavailable",
    "calling_application",
    "incoming_attachments",
    "response_attachments",
    "set_response_attachments",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_LATE[name]}", __name__), name)
    return value
