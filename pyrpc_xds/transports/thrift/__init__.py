"""Thrift: clients and servers over thriftpy2's compiled protocol, guarded against what peers may send."""

from .errors import ThriftDeadlineExceeded, ThriftProtocolError, ThriftUnavailable
from .limits import Limits, PoolLimits, ServerLimits
from .transport import ThriftTransport

__all__ = [
    "Limits",
    "PoolLimits",
    "ServerLimits",
    "ThriftDeadlineExceeded",
    "ThriftProtocolError",
    "ThriftTransport",
    "ThriftUnavailable",
]
