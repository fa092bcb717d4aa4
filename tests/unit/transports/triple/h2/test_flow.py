"""Connections of the nghttp2 client: flow control, turns, deadlines, keepalive, leaving, and peers that are none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import h2.events
import h2.settings
import pytest

from pyrpc_xds.transports.triple.h2.connection import ClientConnection
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from pyrpc_xds.transports.triple.h2.outcome import CallFailed
from tests.unit.transports.triple.conftest import eventually
from tests.unit.transports.triple.h2.conftest import method
from tests.unit.transports.triple.h2.scripted import PATH, Peer, Server

Dial = Callable[..., Endpoint]
Request = h2.events.RequestReceived
Reset = h2.events.StreamReset


def failed(call: Callable[[], Any]) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        call()
    return caught.value


class TestFlow:
    def test_request_waits_for_the_window_of_the_peer(self, endpoint: Dial) -> None:
        message = os.urandom(300_000)

        def serve(peer: Peer) -> None:
            stream = peer.until(Request).stream_id
            body = b""
            while len(body) < len(message) + 5:
                body += peer.until(h2.events.DataReceived).data
            peer.answer(stream, body[5:])

        with Server(serve, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}) as server:
            assert method(endpoint(server.address))(message, timeout=20) == message

    def test_calls_beyond_the_peers_limit_wait_their_turn(self, endpoint: Dial) -> None:
        def serve(peer: Peer) -> None:
            for _ in range(4):
                stream = peer.until(Request).stream_id
                time.sleep(0.02)
                assert not [event for event in peer.events if isinstance(event, Request)]
                peer.answer(stream, b"yes")

        settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1}
        with Server(serve, settings=settings) as server, ThreadPoolExecutor(4) as pool:
            call = method(endpoint(server.address))
            assert list(pool.map(lambda _: call(b"", timeout=10), range(4))) == [b"yes"] * 4

    def test_deadline_resets_the_stream_and_keeps_the_connection(self, endpoint: Dial) -> None:
        def serve(peer: Peer) -> None:
            late = peer.until(Request)
            assert "grpc-timeout" in dict(late.headers)
            reset = peer.until(Reset)
            assert (reset.stream_id, reset.error_code) == (late.stream_id, 8)
            peer.answer(peer.until(Request).stream_id, b"yes")

        with Server(serve) as server:
            call = method(endpoint(server.address))
            assert failed(lambda: call(b"", timeout=0.1)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert call(b"", timeout=5) == b"yes"

    def test_deadline_passes_while_the_peer_takes_nothing(self, endpoint: Dial) -> None:
        done = threading.Event()
        with Server(lambda peer: done.wait(10) and None) as server:
            made = endpoint(server.address, ("grpc.max_send_message_length", -1))
            error = failed(lambda: method(made)(b"x" * 50_000_000, timeout=0.3))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            done.set()
            made.close()

    def test_one_slow_answer_does_not_hold_up_others(self, endpoint: Dial) -> None:
        def serve(peer: Peer) -> None:
            streams = [peer.until(Request).stream_id for _ in range(2)]
            peer.answer(streams[1], b"second")
            eventually(lambda: "second" in got)
            peer.answer(streams[0], b"first")

        got: list[str] = []
        with Server(serve) as server, ThreadPoolExecutor(2) as pool:
            call = method(endpoint(server.address))
            futures = [pool.submit(lambda: got.append(call(b"", timeout=10).decode())) for _ in range(2)]
            for future in futures:
                future.result(15)
        assert got == ["second", "first"]

    def test_pings_are_answered_while_nobody_calls(self, endpoint: Dial) -> None:
        def serve(peer: Peer) -> None:
            peer.h2.ping(b"12345678")
            peer.flush()
            assert peer.until(h2.events.PingAckReceived).ping_data == b"12345678"

        with Server(serve) as server:
            endpoint(server.address)

    def test_dead_peer_is_given_up_after_the_keepalive(self, endpoint: Dial) -> None:
        done = threading.Event()
        with Server(lambda peer: peer.until(Request) and done.wait(20) and None) as server:
            keepalive = (("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 100))
            error = failed(lambda: method(endpoint(server.address, *keepalive))(b"", timeout=15))
            done.set()
        assert (error.code(), "keepalive" in error.details()) == (grpc.StatusCode.UNAVAILABLE, True)

    def test_retired_connection_closes_when_its_call_has_ended(self, endpoint: Dial) -> None:
        answered = threading.Event()

        def serve(peer: Peer) -> None:
            stream = peer.until(Request).stream_id
            assert answered.wait(10)
            peer.answer(stream, b"yes")
            assert peer.closed()

        with Server(serve) as server, ThreadPoolExecutor(1) as pool:
            made = endpoint(server.address)
            future = pool.submit(method(made), b"", 10)
            assert made.current is not None
            session = made.current.session
            eventually(lambda: session.streams == 1)
            made.retire()
            answered.set()
            assert future.result(10) == b"yes"
        assert session.streams == 0

    def test_calls_of_an_endpoint_that_left_while_it_was_connected_share_a_connection(self) -> None:
        """Otherwise one that comes and goes faster than it is connected would have no call begin."""

        def serve(peer: Peer) -> None:
            for _ in range(3):
                peer.answer(peer.until(Request).stream_id, b"yes")
            assert peer.closed()

        with Server(serve) as server:
            left = Endpoint(server.address, ())
            left.retire()
            held = left.connect(10)
            assert isinstance(held, ClientConnection)
            assert left.connect(10) is held
            key = ("unary_unary", PATH, None, None)
            ways = [left.unary_unary(key, pytest.fail, held) for _ in range(3)]
            del held
            while ways:
                assert ways.pop()(b"", 10) == b"yes"


class TestConnecting:
    @pytest.mark.parametrize(
        "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b""]
    )
    def test_peer_that_does_not_speak_http2_is_none(self, said: bytes) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                accepted, _ = listener.accept()
                with accepted:
                    accepted.sendall(said)

            thread = threading.Thread(target=serve)
            thread.start()
            assert not Endpoint(f"127.0.0.1:{listener.getsockname()[1]}", ()).connect(5)
            thread.join()

    def test_silent_peer_takes_no_longer_than_allowed(self) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert Endpoint(f"127.0.0.1:{listener.getsockname()[1]}", ()).connect(0.2) is None
