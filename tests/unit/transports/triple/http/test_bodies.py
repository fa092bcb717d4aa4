"""What a peer can make an HTTP port hold by requests that it does not end, and that honest large ones are served."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.http import HttpOptions
from pyrpc_xds.transports.triple.http.bodies import FIRST_WINDOW, Bodies, Body, Windows
from pyrpc_xds.transports.triple.http.form import Refused
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.http import clients
from tests.unit.transports.triple.http.conftest import Aborting, Serving

MIB = 1 << 20
PROTO = {"content-type": "application/proto"}
HEAD = f"POST {clients.PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n".encode()


@pytest.fixture
async def serve(pb: Any, pb_grpc: Any) -> Any:
    """Starts a server with limits of its HTTP port."""
    running = []

    def begin(**options: Any) -> Serving:
        server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", max_workers=2)
        greeter = Aborting(pb, "v1")
        server.add(pb_grpc.add_GreeterServicer_to_server, greeter)
        port = server.add_http_port("127.0.0.1:0", HttpOptions(**options))
        running.append(Serving(server, port, greeter, aio=False))
        server.start()
        return running[-1]

    yield begin
    for serving in running:
        assert (await serving.ask("Joe")).said["name"] == "Hello Joe"
        await serving.stop()
        del serving.server._server


def pour(client: clients.H2Client, rest: dict[int, bytes], end: bool, idle: float = 0.5) -> int:
    """Send bodies of streams by turns, as far as the windows are open.

    :param end: end those that are sent; else their last byte is kept back.
    :param idle: seconds without a wider window after which it is over.
    :returns: bytes sent.
    """
    sent = 0
    kept = 0 if end else 1
    client.socket.settimeout(idle)
    while any(len(each) > kept for each in rest.values()):
        moved = 0
        for stream, body in rest.items():
            room = min(client.h2.local_flow_control_window(stream), 16384, len(body) - kept)
            if room > 0:
                rest[stream] = body[room:]
                client.h2.send_data(stream, body[:room], end_stream=end and not rest[stream])
                client.flush()
                moved += room
        sent += moved
        if not moved:
            try:
                client.more()
            except TimeoutError:
                break
    client.socket.settimeout(10)
    return sent


async def test_streams_that_do_not_end_make_a_connection_hold_little(serve: Any) -> None:
    streams, size = 20, MIB
    serving = serve(max_message=MIB)

    def talk() -> int:
        with clients.H2Client(serving.port) as client:
            return pour(client, {client.head(PROTO): bytes(size) for _ in range(streams)}, end=False)

    assert await asyncio.to_thread(talk) <= streams * FIRST_WINDOW + MIB


@pytest.mark.parametrize("told", [True, False], ids=["with content-length", "without"])
async def test_large_requests_at_once_on_a_connection_are_all_answered(
    serve: Any, pb: Any, told: bool
) -> None:
    serving = serve(max_message=MIB, max_bodies=4 * MIB)
    body = pb.HelloRequest(name="x" * (MIB - 100)).SerializeToString()
    headers = PROTO | ({"content-length": str(len(body))} if told else {})

    def talk() -> list[int]:
        with clients.H2Client(serving.port) as client:
            rest = {client.head(headers): body for _ in range(12)}
            streams = list(rest)
            pour(client, rest, end=True, idle=5)
            return [client.answer(stream).status for stream in streams]

    assert await asyncio.to_thread(talk) == [200] * 12


async def test_padding_takes_nothing_of_what_a_body_may_have(serve: Any, pb: Any) -> None:
    serving = serve(max_message=MIB)
    body = pb.HelloRequest(name="x" * 1000).SerializeToString()

    def talk() -> int:
        with clients.H2Client(serving.port) as client:
            stream = client.head(PROTO)
            for at in range(len(body)):
                while client.h2.local_flow_control_window(stream) < 257:
                    client.more()
                last = at == len(body) - 1
                client.h2.send_data(stream, body[at : at + 1], end_stream=last, pad_length=255)
                client.flush()
            return client.answer(stream).status

    assert await asyncio.to_thread(talk) == 200


async def test_request_whose_turn_does_not_come_in_time_is_429_and_those_that_had_theirs_408(
    serve: Any,
) -> None:
    serving = serve(max_message=MIB, body_timeout=0.5)

    def talk() -> list[tuple[int, str]]:
        with clients.H2Client(serving.port) as client:
            headers = PROTO | {"content-length": str(MIB)}
            streams = [client.head(headers) for _ in range(3)]
            answers = [client.answer(stream) for stream in streams]
            return [(answer.status, answer.said["code"]) for answer in answers]

    late = (408, "deadline_exceeded")
    assert await asyncio.to_thread(talk) == [late, late, (429, "resource_exhausted")]


async def test_rest_of_a_request_refused_while_it_waited_is_thrown_away(serve: Any) -> None:
    serving = serve(max_message=MIB, body_timeout=0.5)

    def talk() -> tuple[int, int]:
        with clients.H2Client(serving.port) as client:
            headers = PROTO | {"content-length": str(2 * FIRST_WINDOW)}
            for _ in range(2):
                client.head(PROTO | {"content-length": str(MIB)})
            rest = {client.head(headers): bytes(2 * FIRST_WINDOW)}
            (third,) = rest
            pour(client, rest, end=True, idle=2)
            status = client.answer(third).status
            return status, len(rest[third])

    assert await asyncio.to_thread(talk) == (429, 0)


def partial(port: int, size: int) -> socket.socket:
    """A connection of HTTP/1.1 that has sent so much of a body, and one byte less than it promised."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    peer.sendall(HEAD + b"content-length: %d\r\n\r\n" % (size + 1) + bytes(size))
    return peer


