"""One connection of the asyncio server, at moments that sockets do not bring about at will."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import ServerLimits
from pyrpc_xds.transports.thrift.aio_peer import AioPeer
from pyrpc_xds.transports.thrift.log import RateLimitedLog
from pyrpc_xds.transports.thrift.processor import Processor
from pyrpc_xds.transports.thrift.service import describe
from pyrpc_xds.transports.thrift.wire import Accepted
from tests.e2e.test_thrift_server import call, framed
from tests.unit.transports.thrift.peers import Handler, idl


class Host:
    """A server of one connection."""

    limits = ServerLimits()
    log = RateLimitedLog()
    stopping = closing = False

    def __init__(self, handler: Any) -> None:
        self.processor = Processor(describe(idl.Everything), handler)
        self.accepted = Accepted()
        self.left_by: list[AioPeer] = []
        self.may_run = asyncio.Event()

    def joined(self, peer: AioPeer) -> None:
        pass

    def finished(self, peer: AioPeer) -> None:
        pass

    def left(self, peer: AioPeer) -> None:
        self.left_by.append(peer)

    async def run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        await self.may_run.wait()
        return call(*args)


async def connected(host: Host) -> tuple[AioPeer, socket.socket]:
    ours, theirs = socket.socketpair()
    peer = AioPeer(host)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, ours)
    return peer, theirs


@pytest.mark.parametrize("begun", [False, True])
async def test_client_that_goes_before_its_request_began_or_later_leaves_nothing(begun: bool) -> None:
    handler = Handler()
    host = Host(handler)
    peer, theirs = await connected(host)
    with theirs:
        peer.data_received(framed(call()))
        if begun:
            await asyncio.sleep(0)
        peer.connection_lost(None)
        assert host.left_by == [peer]
        host.may_run.set()
        await asyncio.sleep(0.01)
        assert handler.calls == 0
        peer.transport.abort()
        await asyncio.sleep(0)


async def test_oneway_request_of_a_client_that_goes_before_it_began_is_run_to_its_end() -> None:
    handler = Handler()
    host = Host(handler)
    peer, theirs = await connected(host)
    with theirs:
        peer.data_received(framed(call(b"fire", kind=4)) + framed(call(b"fire", 2, kind=4)) + framed(call()))
        peer.connection_lost(None)
        await asyncio.sleep(0.01)
        assert host.left_by == [] and handler.fired == []
        host.may_run.set()
        await asyncio.sleep(0.01)
        assert host.left_by == [peer] and handler.fired == ["x", "x"]
        assert handler.calls == 0
        peer.transport.abort()
        await asyncio.sleep(0)
