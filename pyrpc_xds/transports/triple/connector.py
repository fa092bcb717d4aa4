"""TripleConnector: how the Triple transport reaches the endpoints of one target."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

import grpc

from .connection import Connection
from .fork import reset_in_child
from .options import CODEC, Options, merged
from .weak_sets import members

if TYPE_CHECKING:
    from .h2.endpoint import Endpoint

# grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, without importing grpc.experimental for one name.
_SINGLE_THREADED = "SingleThreadedUnaryStream"
_parents: list[Any] = []


class TripleConnector:
    """How the Triple transport reaches endpoints (:class:`pyrpc_xds.transports.base.Connector`).

    :ivar options: of the channels of the endpoints.
    :param target: its authority becomes the ``:authority`` of the calls, so connections are not shared
        between targets.
    :param options: grpc channel options, on top of :data:`.options.DEFAULTS`.
    :param compression: of what is sent, unless a call says otherwise.
    """

    __slots__ = ("__weakref__", "_codec", "_connections", "compression", "key", "options", "single_threaded")

    def __init__(self, target: str, options: Options, compression: grpc.Compression | None) -> None:
        self.key: tuple[Any, ...] = ("triple", target, options, compression)
        self._codec = dict(options).get(CODEC)
        self.options = tuple(option for option in options if option[0] != CODEC)
        self.compression = compression
        self.single_threaded = "GRPC_SINGLE_THREADED_UNARY_STREAM" in os.environ or any(
            name == _SINGLE_THREADED for name, _ in options
        )
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        reset_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: channels belong to the parent's threads and sockets; the child opens its own.

        The parent's are kept, unused, for good: closing one here could wait for a lock that a thread held which
        the child does not have.
        """
        _parents.extend([connection.after_fork() for connection in list(self._connections)])

    def serve(self, authority: str) -> None:
        """Use :data:`.options.DEFAULTS` and this ``:authority`` from here on; no channel is open yet.

        :param authority: the target's, as its router has it: the core is who reads targets.
        """
        self.options = merged(authority, self.options)

    def connect(self, address: str) -> Connection:
        """The connection for an address; opened at its first call."""
        connection = Connection(address, self)
        self._connections.add(connection)
        return connection

    def short_way(self, address: str) -> Endpoint | None:
        """Where the blocking unary calls to an address go, if not to grpcio.

        :raises ConfigError: the codec that was asked for is not there.
        """
        if self._codec is None or self.compression not in {None, grpc.Compression.NoCompression}:
            return None
        from .h2.endpoint import Endpoint

        return Endpoint(address, self.options)

    def close(self) -> None:
        """Close every connection now."""
        for connection in members(self._connections):
            connection.close()

    async def aclose(self) -> None:
        """As :meth:`close`; what is on the running loop is closed when this returns."""
        for connection in members(self._connections):
            await connection.aclose()
