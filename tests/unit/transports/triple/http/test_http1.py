"""One connection of HTTP/1.1, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pyrpc_xds.transports.triple.http import HttpOptions
from pyrpc_xds.transports.triple.http.bodies import Bodies
from pyrpc_xds.transports.triple.http.form import Request, Response
from pyrpc_xds.transports.triple.http.http1 import Http1
from pyrpc_xds.transports.triple.http.port import Connection, HttpPort
from tests.unit.transports.triple.http import clients

HEAD = "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{}content-length: 2\r\n\r\n"


class Wire:
    """Answers every request, and notes what became of the connection."""

    def __init__(self) -> None:
        self.options = HttpOptions()
        self.calls = SimpleNamespace(admit=lambda request: None)
        self.bodies = Bodies(1 << 20, 1 << 20)
        self.peer = "ipv4:127.0.0.1:1"
        self.stopping = self.full = False
        self.requests: list[Request] = []
        self.sent = b""
        self.closed: list[bool] = []

    def send(self, data: bytes) -> None:
        self.sent += data

    def close(self, linger: bool = False) -> None:
        self.closed.append(linger)

    def expect(self, seconds: float | None, late: Callable[[], None] | None = None) -> None:
        pass

    def hold(self, held: bool) -> None:
        pass

    def start(self, request: Request, done: Callable[[Response], None]) -> Callable[[], None]:
        self.requests.append(request)
        done(Response(200, body=b"{}"))
        return lambda: None


def sent(wire: Wire, target: str = clients.PATH, headers: str = "") -> Wire:
    Http1(wire).received(HEAD.format(target, headers).encode() + b"{}")
    return wire


@pytest.mark.parametrize(
    "before", ["http://127.0.0.1:80", "https://x", "HTTP://user@host.example:1", "http://[::1]:1"]
)
def test_target_in_the_absolute_form_is_its_path(before: str) -> None:
    wire = sent(Wire(), before + clients.PATH + "?a=http://b/c")
    assert [request.target for request in wire.requests] == [clients.PATH + "?a=http://b/c"]


def test_target_that_names_another_later_is_as_it_came() -> None:
    target = clients.PATH + "?a=http://b/c"
    assert [request.target for request in sent(Wire(), target).requests] == [target]


def test_connection_is_kept_unless_the_peer_says_otherwise() -> None:
    assert sent(Wire()).closed == []


def test_connection_that_the_peer_wants_closed_is_closed_at_once_when_its_request_was_whole() -> None:
    wire = sent(Wire(), headers="connection: close\r\n")
    assert wire.sent.startswith(b"HTTP/1.1 200 ")
    assert wire.closed == [False]


async def test_peer_that_has_reset_its_connection_is_closed_without_an_error() -> None:
    class Transport(asyncio.Transport):
        def can_write_eof(self) -> bool:
            return True

        def write_eof(self) -> None:
            raise OSError(107, "Transport endpoint is not connected")

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return ("127.0.0.1", 1)

    calls: Any = SimpleNamespace(limit=1)
    port = HttpPort(None, calls, HttpOptions())  # type: ignore[arg-type]
    connection = Connection(port)
    connection.connection_made(Transport())
    connection.close(linger=True)
    connection.connection_lost(None)
    assert not port.connections
