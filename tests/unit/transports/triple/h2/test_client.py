"""Unary calls on nghttp2: what grpcio's own servers answer, and what peers do that follow their own script."""

from __future__ import annotations

import math
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

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple.h2.connection import ClientConnection
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from pyrpc_xds.transports.triple.h2.outcome import CallFailed
from tests.unit.transports.triple.conftest import Client, Running, eventually
from tests.unit.transports.triple.h2.conftest import method
from tests.unit.transports.triple.h2.scripted import HEAD, PATH, Peer, Server, framed

Connect = Callable[..., Client]
Start = Callable[..., Running]
Dial = Callable[..., Endpoint]
Request = h2.events.RequestReceived
Reset = h2.events.StreamReset
Gone = h2.events.ConnectionTerminated


def failed(call: Callable[[], Any]) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        call()
    return caught.value


class TestChannel:
    """Against grpcio's server, each test with grpcio's codec and with nghttp2's: they must not differ."""

    @pytest.fixture(params=["grpcio", "nghttp2"])
    def client(self, request: pytest.FixtureRequest, connect: Connect, start: Start) -> Client:
        self.running = start("v1")
        self.codec = request.param
        return connect(self.running.address, codec=request.param)

    def test_metadata_goes_both_ways(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        sent = (("user", "admin"), ("key-bin", b"\x00\xff"), ("user", "two"), ("empty", ""))
        answer, call = pb_grpc.GreeterStub(client.channel).SayHello.with_call(
            pb.HelloRequest(name="a"), metadata=sent, timeout=5
        )
        assert answer.id == "v1"
        seen = self.running.servicer.seen[0]
        assert (seen["user"], seen["key-bin"], seen["empty"]) == ("admin,two", b"\x00\xff", "")
        assert ("version", "v1") in [tuple(pair) for pair in call.initial_metadata()]
        assert [tuple(pair) for pair in call.trailing_metadata()] == [("trail", "v1")]
        assert (call.code(), call.details()) == (grpc.StatusCode.OK, "")

    def test_status_and_trailers_of_an_error_arrive(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="abort"))
        error: Any = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "as asked")
        assert [tuple(pair) for pair in error.trailing_metadata()] == [("trail", "v1")]

    def test_unknown_method_is_unimplemented(self, client: Client) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary("/no.Such/Method")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]

    def test_deadline_ends_the_call_here_and_there(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="hang"), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
        assert self.running.servicer.cancelled.wait(5)

    def test_messages_of_megabytes_pass_and_larger_ones_are_refused(
        self, client: Client, pb: Any, pb_grpc: Any
    ) -> None:
        say = pb_grpc.GreeterStub(client.channel).SayHello
        assert len(say(pb.HelloRequest(name="x" * 4_000_000), timeout=20).name) == 4_000_006
        with pytest.raises(grpc.RpcError) as caught:
            say(pb.HelloRequest(name="x" * 5_000_000), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert say(pb.HelloRequest(name="a"), timeout=5).id == "v1"

    def test_callers_share_the_connection(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        say = pb_grpc.GreeterStub(client.channel).SayHello
        with ThreadPoolExecutor(32) as pool:
            names = [str(number) * (1 + number * 50) for number in range(400)]
            answers = pool.map(lambda name: say(pb.HelloRequest(name=name), timeout=20).name, names)
            assert list(answers) == [f"Hello {name}" for name in names]

    def test_request_that_does_not_serialize_fails_alike(self, client: Client, pb_grpc: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            pb_grpc.GreeterStub(client.channel).SayHello("no message")
        assert caught.value.code() is grpc.StatusCode.INTERNAL  # type: ignore[attr-defined]

    def test_metadata_that_is_none_is_refused_alike(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        with pytest.raises((ValueError, grpc.RpcError)) as caught:
            pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(), metadata=(("Bad Name", "x"),))
        assert not isinstance(caught.value, CallFailed)

    @pytest.mark.parametrize(
        "metadata",
        [
            [(f"k{number}", "v") for number in range(300)],
            [("k", "v" * 70_000)],
            [("k", "v" * 40_000), ("j", "v" * 40_000)],
            [("k", "v" * 60_000)],
        ],
        ids=["300 pairs", "70 kB", "twice 40 kB", "60 kB"],
    )
    def test_much_metadata_arrives(
        self, client: Client, connect: Connect, metadata: list[tuple[str, str]]
    ) -> None:
        def count(_: bytes, context: Any) -> bytes:
            return str(sum(name in {pair[0] for pair in metadata} for name, _ in seen(context))).encode()

        def seen(context: Any) -> Any:
            return context.invocation_metadata()

        with ThreadPoolExecutor(1) as pool:
            large = [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
            server = grpc.server(pool, options=large)
            handlers = {"Count": grpc.unary_unary_rpc_method_handler(count)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("T", handlers),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            call = connect(f"127.0.0.1:{port}", codec=self.codec).channel.unary_unary("/T/Count")
            assert call(b"", metadata=metadata, timeout=5) == str(len(metadata)).encode()
            server.stop(0).wait()

    def test_metadata_beyond_the_servers_limit_is_refused(
        self, client: Client, pb: Any, pb_grpc: Any
    ) -> None:
        say = pb_grpc.GreeterStub(client.channel).SayHello
        with pytest.raises(grpc.RpcError) as caught:
            say(pb.HelloRequest(name="a"), metadata=[("k", "v" * 30_000)], timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert say(pb.HelloRequest(name="a"), timeout=5).id == "v1"

    @pytest.mark.parametrize("timeout", [-1, math.inf, math.nan, 1e12])
    def test_timeout_beyond_all_clocks_or_below_is_a_deadline_that_has_passed(
        self, client: Client, pb: Any, pb_grpc: Any, timeout: float
    ) -> None:
        say = pb_grpc.GreeterStub(client.channel).SayHello
        say(pb.HelloRequest(name="a"))
        with pytest.raises(grpc.RpcError) as caught:
            say(pb.HelloRequest(name="a"), timeout=timeout)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]

    def test_futures_and_streams_are_grpcios(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        stub = pb_grpc.GreeterStub(client.channel)
        assert stub.SayHello.future(pb.HelloRequest(name="a")).result(5).id == "v1"
        assert len(list(stub.SayHelloServerStream(pb.HelloRequest(name="a"), timeout=5))) == 2
        requests = (pb.HelloRequest(name=name) for name in "ab")
        assert stub.SayHelloClientStream(requests, timeout=5).name == "Hello a+b"

    def test_blocking_calls_open_no_channel_of_grpcio(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        pb_grpc.GreeterStub(client.channel).SayHello(pb.HelloRequest(name="a"))
        connection = client.router.endpoints[self.running.address].connection
        assert (connection._channel is None) == (self.codec == "nghttp2")

    def test_close_cancels_what_runs(self, client: Client, pb: Any, pb_grpc: Any) -> None:
        say = pb_grpc.GreeterStub(client.channel).SayHello
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(say, pb.HelloRequest(name="hang")) for _ in range(3)]
            eventually(lambda: self.running.servicer.calls == 3)
            client.channel.close()
            assert {call.exception(5).code() for call in calls} == {grpc.StatusCode.CANCELLED}  # type: ignore


def test_codec_that_nobody_knows_is_refused(connect: Connect) -> None:
    with pytest.raises(UsageError, match="'grpcio' or 'nghttp2'"):
        connect(codec="quic")


class TestAnswers:
    def played(self, endpoint: Dial, script: Callable[[Peer, int], None], *options: tuple[str, Any]) -> Any:
        """What a call gives where the server answers by ``script``."""

        def serve(peer: Peer) -> None:
            script(peer, peer.until(h2.events.StreamEnded).stream_id)
            peer.flush()
            peer.closed()

        with Server(serve) as server:
            made = endpoint(server.address, *options)
            try:
                return method(made)(b"x", timeout=5)
            except CallFailed as error:
                return error
            finally:
                made.close()

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (1, grpc.StatusCode.INTERNAL),
            (2, grpc.StatusCode.INTERNAL),
            (8, grpc.StatusCode.CANCELLED),
            (11, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (12, grpc.StatusCode.PERMISSION_DENIED),
        ],
    )
    def test_reset_is_the_status_of_its_code(
        self, endpoint: Dial, code: int, status: grpc.StatusCode
    ) -> None:
        error = self.played(endpoint, lambda peer, stream: peer.h2.reset_stream(stream, code))
        assert error.code() is status

    @pytest.mark.parametrize(
        ("http", "status"),
        [
            ("400", grpc.StatusCode.INTERNAL),
            ("401", grpc.StatusCode.UNAUTHENTICATED),
            ("404", grpc.StatusCode.UNIMPLEMENTED),
            ("503", grpc.StatusCode.UNAVAILABLE),
            ("418", grpc.StatusCode.UNKNOWN),
        ],
    )
    def test_http_error_is_the_status_of_its_code(
        self, endpoint: Dial, http: str, status: grpc.StatusCode
    ) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", http), ("content-type", "text/html")])
            peer.h2.send_data(stream, b"<html>", end_stream=True)

        assert self.played(endpoint, answer).code() is status

    def test_trailers_only_answer_is_its_status(self, endpoint: Dial) -> None:
        def answer(peer: Peer, stream: int) -> None:
            pairs = [
                *HEAD,
                ("grpc-status", "5"),
                ("grpc-message", "x: 100 %25 d%C3%A9j%C3%A0"),
                ("why", "so"),
            ]
            peer.h2.send_headers(stream, pairs, end_stream=True)

        error = self.played(endpoint, answer)
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "x: 100 % déjà")
        assert error.trailing_metadata() == (("why", "so"),)
        assert error.initial_metadata() == ()

    def test_informational_headers_are_passed_over(self, endpoint: Dial) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "103"), ("link", "x")])
            peer.answer(stream, b"yes")

        assert self.played(endpoint, answer) == b"yes"

    @pytest.mark.parametrize(
        "body", [b"", b"\x00\x00", framed(b"abc")[:-1], framed(b"a") * 2, framed(b"a", 1)]
    )
    def test_ok_without_one_whole_message_is_internal(self, endpoint: Dial, body: bytes) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, HEAD)
            peer.h2.send_data(stream, body)
            peer.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

        assert self.played(endpoint, answer).code() is grpc.StatusCode.INTERNAL

    @pytest.mark.parametrize("status", ["", "abc", "99999999999", None])
    def test_answer_without_a_status_is_unknown(self, endpoint: Dial, status: str | None) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, HEAD)
            peer.h2.send_data(stream, framed(b"a"), end_stream=status is None)
            if status is not None:
                peer.h2.send_headers(stream, [("grpc-status", status)], end_stream=True)

        assert self.played(endpoint, answer).code() is grpc.StatusCode.UNKNOWN

    def test_message_beyond_the_limit_is_refused_before_it_has_come(self, endpoint: Dial) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, HEAD)
            peer.h2.send_data(stream, framed(b"x" * 15_000)[:16_000])
            peer.flush()
            assert peer.until(Reset).stream_id == stream

        error = self.played(endpoint, answer, ("grpc.max_receive_message_length", 10_000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_headers_beyond_the_limit_end_the_call(self, endpoint: Dial) -> None:
        def answer(peer: Peer, stream: int) -> None:
            pairs = [*HEAD, *((f"name-{number}", "x" * 1000) for number in range(30))]
            peer.h2.send_headers(stream, pairs)

        assert self.played(endpoint, answer).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize(
        "garbage", [b"\xff" * 64, b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"HTTP/1.1 "]
    )
    def test_broken_frames_end_the_call_as_unavailable(self, endpoint: Dial, garbage: bytes) -> None:
        error = self.played(endpoint, lambda peer, _: peer.socket.sendall(garbage * 4))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


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
