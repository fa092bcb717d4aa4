"""Thrift: clients and servers over thriftpy2's compiled protocol, guarded against what peers may send."""

from .call import ReplyMetadata, ServerCall, current_call, reply_metadata
from .errors import (
    ThriftArgumentError,
    ThriftBizError,
    ThriftDeadlineExceeded,
    ThriftProtocolError,
    ThriftUnavailable,
)
from .limits import Limits, PoolLimits, ServerLimits
from .transport import ThriftTransport

__all__ = [
    "Limits",
    "PoolLimits",
    "ReplyMetadata",
    "ServerCall",
    "ServerLimits",
    "ThriftArgumentError",
    "ThriftBizError",
    "ThriftDeadlineExceeded",
    "ThriftProtocolError",
    "ThriftTransport",
    "ThriftUnavailable",
    "current_call",
    "reply_metadata",
]
