"""Triple and gRPC over grpcio: channels that are real ``grpc.Channel`` objects, and servers to match."""

from ...errors import PortNotBound
from .aio_channel import AioTripleChannel
from .aio_server import AioTripleServer
from .channel import TripleChannel
from .connection import TripleConnector
from .errors import (
    ChannelClosed,
    TripleBusinessError,
    TripleCancelled,
    TripleDeadlineExceeded,
    TripleError,
    TripleUnavailable,
)
from .handling import set_response_attachments
from .metadata import incoming_attachments
from .response_attachments import response_attachments
from .server import TripleServer
from .transport import TripleTransport

__all__ = [
    "AioTripleChannel",
    "AioTripleServer",
    "ChannelClosed",
    "PortNotBound",
    "TripleBusinessError",
    "TripleCancelled",
    "TripleChannel",
    "TripleConnector",
    "TripleDeadlineExceeded",
    "TripleError",
    "TripleServer",
    "TripleTransport",
    "TripleUnavailable",
    "incoming_attachments",
    "response_attachments",
    "set_response_attachments",
]
