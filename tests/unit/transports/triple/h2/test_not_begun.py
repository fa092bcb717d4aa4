"""Calls that no server has begun are made again, by way of a new pick; no other call is."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import h2.connection
import h2.events
import h2.settings
import pytest

from pyrpc_xds.transports.triple import errors
from pyrpc_xds.transports.triple.h2.connection import ClientConnection
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from tests.unit.transports.triple.conftest import Client, Running, eventually
from tests.unit.transports.triple.h2.conftest import method
from tests.unit.transports.triple.h2.scripted import PATH, Peer, Server

Connect = Callable[..., Client]
Start = Callable[..., Running]
Dial = Callable[..., Client]
Request = h2.events.RequestReceived


def goes_away(peer: Peer, last: int, code: int = 0, said: bytes = b"") -> None:
    """GOAWAY, after which the peer goes on, which the package h2 does not do."""
    peer.h2.close_connection(code, additional_data=said, last_stream_id=last)
    peer.flush()
    peer.h2.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN


def answers(peer: Peer) -> None:
    peer.answer(peer.until(Request).stream_id, b"yes")


@pytest.fixture
def dial() -> Iterator[Callable[..., Client]]:
    """Clients on nghttp2, closed after the test."""
    made: list[Client] = []

    def open_one(*addresses: str) -> Client:
        made.append(Client(*addresses, codec="nghttp2"))
        return made[-1]

    yield open_one
    for each in made:
        each.mesh.close()


def current(client: Client) -> ClientConnection | None:
    """The connection to the one endpoint, if there is one."""
    (endpoint,) = client.router.endpoints.values()
    made: ClientConnection | None = endpoint.connection.short.current
    return made


def calls_at(client: Client) -> int:
    made = current(client)
    return len(made.session.open_streams()) if made is not None else 0


def test_call_that_goaway_refuses_goes_to_a_new_connection(dial: Dial) -> None:
    def refuses(peer: Peer) -> None:
        peer.until(Request)
        goes_away(peer, 0)
        assert peer.closed()

    with Server(refuses, answers) as server:
        assert dial(server.address).channel.unary_unary(PATH)(b"", timeout=5) == b"yes"


def test_refused_stream_is_sent_again(dial: Dial) -> None:
    def refuses_once(peer: Peer) -> None:
        peer.h2.reset_stream(peer.until(Request).stream_id, 7)
        peer.flush()
        answers(peer)

    with Server(refuses_once) as server:
        assert dial(server.address).channel.unary_unary(PATH)(b"", timeout=5) == b"yes"


def test_metadata_and_deadline_are_sent_again(dial: Dial) -> None:
    seen = []

    def refuses_once(peer: Peer) -> None:
        seen.append(dict((first := peer.until(Request)).headers))
        peer.h2.reset_stream(first.stream_id, 7)
        peer.flush()
        seen.append(dict((second := peer.until(Request)).headers))
        peer.answer(second.stream_id, b"yes")

    with Server(refuses_once) as server:
        pairs = iter([("user", "a"), ("key-bin", b"\xff")])  # can be read once
        assert dial(server.address).channel.unary_unary(PATH)(b"", timeout=5, metadata=pairs) == b"yes"
    times = [int(headers.pop("grpc-timeout").removesuffix("u")) for headers in seen]
    assert seen[0] == seen[1] and seen[0]["user"] == "a"
    assert times[1] < times[0]


def test_call_that_is_always_refused_is_unavailable(dial: Dial) -> None:
    def refuses(peer: Peer) -> None:
        for _ in range(5):
            peer.h2.reset_stream(peer.until(Request).stream_id, 7)
            peer.flush()

    with Server(refuses) as server, pytest.raises(errors.TripleUnavailable, match="refused the call"):
        dial(server.address).channel.unary_unary(PATH)(b"", timeout=5)


def test_call_that_runs_ends_on_the_connection_that_goes_away(dial: Dial) -> None:
    def goes(peer: Peer) -> None:
        stream = peer.until(Request).stream_id
        goes_away(peer, stream)
        peer.answer(stream, b"old")
        assert peer.closed()

    with Server(goes, answers) as server:
        call = dial(server.address).channel.unary_unary(PATH)
        assert call(b"", timeout=5) == b"old"
        assert call(b"", timeout=5) == b"yes"


def test_call_that_runs_when_the_connection_is_lost_is_not_made_again(dial: Dial) -> None:
    with Server(lambda peer: peer.until(Request)) as server, pytest.raises(grpc.RpcError) as caught:
        dial(server.address).channel.unary_unary(PATH)(b"", timeout=5)
    error: Any = caught.value
    assert (error.code(), isinstance(error, errors.NotBegun)) == (grpc.StatusCode.UNAVAILABLE, False)
    assert "closed the connection" in error.details()


def test_call_that_may_have_run_says_why_the_peer_went_away(dial: Dial) -> None:
    def floods(peer: Peer) -> None:
        goes_away(peer, peer.until(Request).stream_id, 11, b"too many resets")

    with Server(floods) as server, pytest.raises(grpc.RpcError, match="error 11: too many resets"):
        dial(server.address).channel.unary_unary(PATH)(b"", timeout=5)


ONE_AT_A_TIME = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1}


def test_call_that_waits_for_its_turn_leaves_a_connection_that_goes_away(dial: Dial) -> None:
    moved = threading.Event()

    def goes(peer: Peer) -> None:
        stream = peer.until(Request).stream_id
        eventually(lambda: calls_at(client) == 2)
        goes_away(peer, stream)
        assert moved.wait(10)  # while the first runs
        peer.answer(stream, b"first")
        assert peer.closed()

    def takes(peer: Peer) -> None:
        answers(peer)
        moved.set()

    with Server(goes, takes, settings=ONE_AT_A_TIME) as server, ThreadPoolExecutor(2) as pool:
        client = dial(server.address)
        calls = [pool.submit(client.channel.unary_unary(PATH), b"", 10) for _ in range(2)]
        assert {call.result(15) for call in calls} == {b"first", b"yes"}


def test_call_that_waits_for_its_turn_survives_a_lost_connection(dial: Dial) -> None:
    def breaks(peer: Peer) -> None:
        peer.until(Request)
        eventually(lambda: calls_at(client) == 2)

    with Server(breaks, answers, settings=ONE_AT_A_TIME) as server, ThreadPoolExecutor(2) as pool:
        client = dial(server.address)
        calls = [pool.submit(client.channel.unary_unary(PATH), b"", 10) for _ in range(2)]
        assert sorted(call.exception(15) is None for call in calls) == [False, True]


def test_goaway_that_came_before_the_connection_broke_is_read(endpoint: Callable[..., Endpoint]) -> None:
    go, gone = threading.Event(), threading.Event()

    def resets(peer: Peer) -> None:
        assert go.wait(10)
        goes_away(peer, 0, 11, b"calm down")
        # Reset, not closed: to write to it is an error.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()
        gone.set()

    with Server(resets) as server:
        call = method(endpoint(server.address))
        go.set()
        assert gone.wait(10)
        with pytest.raises(errors.NotBegun, match="error 11: calm down"):
            call(b"", timeout=5)


def test_call_that_could_not_be_written_is_made_again(dial: Dial) -> None:
    go, gone = threading.Event(), threading.Event()

    def resets(peer: Peer) -> None:
        answers(peer)
        assert go.wait(10)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()
        gone.set()

    def serialize(request: bytes) -> bytes:
        if request:  # the connection has been picked
            go.set()
            assert gone.wait(10)
        return request

    with Server(resets, answers) as server:
        call = dial(server.address).channel.unary_unary(PATH, serialize)
        assert [call(b"", timeout=5), call(b"x", timeout=5)] == [b"yes", b"yes"]


def test_endpoint_that_leaves_between_pick_and_call_costs_no_call(
    connect: Connect, start: Start, pb: Any, pb_grpc: Any
) -> None:
    one, two = start("v1"), start("v2")
    client = connect(one.address, codec="nghttp2")

    def serialize(request: Any) -> bytes:
        if request.name == "leave":
            client.router.serve(two.address)
            one.stop()
        return bytes(request.SerializeToString())

    call = client.channel.unary_unary(PATH, serialize, pb.User.FromString)
    assert call(pb.HelloRequest(name="a"), timeout=5).id == "v1"
    assert call(pb.HelloRequest(name="leave"), timeout=5).id == "v2"


class TestSuperseded:
    """Connections that another has taken the place of, while calls run on them."""

    def scripts(self) -> tuple[Callable[[Peer], None], ...]:
        def goes(peer: Peer) -> None:
            goes_away(peer, peer.until(Request).stream_id)
            peer.closed()

        return goes, answers

    def test_close_ends_their_calls(self, dial: Dial) -> None:
        with Server(*self.scripts()) as server, ThreadPoolExecutor(1) as pool:
            client = dial(server.address)
            running = pool.submit(client.channel.unary_unary(PATH), b"")
            eventually(lambda: (made := current(client)) and calls_at(client) and not made.usable)
            assert client.channel.unary_unary(PATH)(b"", timeout=5) == b"yes"
            client.channel.close()
            error: Any = running.exception(5)
            assert error.code() is grpc.StatusCode.CANCELLED

    def test_fork_lets_go_of_them(self, endpoint: Callable[..., Endpoint]) -> None:
        with Server(Peer.closed, Peer.closed) as server:
            made = endpoint(server.address)
            old: Any = made.current
            old.usable = False
            new: Any = made.connect(5)
            made.after_fork()
            assert old.closed and new.closed and new is not old and made.current is None
