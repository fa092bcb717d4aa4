"""Sockets of clients: every address of a name is tried, for threads and for a loop alike."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrpc_xds.transports.thrift.dial import dial, dial_in_loop
from tests.unit.transports.thrift.peers import black_hole

Dialled = Callable[..., tuple[str, int]]


def in_thread(address: str, seconds: float = 5) -> tuple[str, int]:
    with dial(address, time.monotonic() + seconds) as sock:
        assert sock.gettimeout() == 0.0, "it would block"
        name: tuple[str, int] = sock.getpeername()
        return name


def in_loop(address: str, seconds: float = 5) -> tuple[str, int]:
    class Kept(asyncio.Protocol):
        transport: asyncio.BaseTransport

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

    async def main() -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        protocol = await dial_in_loop(loop, address, loop.time() + seconds, Kept)
        name: tuple[str, int] = protocol.transport.get_extra_info("peername")
        protocol.transport.close()
        await asyncio.sleep(0)
        return name

    return asyncio.run(main())


@pytest.fixture(params=[in_thread, in_loop])
def dialled(request: pytest.FixtureRequest) -> Dialled:
    chosen: Dialled = request.param
    return chosen


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def named(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    """Have the name service find these."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", name) for name in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer)


def test_next_address_of_a_name_is_tried_where_one_refuses(
    dialled: Dialled, listener: socket.socket, refused: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, _, port = refused().rpartition(":")
    named(monkeypatch, (dead, int(port)), listener.getsockname())
    assert dialled("two.example:1") == listener.getsockname()


def test_next_address_of_a_name_is_tried_where_one_does_not_answer(
    dialled: Dialled, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with black_hole() as hole:
        host, _, port = hole.rpartition(":")
        named(monkeypatch, (host, int(port)), listener.getsockname())
        assert dialled("two.example:1", 1.0) == listener.getsockname()


def test_name_of_which_no_address_answers_is_left_when_the_time_is_over(
    dialled: Dialled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with black_hole() as hole:
        host, _, port = hole.rpartition(":")
        named(monkeypatch, *[(host, int(port))] * 3)
        with pytest.raises(TimeoutError, match="no connection in time"):
            dialled("three.example:1", 0.3)


def test_without_a_limit_of_time_the_next_address_is_tried(
    dialled: Dialled, listener: socket.socket, refused: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, _, port = refused().rpartition(":")
    named(monkeypatch, (dead, int(port)), listener.getsockname())
    assert dialled("two.example:1", math.inf) == listener.getsockname()


def test_name_of_which_every_address_refuses_is_refused(
    dialled: Dialled, refused: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = [refused().rpartition(":") for _ in range(2)]
    named(monkeypatch, *((host, int(port)) for host, _, port in dead))
    with pytest.raises(ConnectionRefusedError):
        dialled("two.example:1")


def test_name_without_addresses_is_said_to_have_none(
    dialled: Dialled, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch)
    with pytest.raises(OSError, match=r"none\.example:1: no address"):
        dialled("none.example:1")
