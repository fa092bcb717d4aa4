"""The server on nghttp2: grpcio's clients, and clients that follow their own script. What holds for grpcio's server
holds for it (test_same_as_grpcio.py)."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import grpc
import h2.events
import h2.exceptions
import h2.settings
import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.h2.served import Served
from tests.unit.transports.triple.conftest import Greeter, eventually
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.h2.scripted import dialled, framed

Headers = h2.events.ResponseReceived
Reset = h2.events.StreamReset
Gone = h2.events.ConnectionTerminated
WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


@pytest.fixture
def stub(server: Any, pb_grpc: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield pb_grpc.GreeterStub(channel)


class TestGrpcioClient:
    def test_four_kinds_of_calls_are_served(self, stub: Any, pb: Any) -> None:
        requests = [pb.HelloRequest(name=name) for name in "ab"]
        assert stub.SayHello(requests[0], timeout=5).name == "Hello a"
        assert [user.name for user in stub.SayHelloServerStream(requests[0], timeout=5)] == ["Hello a"] * 2
        assert stub.SayHelloClientStream(iter(requests), timeout=5).name == "Hello a+b"
        assert [user.name for user in stub.SayHelloStream(iter(requests), timeout=5)] == [
            "Hello a",
            "Hello b",
        ]

    def test_calls_at_a_time_beyond_the_threads_are_all_served(self, stub: Any, pb: Any) -> None:
        futures = [stub.SayHello.future(pb.HelloRequest(name=str(n)), timeout=20) for n in range(40)]
        assert [future.result().name for future in futures] == [f"Hello {n}" for n in range(40)]

    def test_calls_beyond_the_limit_are_resource_exhausted(
        self, stub: Any, servicer: Greeter, pb: Any
    ) -> None:
        held = [stub.SayHello.future(pb.HelloRequest(name="hang"), timeout=20) for _ in range(50)]
        eventually(lambda: servicer.calls == 4)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in range(20):  # until the 50 have arrived
                stub.SayHello(pb.HelloRequest(name="a"), timeout=0.5)
        assert caught.value.code() in {  # type: ignore[attr-defined]
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
        servicer.release.set()
        assert {future.exception() for future in held} == {None}

    def test_handlers_never_occupy_more_threads_than_allowed(
        self, stub: Any, servicer: Greeter, pb: Any
    ) -> None:
        held = [stub.SayHello.future(pb.HelloRequest(name="hang"), timeout=20) for _ in range(20)]
        eventually(lambda: servicer.calls == 4)
        time.sleep(0.2)
        assert servicer.calls == 4
        servicer.release.set()
        for future in held:
            future.result()

    def test_compressed_requests_are_read(self, server: Any, pb: Any, pb_grpc: Any) -> None:
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            with grpc.insecure_channel(f"127.0.0.1:{server.port}", compression=compression) as channel:
                say = pb_grpc.GreeterStub(channel).SayHello
                assert say(pb.HelloRequest(name="x" * 1000), timeout=5).name == "Hello " + "x" * 1000

    def test_cancelled_call_tells_its_handler(self, stub: Any, servicer: Greeter, pb: Any) -> None:
        call = stub.SayHello.future(pb.HelloRequest(name="hang"))
        eventually(lambda: servicer.calls == 1)
        call.cancel()
        assert servicer.cancelled.wait(5)

    def test_running_call_ends_while_the_server_stops_and_later_ones_are_refused(
        self, server: Any, stub: Any, servicer: Greeter, pb: Any
    ) -> None:
        running = stub.SayHello.future(pb.HelloRequest(name="hang"), timeout=20)
        eventually(lambda: servicer.calls == 1)
        stopped = server.stop(10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(pb.HelloRequest(name="a"), timeout=2)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
        assert not stopped.is_set()
        servicer.release.set()
        assert running.result().name == "Hello hang"
        assert stopped.wait(5)

    def test_calls_that_outlive_the_grace_are_cancelled(
        self, server: Any, stub: Any, servicer: Greeter, pb: Any
    ) -> None:
        running = stub.SayHello.future(pb.HelloRequest(name="hang"), timeout=20)
        eventually(lambda: servicer.calls == 1)
        server.stop(0.2)
        assert servicer.cancelled.wait(5)
        assert running.exception().code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
        servicer.release.set()

    def test_stream_of_many_messages_is_held_up_by_a_slow_reader(self, pb: Any, pb_grpc: Any) -> None:
        made = 0

        class Many(pb_grpc.GreeterServicer):  # type: ignore[misc]
            def SayHelloServerStream(self, request: Any, context: Any) -> Any:
                nonlocal made
                for _ in range(2000):
                    made += 1
                    yield pb.User(name="x" * 10_000)

        mesh = FakeMesh()
        server = TripleTransport(mesh).server(address="127.0.0.1:0", codec="nghttp2")
        pb_grpc.add_GreeterServicer_to_server(Many(), server)
        server.start()
        peer = dialled(server.port, {WINDOW: 65_535})
        path = "/org.apache.dubbo.sample.Greeter/SayHelloServerStream"
        peer.request(framed(pb.HelloRequest().SerializeToString()), path=path)
        eventually(lambda: made > 10)
        time.sleep(0.3)
        assert made < 100
        peer.socket.close()
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert (
                len(list(pb_grpc.GreeterStub(channel).SayHelloServerStream(pb.HelloRequest(), timeout=30)))
                == 2000
            )
        assert server.stop(0).wait(10)
        mesh.close()

    def test_stream_of_large_requests_is_read_as_it_comes(self, stub: Any, pb: Any) -> None:
        requests = (pb.HelloRequest(name="x" * 900_000) for _ in range(8))
        assert [len(user.name) for user in stub.SayHelloStream(requests, timeout=30)] == [900_006] * 8


def test_requests_that_come_to_their_end_while_what_there_was_is_dealt_with_are_read() -> None:
    """Another thread may read the rest between the look at what has come and the look at whether that is all."""
    stream = SimpleNamespace(remote_end=False, too_large=False, unread=0, whole=None)

    def take() -> bytes | None:
        whole, stream.whole, stream.unread = stream.whole, None, 0
        return whole

    def flush() -> None:
        if not stream.remote_end:
            stream.remote_end, stream.whole, stream.unread = True, framed(b"last"), 9

    stream.take = take
    call = Served.__new__(Served)
    call.stream, call.active, call.connection = stream, True, cast(Any, SimpleNamespace(flush=flush))
    assert list(call._requests(None)) == [b"last"]


class TestScripts:
    def test_bytes_that_are_broken_from_the_first_end_their_connection_whichever_thread_reads_them(
        self, server: Any
    ) -> None:
        # Often enough that reading them meets the server's own first words.
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
                peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64)
                try:
                    while peer.recv(4096):
                        pass
                except ConnectionResetError:
                    pass

    def test_request_that_is_too_large_is_refused_before_it_has_come(self, server: Any) -> None:
        peer = dialled(server.port)
        stream = peer.request(framed(b"x" * 100), end=False)
        assert peer.h2.local_flow_control_window(stream) > 0
        peer.h2.send_data(stream, b"\x00\xff\xff\xff\xff")
        body = os.urandom(16_000)
        with pytest.raises((h2.exceptions.ProtocolError, EOFError, AssertionError)):
            for _ in range(600):
                while peer.h2.local_flow_control_window(stream) < len(body):
                    event = peer.until(h2.events.WindowUpdated, Headers, Reset)
                    assert isinstance(event, h2.events.WindowUpdated)
                peer.h2.send_data(stream, body)
                peer.flush()
            pytest.fail("ten megabytes were taken")
        peer.socket.close()

    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({":method": "GET"}, "405"),
            ({"content_type": "text/plain"}, "415"),
            ({"content_type": "application/grpcx"}, "415"),
        ],
    )
    def test_what_is_not_grpc_is_refused_by_http(
        self, server: Any, changed: dict[str, str], status: str
    ) -> None:
        peer = dialled(server.port)
        peer.request(**changed)
        assert dict(peer.until(Headers).headers)[":status"] == status
        peer.socket.close()

    def test_message_in_unknown_encoding_is_unimplemented(self, server: Any) -> None:
        peer = dialled(server.port)
        stream = peer.request(framed(b"x", 1), grpc_encoding="zstd")
        assert peer.status(stream) == "12"
        peer.socket.close()

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (gzip.compress(b"\x00" * 50_000_000), "8"),
            (gzip.compress(b"\x0a\x01a")[:-4], "13"),
            (b"nothing of the kind", "13"),
        ],
        ids=["grows beyond the limit", "cut short", "not gzip"],
    )
    def test_compressed_message_that_is_none_ends_its_call(
        self, server: Any, body: bytes, status: str
    ) -> None:
        peer = dialled(server.port)
        assert peer.status(peer.request(framed(body, 1), grpc_encoding="gzip")) == status
        peer.socket.close()

    def test_deadline_of_the_caller_ends_the_call(self, server: Any, servicer: Greeter, pb: Any) -> None:
        peer = dialled(server.port)
        body = framed(pb.HelloRequest(name="hang").SerializeToString())
        assert peer.status(peer.request(body, grpc_timeout="200m")) == "4"
        assert servicer.cancelled.is_set()
        peer.socket.close()

    def test_reset_of_a_call_tells_its_handler_and_leaves_the_connection(
        self, server: Any, servicer: Greeter, pb: Any
    ) -> None:
        peer = dialled(server.port)
        stream = peer.request(framed(pb.HelloRequest(name="hang").SerializeToString()))
        eventually(lambda: servicer.calls == 1)
        peer.h2.reset_stream(stream, 8)
        peer.flush()
        assert servicer.cancelled.wait(5)
        assert peer.status(peer.request(framed(b""))) == "0"
        peer.socket.close()

    def test_streams_reset_without_end_end_the_connection(
        self, server: Any, servicer: Greeter, pb: Any
    ) -> None:
        servicer.release.set()
        peer = dialled(server.port)
        with pytest.raises((OSError, EOFError, h2.exceptions.ProtocolError)):
            for _ in range(5000):
                peer.h2.reset_stream(peer.request(framed(b"")), 8)
                peer.flush()
                if any(isinstance(event, Gone) for event in peer.events):
                    raise EOFError
            peer.until(Gone)
            raise EOFError
        peer.socket.close()
        other = dialled(server.port)
        assert other.status(other.request(framed(b""))) == "0"
        other.socket.close()

    def test_streams_beyond_the_limit_that_was_told_end_the_connection(
        self, pb: Any, pb_grpc: Any, servicer: Greeter
    ) -> None:
        mesh = FakeMesh()
        server = TripleTransport(mesh).server(
            address="127.0.0.1:0", codec="nghttp2", options=[("grpc.max_concurrent_streams", 2)]
        )
        pb_grpc.add_GreeterServicer_to_server(servicer, server)
        server.start()
        peer = dialled(server.port)
        peer.until(h2.events.SettingsAcknowledged)
        peer.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 100
        peer.h2.remote_settings.acknowledge()
        body = framed(pb.HelloRequest(name="hang").SerializeToString())
        for _ in range(3):
            peer.request(body)
        assert peer.until(Gone).error_code == 1
        peer.socket.close()
        assert servicer.calls <= 2
        servicer.release.set()
        assert server.stop(0).wait(10)
        mesh.close()

    def test_headers_beyond_the_limit_reset_the_stream_alone(self, server: Any) -> None:
        peer = dialled(server.port)
        large = {f"name-{number}": "x" * 1000 for number in range(40)}
        stream = peer.request(framed(b""), **large)
        assert peer.until(Reset).stream_id == stream
        assert peer.status(peer.request(framed(b""))) == "0"
        peer.socket.close()

    def test_ping_is_answered(self, server: Any) -> None:
        peer = dialled(server.port)
        peer.h2.ping(b"12345678")
        peer.flush()
        assert peer.until(h2.events.PingAckReceived).ping_data == b"12345678"
        peer.socket.close()

    def test_client_that_takes_no_answers_does_not_hold_up_others(self, server: Any, pb: Any) -> None:
        peer = dialled(server.port, {WINDOW: 0})
        for _ in range(20):
            peer.request(framed(pb.HelloRequest(name="x" * 1_000).SerializeToString()))
        other = dialled(server.port)
        assert other.status(other.request(framed(b""))) == "0"
        peer.socket.close()
        other.socket.close()

    def test_call_that_is_half_there_when_its_connection_ends_is_forgotten(
        self, server: Any, servicer: Greeter
    ) -> None:
        for _ in range(20):
            peer = dialled(server.port)
            peer.request(b"\x00\x00", end=False)
            peer.socket.close()
        # A call gives its place back on a thread of its own.
        eventually(lambda: not server._server._connections and server._server._concurrency._running == 0)
        assert servicer.calls == 0

    @pytest.mark.parametrize("late", [True, False], ids=["after a pause", "at once"])
    def test_request_that_comes_byte_by_byte_is_served(self, server: Any, late: bool) -> None:
        peer = dialled(server.port)
        send = peer.socket.sendall
        peer.h2.send_headers(
            1,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/org.apache.dubbo.sample.Greeter/SayHello"),
                (":authority", "x"),
                ("content-type", "application/grpc"),
            ],
        )
        peer.h2.send_data(1, framed(b"\x0a\x01a"), end_stream=True)
        for byte in peer.h2.data_to_send():
            send(bytes([byte]))
            time.sleep(0.002 if late else 0)
        assert peer.status(1) == "0"
        peer.socket.close()

    def test_many_clients_that_break_off_leave_the_server_whole(
        self, server: Any, servicer: Greeter, stub: Any, pb: Any
    ) -> None:
        stop = threading.Event()

        def breaks_off() -> None:
            while not stop.is_set():
                with socket.create_connection(("127.0.0.1", server.port), 5) as broken:
                    broken.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(60))

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(breaks_off)
            try:
                for number in range(200):
                    assert (
                        stub.SayHello(pb.HelloRequest(name=str(number)), timeout=10).name == f"Hello {number}"
                    )
            finally:
                stop.set()
        eventually(lambda: len(server._server._connections) <= 1)


class TestUse:
    def test_tls_and_compression_are_refused_at_once(self, server: Any) -> None:
        with pytest.raises(UsageError, match="has no TLS: use codec='grpcio'"):
            server.add_secure_port("127.0.0.1:0", None)
        with pytest.raises(UsageError, match="codec='nghttp2' does not compress"):
            TripleTransport(FakeMesh()).server(codec="nghttp2", compression=grpc.Compression.Gzip)
