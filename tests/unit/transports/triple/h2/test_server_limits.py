"""What the server on nghttp2 bounds, and what it does with what is beyond: floods, sizes, broken and given-up calls."""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from pyrpc_xds.transports.triple.h2.served import Served
from tests.unit.transports.triple.conftest import eventually
from tests.unit.transports.triple.h2.scripted import Raw

Serve = Callable[..., Any]


Dial = Callable[..., grpc.Channel]
MakeRaw = Callable[[Any], Raw]


@pytest.fixture
def raw() -> Iterator[Callable[[Any], Raw]]:
    made: list[Raw] = []

    def connect(server: Any) -> Raw:
        made.append(Raw(server.port))
        return made[-1]

    yield connect
    for peer in made:
        peer.socket.close()


def failure(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=5)
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


def takes_nothing(serve: Serve, raw: MakeRaw) -> tuple[dict[int, Any], Raw]:
    """The connections of a server, of which there is one, and its client, which has not read a long answer."""
    server = serve({"Big": ("unary_unary", lambda request, context: b"x" * (24 << 20))})
    peer = raw(server)
    windows = peer.frame(4, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1))
    windows += peer.frame(8, 0, 0, struct.pack(">I", 1 << 30))
    peer.socket.sendall(windows + peer.call("/T/Big")[1])
    connections = server._server._connections
    eventually(lambda: [each.session.stuck for each in connections.values()] == [True])
    return connections, peer


class TestRequests:
    def test_stream_whose_handler_is_not_found_yet_loses_no_message(self, serve: Serve, dial: Dial) -> None:
        all_sent = threading.Event()

        class Slow(grpc.ServerInterceptor):
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                all_sent.wait(5)
                time.sleep(0.2)
                return continuation(details)

        def requests() -> Iterator[bytes]:
            yield from [b"x" * 900] * 10
            all_sent.set()

        server = serve(
            {"Total": ("stream_unary", lambda requests, context: b"%d" % len(b"".join(requests)))},
            interceptors=[Slow()],
            options=[("grpc.max_receive_message_length", 1000)],
        )
        assert dial(server).stream_unary("/T/Total")(requests(), timeout=10) == b"9000"

    def test_message_that_is_too_large_is_resource_exhausted_in_streams_too(
        self, serve: Serve, dial: Dial
    ) -> None:
        server = serve(
            {
                "Echo": ("unary_unary", lambda request, context: request),
                "Total": ("stream_unary", lambda requests, context: b"%d" % len(b"".join(requests))),
            },
            options=[("grpc.max_receive_message_length", 1000)],
        )
        channel = dial(server)
        assert channel.unary_unary("/T/Echo")(b"x" * 1000, timeout=5) == b"x" * 1000
        for size in (1001, 5000, 2_000_000):
            code, _ = failure(channel.unary_unary("/T/Echo"), b"x" * size)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            code, _ = failure(channel.stream_unary("/T/Total"), iter([b"x", b"x" * size]))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_unary_request_larger_than_the_window_is_read(self, serve: Serve, dial: Dial) -> None:
        server = serve({"Size": ("unary_unary", lambda request, context: b"%d" % len(request))})
        assert dial(server).unary_unary("/T/Size")(b"x" * 4_000_000, timeout=10) == b"4000000"

    def test_answer_that_waits_to_be_sent_is_not_lost_to_the_rest_of_its_request(
        self, serve: Serve, raw: MakeRaw
    ) -> None:
        connections, peer = takes_nothing(serve, raw)
        [connection] = connections.values()
        stream, frames = peer.call("/T/None", None)
        peer.socket.sendall(frames)
        eventually(lambda: connection.begun == 2 and not connection.calls)
        received = connection.session.received
        peer.socket.sendall(peer.frame(0, 0, stream, b"\0\0\0"))
        eventually(lambda: connection.session.received > received)
        seen: list[tuple[int, bytes]] = []
        while len(seen) < 2:
            kind, of, payload = peer.until(1, 3)
            seen += [(kind, payload)] if of == stream else []
        assert [kind for kind, _ in seen] == [1, 3] and b"'grpc-status': '12'" in seen[0][1]

    def test_request_that_comes_while_its_thread_leaves_it_is_served_once(self) -> None:
        """Another thread reads the rest of a request when the one that found it missing is about to go."""
        answered: list[bytes] = []
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)

        class Stream:
            closed = too_large = False
            queued = unread = 0
            came = False

            @property
            def over(self) -> bool:
                if call._parked and not self.came:
                    self.came = True
                    other = threading.Thread(target=lambda: call.changed() and call.run())
                    other.start()
                    other.join()
                return self.came

            def let_all_come(self) -> None:
                pass

            def discard(self) -> None:
                pass

            def message(self) -> bytes:
                return b"whole"

        def answer(call: Served, message: bytes) -> None:
            answered.append(message)
            call.finish()

        server = SimpleNamespace(
            handler=lambda details: handler,
            dismiss=lambda: None,
            options=SimpleNamespace(max_sent=100),
            queue=SimpleNamespace(discard=lambda call: None),
        )
        connection = SimpleNamespace(
            server=server, calls=set(), session=SimpleNamespace(pending=False), answer=answer, given_up=0
        )
        call = Served(cast(Any, connection), Stream(), [(":path", "/T/Echo")])
        call.run()
        assert answered == [b"whole"]


