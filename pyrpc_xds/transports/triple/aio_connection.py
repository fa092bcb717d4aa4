"""AioConnection: the channel that reaches one endpoint from one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from .connectivity import READY
from .method import MAX_METHODS, multicallable
from .options import PROBE, grpc_address

if TYPE_CHECKING:
    from .connector import TripleConnector


class AioConnection:
    """The asyncio channel to one endpoint, for one event loop. Only that loop touches it."""

    __slots__ = ("_state", "calls", "channel", "closing")

    def __init__(self, address: str, connector: TripleConnector) -> None:
        self.calls: dict[tuple[Any, ...], Any] = {}
        # Any: the published types of grpcio lag behind it.
        self.channel: Any = grpc.aio.insecure_channel(
            grpc_address(address), options=connector.options, compression=connector.compression
        )
        # What get_state() asks and makes an enum of, for every call.
        self._state: Any = self.channel._channel.check_connectivity_state  # type: ignore[attr-defined]
        self.closing: asyncio.Task[None] | None = None

    def call(self, key: tuple[Any, ...]) -> Any:
        """grpcio's asyncio multicallable for a method; ``key`` as in :attr:`.method.Method.key`."""
        found = self.calls.get(key)
        if found is None:
            if len(self.calls) >= MAX_METHODS:
                self.calls = {}
            found = self.calls[key] = multicallable(self.channel, key)
        return found

    def ready(self) -> bool:
        """Whether calls can be sent now."""
        return bool(self._state(False) == READY)

    async def connect(self, seconds: float) -> bool | None:
        """As :meth:`.connection.Connection.reach`, without blocking the loop."""
        try:
            async with asyncio.timeout(seconds):
                state = self.channel.get_state(True)
                while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(True)
                return bool(state is grpc.ChannelConnectivity.READY)
        except TimeoutError:
            return None
        except grpc.aio.UsageError:  # closed meanwhile
            return False

    async def reason(self, seconds: float) -> str:
        """As :meth:`.connection.Connection.reason`."""
        try:
            await self.channel.unary_unary(PROBE)(b"", timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return str(error.details())
        except grpc.aio.UsageError:
            return "the endpoint has left"
        return "it has just become reachable"

    def forget(self) -> None:
        """Let the channel go; it closes when its last call ends."""
        self.calls = {}

    def close(self) -> None:
        """Close the channel: running calls end as cancelled."""
        self.closing = asyncio.get_running_loop().create_task(self.channel.close())
