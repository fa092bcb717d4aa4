"""How this transport reaches endpoints: a pool of connections each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from .aio_pool import AioPool
from .learned import OtherPools
from .limits import Limits, PoolLimits
from .mux_pool import MuxPool
from .pool import Pool
from .wire import Wire


class _Connector:
    """Clients whose connectors have one key share the pools.

    :ivar wire: the usual form of messages.
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

    def limits_of(self, wire: Wire) -> PoolLimits:
        """Of pools for a form: calls share connections only where their answers can be told apart."""
        shared = not self.pool_limits.multiplexed or wire.header == "ttheader"
        return self.pool_limits if shared else replace(self.pool_limits, multiplexed=0)


class ThriftConnector(_Connector):
    """From threads."""

    kind = "thrift"

    def connect(self, address: str) -> Pool | MuxPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        pool = self._pool(address, self.wire)
        pool.others = OtherPools(lambda wire: self._pool(address, wire))
        return pool

    def _pool(self, address: str, wire: Wire) -> Pool | MuxPool:
        pool_limits = self.limits_of(wire)
        return (MuxPool if pool_limits.multiplexed else Pool)(address, wire, self.limits, pool_limits)


class AioThriftConnector(_Connector):
    """From event loops."""

    kind = "thrift-aio"

    def connect(self, address: str) -> AioPool:
        """See :class:`pyrpc_xds.transports.base.Connector`."""
        pool = self._pool(address, self.wire)
        pool.others = OtherPools(lambda wire: self._pool(address, wire))
        return pool

    def _pool(self, address: str, wire: Wire) -> AioPool:
        return AioPool(address, wire, self.limits, self.limits_of(wire))
