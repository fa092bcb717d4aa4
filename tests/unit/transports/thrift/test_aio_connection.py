"""One connection of an asyncio client, on a transport that fails in ways that sockets only do at times."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import Limits
from pyrpc_xds.transports.thrift.aio_connection import AioConnection
from pyrpc_xds.transports.thrift.aio_mux import AioMuxConnection
from pyrpc_xds.transports.thrift.connection import NotSent
from pyrpc_xds.transports.thrift.wire import wire_from


class Refusing:
    """The kernel takes no byte, as of a connection that was reset a moment ago."""

    closing = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self._sock

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        # asyncio's transport tells connection_lost() why, in the loop's next turn.
        self.closing = True

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("oneway", [False, True])
@pytest.mark.parametrize("shared", [False, True])
async def test_call_of_which_the_kernel_took_nothing_is_not_sent(shared: bool, oneway: bool) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport: Any = Refusing(ours)
        deadline = loop.time() + 5
        if shared:
            many = AioMuxConnection(loop, Limits())
            many.connection_made(transport)
            call = many.exchange(b"request", deadline, 1, oneway)
        else:
            one = AioConnection(loop, wire_from("ttheader", "binary"), Limits())
            one.connection_made(transport)
            call = one.exchange(b"request", deadline, None, oneway, 1)
        with pytest.raises(NotSent):
            await call