GOAWAY = 7
ENHANCE_YOUR_CALM = 11


def told(payload: bytes) -> tuple[int, int]:
    """The last stream and the error code of a GOAWAY."""
    last, code = struct.unpack(">II", payload[:8])
    return last, code


class TestGivenUpCalls:
    def test_running_calls_are_cancelled_without_limit(self, serve: Serve, raw: MakeRaw) -> None:
        begun = threading.Semaphore(0)

        def hang(request: bytes, context: Any) -> bytes:
            over = threading.Event()
            context.add_callback(over.set)
            begun.release()
            over.wait(10)
            return b""

        server = serve(
            {"Hang": ("unary_unary", hang), "Echo": ("unary_unary", lambda r, c: r)}, max_workers=4
        )
        peer = raw(server)
        for _ in range(1500):
            stream, frames = peer.call("/T/Hang")
            peer.socket.sendall(frames)
            assert begun.acquire(timeout=10)
            peer.socket.sendall(peer.frame(3, 0, stream, struct.pack(">I", 8)))
        stream, frames = peer.call()
        peer.socket.sendall(frames)
        kind, of, _ = peer.until(1, GOAWAY)
        assert (kind, of) == (1, stream)

    @pytest.mark.parametrize("how", ["given_up", "broken"])
    def test_too_many_before_their_handlers_begin_end_the_connection_but_not_its_calls(
        self, serve: Serve, raw: MakeRaw, how: str
    ) -> None:
        begun, release = threading.Event(), threading.Event()
        ran: list[bytes] = []

        def hang(request: bytes, context: Any) -> bytes:
            begun.set()
            release.wait(10)
            return request

        def note(request: bytes, context: Any) -> bytes:
            ran.append(request)
            return request

        server = serve({"Hang": ("unary_unary", hang), "Echo": ("unary_unary", note)}, max_workers=1)
        peer = raw(server)
        running, frames = peer.call("/T/Hang", b"mine")
        peer.socket.sendall(frames)
        assert begun.wait(10)
        [connection] = server._server._connections.values()

        def counted() -> int:
            return int(connection.given_up + connection.session.broken)

        # Fewer at once than the streams of a connection; a handful are gained while that is sent.
        for _ in range(3):
            expected = counted() + 500
            peer.socket.sendall(getattr(peer, how)(500, "/T/Echo"))
            eventually(lambda at_least=expected: connection.going or counted() >= at_least)
        _, _, payload = peer.until(GOAWAY)
        last, code = told(payload)
        assert code == ENHANCE_YOUR_CALM
        late, frames = peer.call(body=b"late")
        assert late > last
        peer.socket.sendall(frames)  # not begun, as the GOAWAY says: the client makes it again elsewhere
        release.set()
        answers: list[bytes] = []
        with pytest.raises(EOFError):
            while True:
                _, stream, payload = peer.until(1)
                answers += [payload] if stream == running else []
        assert b"'grpc-status': '0'" in answers[-1]
        assert b"late" not in ran

    def test_client_that_reads_nothing_and_goes_on_is_disconnected(self, serve: Serve, raw: MakeRaw) -> None:
        """What it is to be told would grow without bound: GOAWAY does not get through to it."""
        connections, peer = takes_nothing(serve, raw)
        with pytest.raises(OSError):
            for _ in range(40):
                peer.socket.sendall(peer.given_up(1000))
        eventually(lambda: not connections)

    @pytest.mark.parametrize("how", ["given_up", "broken"])
    def test_calls_that_wait_for_a_thread_leave_the_queue_and_their_places(
        self, serve: Serve, raw: MakeRaw, how: str
    ) -> None:
        begun, release = threading.Event(), threading.Event()

        def hang(request: bytes, context: Any) -> bytes:
            begun.set()
            release.wait(10)
            return request

        served = serve({"Hang": ("unary_unary", hang)}, max_workers=1, maximum_concurrent_rpcs=5)
        server = served._server
        peer = raw(served)
        peer.socket.sendall(peer.call("/T/Hang")[1])
        assert begun.wait(10)
        for _ in range(20):
            waiting = [peer.call("/T/Hang") for _ in range(4)]
            peer.socket.sendall(b"".join(frames for _, frames in waiting))
            eventually(lambda: len(server.queue) == 4)
            assert server._concurrency._running == 5
            kind, code = (3, 8) if how == "given_up" else (8, (1 << 31) - 1)
            for stream, _ in waiting:
                peer.socket.sendall(peer.frame(kind, 0, stream, struct.pack(">I", code)))
            eventually(lambda: len(server.queue) == 0 and server._concurrency._running == 1)
        release.set()
        eventually(lambda: server._concurrency._running == 0)

    def test_handler_that_runs_on_keeps_its_place(self, serve: Serve, raw: MakeRaw) -> None:
        begun, release = threading.Event(), threading.Event()

        def hang(request: bytes, context: Any) -> bytes:
            begun.set()
            release.wait(10)
            return request

        server = serve(
            {"Hang": ("unary_unary", hang), "Echo": ("unary_unary", lambda r, c: r)},
            maximum_concurrent_rpcs=1,
        )
        peer = raw(server)
        stream, frames = peer.call("/T/Hang")
        peer.socket.sendall(frames)
        assert begun.wait(10)
        peer.socket.sendall(peer.frame(3, 0, stream, struct.pack(">I", 8)))
        eventually(lambda: not any(c.calls for c in server._server._connections.values()))
        for released in (False, True):
            if released:
                release.set()
                eventually(lambda: server._server._concurrency._running == 0)
            peer.socket.sendall(peer.call()[1])
            _, _, payload = peer.until(1)
            assert (b"'grpc-status': '8'" in payload) is not released

    def test_place_is_free_when_the_deadline_passes_before_the_handler_is_found(
        self, serve: Serve, raw: MakeRaw
    ) -> None:
        """The request has not come in full: nothing but the interceptors runs."""
        looking, go_on = threading.Event(), threading.Event()

        class Slow(grpc.ServerInterceptor):
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                looking.set()
                go_on.wait(10)
                return continuation(details)

        server = serve(
            {"Echo": ("unary_unary", lambda r, c: r)}, maximum_concurrent_rpcs=1, interceptors=[Slow()]
        )
        peer = raw(server)
        peer.socket.sendall(peer.call(body=None)[1])
        assert looking.wait(10)
        [connection] = server._server._connections.values()
        [call] = connection.calls
        call.expire()
        assert server._server._concurrency._running == 1
        go_on.set()
        eventually(lambda: server._server._concurrency._running == 0)

    def test_place_is_free_when_the_answer_has_come(self, serve: Serve, dial: Dial) -> None:
        server = serve({"Echo": ("unary_unary", lambda r, c: r)}, maximum_concurrent_rpcs=1)
        echo = dial(server).unary_unary("/T/Echo")
        for number in range(500):
            assert echo(b"%d" % number, timeout=5) == b"%d" % number


