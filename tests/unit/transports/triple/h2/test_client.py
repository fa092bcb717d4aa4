"""Unary calls on nghttp2: what grpcio's own servers answer, and what peers do that follow their own script."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import h2.events
import h2.settings
import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from pyrpc_xds.transports.triple.h2.outcome import CallFailed
from pyrpc_xds.transports.triple.options import CODEC_VARIABLE
from tests.unit.transports.triple.conftest import Client, Running, eventually
from tests.unit.transports.triple.h2.conftest import method
from tests.unit.transports.triple.h2.scripted import HEAD, Peer, Server, framed

Connect = Callable[..., Client]
Start = Callable[..., Running]
Dial = Callable[..., Endpoint]
Request = h2.events.RequestReceived
Reset = h2.events.StreamReset
Gone = h2.events.ConnectionTerminated


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
            [(f"k{number}", "v") for number in range(249)],
            [(f"k{number}", "v") for number in range(248)],
            [("k", "v" * 70_000)],
            [("k", "v" * 40_000), ("j", "v" * 40_000)],
            [("k", "v" * 60_000)],
        ],
        ids=["300 pairs", "one more than fit", "as many as fit", "70 kB", "twice 40 kB", "60 kB"],
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
    with pytest.raises(UsageError, match=r"^codec='quic': expected 'grpcio' or 'nghttp2'"):
        connect(codec="quic")


def test_codec_of_the_environment_that_nobody_knows_is_refused_by_the_name_of_the_variable(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CODEC_VARIABLE, "quic")
    with pytest.raises(UsageError, match="PYRPC_XDS_TRIPLE_CODEC is 'quic': expected 'grpcio' or 'nghttp2'"):
        connect()


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

    def test_ok_in_trailers_that_http2_does_not_allow_is_internal(self, endpoint: Dial) -> None:
        def answer(peer: Peer, stream: int) -> None:
            peer.h2.send_headers(stream, HEAD)
            peer.h2.send_data(stream, framed(b"a"))
            peer.h2.send_headers(stream, [("grpc-status", "0"), (":status", "200")], end_stream=True)

        error = self.played(endpoint, answer)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "answered with what HTTP/2 does not allow (HTTP/2 error 1)" in error.details()

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
