"""How this transport reaches endpoints: a pool of connections each."""

from __future__ import annotations

from typing import Any, ClassVar

from .aio_pool import AioPool
from .limits import Limits, PoolLimits
from .mux_pool import MuxPool
from .pool import Pool
from .wire import Wire


class _Connector:
    """Clients whose connectors have one key share the pools.

    :ivar wire: the form of messages.
    :ivar limits: on what servers send.
    """

    kind: ClassVar[str]

    def __init__(self, wire: Wire, limits: Limits, pool_limits: PoolLimits) -> None:
        self.wire = wire
        self.limits = limits
        self.pool_limits = pool_limits

    @property
    def key(self) -> tuple[Any, ...]:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        return (self.kind, self.wire, self.limits, self.pool_limits)


class ThriftConnector(_Connector):
    """From threads."""

    kind = "thrift"

    def connect(self, address: str) -> Pool | MuxPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        pool = MuxPool if self.pool_limits.multiplexed else Pool
        return pool(address, self.wire, self.limits, self.pool_limits)


class AioThriftConnector(_Connector):
    """From event loops."""

    kind = "thrift-aio"

    def connect(self, address: str) -> AioPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        return AioPool(address, self.wire, self.limits, self.pool_limits)