class TestLargeMetadata:
    """gRPC's own clients refuse 16 KiB unless they are told otherwise."""

    def answer(self, serve: Serve, dial: Dial, behavior: Callable[..., Any]) -> tuple[Any, Any]:
        server = serve({"Call": ("unary_unary", behavior)})
        channel = dial(
            server, ("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 21)
        )
        try:
            _, call = channel.unary_unary("/T/Call").with_call(b"", timeout=5)
        except grpc.RpcError as error:
            call = error
        return call.code(), call

    @pytest.mark.parametrize(("fields", "size"), [(1, 40_000), (200, 10)])
    def test_what_fits_is_sent(self, serve: Serve, dial: Dial, fields: int, size: int) -> None:
        pairs = tuple((f"k{number}", "v" * size) for number in range(fields))

        def behavior(request: bytes, context: Any) -> bytes:
            context.send_initial_metadata(pairs)
            context.set_trailing_metadata(pairs)
            return b""

        code, call = self.answer(serve, dial, behavior)
        assert code is grpc.StatusCode.OK
        assert tuple(call.initial_metadata()) == tuple(call.trailing_metadata()) == pairs

    @pytest.mark.parametrize(("fields", "size"), [(1, 70_000), (300, 1)])
    @pytest.mark.parametrize("which", ["send_initial_metadata", "set_trailing_metadata"])
    def test_what_does_not_fit_fails_the_call(
        self, serve: Serve, dial: Dial, which: str, fields: int, size: int
    ) -> None:
        def behavior(request: bytes, context: Any) -> bytes:
            getattr(context, which)([(f"k{number}", "v" * size) for number in range(fields)])
            return b""

        code, call = self.answer(serve, dial, behavior)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"metadata ({fields} fields" in call.details()

    @pytest.mark.parametrize("fields", [252, 253])
    def test_as_many_fields_as_fit_go_with_a_status_that_comes_alone(
        self, serve: Serve, dial: Dial, fields: int
    ) -> None:
        def behavior(request: bytes, context: Any) -> None:
            context.set_trailing_metadata([(f"k{number}", "v") for number in range(fields)])
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

        code, call = self.answer(serve, dial, behavior)
        assert code is grpc.StatusCode.NOT_FOUND
        assert len(call.trailing_metadata()) == (fields if fields == 252 else 0)

    def test_status_stays_where_metadata_does_not_fit(self, serve: Serve, dial: Dial) -> None:
        def behavior(request: bytes, context: Any) -> None:
            context.set_trailing_metadata([("k", "v" * 70_000)])
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

        code, call = self.answer(serve, dial, behavior)
        assert code is grpc.StatusCode.NOT_FOUND
        assert call.details().endswith("was left out: no such thing")

    def test_long_message_is_cut(self, serve: Serve, dial: Dial) -> None:
        def behavior(request: bytes, context: Any) -> None:
            context.abort(grpc.StatusCode.NOT_FOUND, "ü" * 70_000)

        code, call = self.answer(serve, dial, behavior)
        assert code is grpc.StatusCode.NOT_FOUND
        assert call.details().startswith("ü" * 4_000) and call.details().endswith("...")


def test_last_answer_reaches_a_client_that_still_sends(serve: Serve, raw: MakeRaw) -> None:
    begun, release = threading.Event(), threading.Event()

    def large(request: bytes, context: Any) -> bytes:
        begun.set()
        release.wait(10)
        return b"x" * 50_000

    server = serve({"Large": ("unary_unary", large)})
    peer = raw(server)
    stream, frames = peer.call("/T/Large")
    peer.socket.sendall(frames)
    assert begun.wait(10)
    [connection] = server._server._connections.values()
    stopped = server.stop(10)
    peer.until(GOAWAY)
    release.set()
    eventually(lambda: connection._parted_at is not None)
    for _ in range(3):
        peer.socket.sendall(peer.frame(6, 0, 0, b"12345678"))
        time.sleep(0.05)  # for a reset to come
    assert peer.until(1)[1] == stream
    assert b"'grpc-status': '0'" in peer.until(1)[2]
    with pytest.raises(EOFError):
        peer.until(1)
    peer.socket.close()
    assert stopped.wait(5)


class TestListener:
    def test_without_descriptors_left_it_rests_and_then_accepts(self, serve: Serve, dial: Dial) -> None:
        served = serve({"Echo": ("unary_unary", lambda r, c: r)})
        server = served._server
        [(descriptor, listener)] = server._listeners.items()
        tried = []

        class Exhausted:
            def accept(self) -> Any:
                tried.append(time.monotonic())
                raise OSError(errno.EMFILE, "Too many open files")

            def fileno(self) -> int:
                return int(descriptor)

        server._listeners[descriptor] = Exhausted()
        echo = dial(served).unary_unary("/T/Echo")
        future = echo.future(b"late", timeout=10)
        eventually(lambda: len(tried) >= 3)
        # Four threads, four times a second; a thread that spins tries thousands of times.
        time.sleep(0.5)
        server._listeners[descriptor] = listener
        assert len(tried) < 100
        assert future.result() == b"late"