class TestPort:
    async def test_that_holds_as_much_as_it_may_refuses_more_and_recovers(self, serve: Any) -> None:
        serving = serve(max_message=MIB, max_bodies=MIB)
        held = [partial(serving.port, 400_000) for _ in range(2)]

        def refused(form: Callable[..., Any]) -> tuple[int, str]:
            answer = form(serving.port, bytes(600_000), PROTO)
            return answer.status, answer.said["code"]

        try:
            await asyncio.sleep(0.3)
            for form in (clients.http1, clients.http2):
                assert await asyncio.to_thread(refused, form) == (429, "resource_exhausted")
            assert (await serving.ask("small")).status == 200
        finally:
            for peer in held:
                peer.close()
        for form in (clients.http1, clients.http2):
            for _ in range(50):
                if (await asyncio.to_thread(refused, form))[0] == 400:  # it was read, and is no message
                    break
                time.sleep(0.02)
            else:
                raise AssertionError("what was given up is held")


def test_port_counts_what_is_held_and_no_more() -> None:
    bodies = Bodies(room=10, limit=8)
    one, other = Body(bodies), Body(bodies)
    one.add(b"12345678")
    with pytest.raises(Refused, match="no room"):
        other.add(b"123")
    with pytest.raises(Refused, match="larger than"):
        one.add(b"9")
    other.add(b"12")
    assert one.take() == b"12345678"
    other.drop()
    assert bodies.held == 0


def test_room_of_a_port_is_that_of_one_message_at_least() -> None:
    Body(Bodies(room=1, limit=8)).add(b"12345678")


class TestWindows:
    def test_beyond_the_first_come_to_one_message_in_the_order_of_asking(self) -> None:
        opened: list[tuple[int, int]] = []
        windows = Windows(MIB, lambda stream, size: opened.append((stream, size)))
        windows.ask(1, MIB)
        windows.ask(3, 100_000)
        windows.ask(5, 90_000)
        assert opened == [(1, MIB - FIRST_WINDOW)]
        assert windows.waits(3)
        windows.end(1)
        assert opened[1:] == [(3, 100_000 - FIRST_WINDOW), (5, 90_000 - FIRST_WINDOW)]

    def test_of_those_that_have_gone_are_passed_on(self) -> None:
        opened: list[int] = []
        windows = Windows(MIB, lambda stream, size: opened.append(stream))
        for stream in (1, 3, 5):
            windows.ask(stream, None)
        windows.end(3)
        windows.end(1)
        windows.end(1)
        assert opened == [1, 5]

    @pytest.mark.parametrize("limit", [1000, FIRST_WINDOW, (1 << 31) - 1, 1 << 40])
    def test_are_as_wide_as_a_message_and_http2_allow(self, limit: int) -> None:
        opened: list[int] = []
        Windows(limit, lambda stream, size: opened.append(size)).ask(1, None)
        assert FIRST_WINDOW + sum(opened) == max(FIRST_WINDOW, min(limit + 1, (1 << 31) - 1))
