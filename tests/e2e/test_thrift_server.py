"""The server over sockets: what clients may do to it, and how it stops."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import Limits, ServerLimits, ThriftTransport, ThriftUnavailable
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, thriftpy2_client, wait_until

LOG = "pyrpc_xds.thrift"


@pytest.fixture
def handler() -> Handler:
    return Handler()


@contextlib.contextmanager
def serving(handler: Any, **options: Any) -> Iterator[Any]:
    with ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0", **options) as server:
        yield server


@contextlib.contextmanager
def calling(server: Any, **options: Any) -> Iterator[Any]:
    mesh = FakeMesh(server.address)
    with ThriftTransport(mesh).client(idl.Everything, "x:1", timeout=5.0, **options) as client:
        yield client
    mesh.close()


def connected(server: Any) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=5.0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def closed_by_server(sock: socket.socket) -> bool:
    """Whether the server closes the connection, without a word, within the socket's timeout."""
    try:
        return sock.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def call(
    name: bytes = b"ping", seqid: int = 1, body: bytes = b"\x0b\0\x01\0\0\0\x01x\0", kind: int = 1
) -> bytes:
    return struct.pack(">HBBi", 0x8001, 0, kind, len(name)) + name + struct.pack(">i", seqid) + body


def framed(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "noise": bytes(range(255, 200, -1)),
    "zeros": bytes(16),
    "frame of 2**31-1": struct.pack(">i", 2**31 - 1) + b"\x80\x01\0\x01",
    "frame above the limit": struct.pack(">i", 16_384_001) + b"\x80\x01\0\x01",
    "frame of negative size": struct.pack(">i", -2) + b"\x80\x01\0\x01",
    "another version": b"\x80\x02\0\x01" + call()[4:],
    "another compact version": b"\x82\x22\x01\x04ping\0",
    "a reply": framed(call(kind=2)),
    "heap disclosure": framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 5000) + b"ab\0")),
    "unknown type": framed(call(body=b"\x0f\0\x01\x63\x7f\xff\xff\xff\0")),
    "endless list": framed(call(body=b"\x0f\0\x01\x08" + struct.pack(">i", 30_000_000) + b"\0")),
    "negative string": framed(call(body=b"\x0b\0\x01\xff\xff\xff\xff\0")),
    "deep nesting": framed(call(body=b"\x0c\0\x01" * 100 + b"\0" * 101)),
    "map read out of step": framed(
        call(b"echo", body=b"\x0c\0\x01\x0d\0\x04\x0b\x0b\0\0\0\x01\0\0\0\x01a\0\0\0\x01b\0\0")
    ),
}


@pytest.mark.parametrize("what", GARBAGE)
@pytest.mark.parametrize("pieces", [1, 1000])
def test_garbage_closes_its_connection_only(
    what: str, pieces: int, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(handler) as server, calling(server) as honest, connected(server) as sock:
        assert honest.ping("before") == "before"
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(GARBAGE[what]), pieces):
                sock.sendall(GARBAGE[what][start : start + pieces])
        assert closed_by_server(sock)
        assert honest.ping("after") == "after"
        wait_until(
            lambda: any(record.getMessage().startswith("closed 127.0.0.1:") for record in caplog.records)
        )


def test_log_of_garbage_is_rate_limited(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    with serving(handler) as server:
        for _ in range(200):
            with connected(server) as sock:
                sock.sendall(GARBAGE["HTTP"])
                assert closed_by_server(sock)
    # Ten a second, and it began and ended within one.
    lines = len([record for record in caplog.records if record.name == LOG])
    assert lines <= min(150, 10 * (time.monotonic() - started + 2))


def test_unknown_method_is_answered_and_the_connection_kept(handler: Handler) -> None:
    with serving(handler) as server, connected(server) as sock:
        sock.sendall(framed(call(b"nope", seqid=5)) + framed(call(seqid=6)))
        answer = b""
        while len(answer) < 80:
            answer += sock.recv(1000)
        assert b"Everything has no method 'nope'" in answer
        assert answer[4:8] == b"\x80\x01\0\x03" and struct.pack(">i", 6) in answer


def test_error_text_stays_here_unless_exposed(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    with serving(handler) as server, calling(server) as client:
        with pytest.raises(TApplicationException) as hidden:
            client.undeclared("x")
        assert str(hidden.value) == "Everything.undeclared failed"
        assert hidden.value.type == TApplicationException.INTERNAL_ERROR
    assert "secret of x" in caplog.text
    with (
        serving(handler, expose_errors=True) as server,
        calling(server) as client,
        pytest.raises(TApplicationException, match="secret of y"),
    ):
        client.undeclared("y")


def test_result_of_the_wrong_type_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Handler):
        def add(self, left: int, right: int) -> Any:
            return "three"

        def ping(self, text: str) -> Any:
            return None

    with serving(Wrong()) as server, calling(server) as client:
        with pytest.raises(TApplicationException, match=r"Everything\.add failed"):
            client.add(1, 2)
        with pytest.raises(TApplicationException) as missing:
            client.ping("x")
        assert missing.value.type == TApplicationException.MISSING_RESULT
        assert client.no() is False
    assert "is not of the IDL's type" in caplog.text


def test_method_that_the_handler_has_no_more_is_an_internal_error() -> None:
    whole = Handler()
    handler = SimpleNamespace(**{name: getattr(whole, name) for name in idl.Everything.thrift_services})
    with serving(handler) as server, calling(server) as client:
        del handler.ping
        with pytest.raises(TApplicationException, match="failed"):
            client.ping("x")


def test_context_of_one_request_is_not_that_of_the_next() -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Leaky(Handler):
        def ping(self, text: str) -> str:
            before = variable.get()
            variable.set(text)
            return before

    with serving(Leaky(), workers=1) as server, calling(server) as client:
        assert [client.ping("a"), client.ping("b")] == ["unset", "unset"]


@pytest.mark.parametrize("form", ["framed", "buffered"])
def test_request_in_one_byte_pieces(form: str, handler: Handler) -> None:
    with serving(handler) as server, connected(server) as sock:
        for byte in framed(call()) if form == "framed" else call():
            sock.sendall(bytes([byte]))
            time.sleep(0.0005)
        assert b"ping" in sock.recv(1000)


@pytest.mark.parametrize("form", ["framed", "buffered"])
def test_requests_sent_ahead_are_answered_in_order(form: str, handler: Handler) -> None:
    wrap = framed if form == "framed" else bytes
    with serving(handler, workers=2) as server, connected(server) as sock:
        sock.sendall(b"".join(wrap(call(seqid=number)) for number in range(200)))
        expected = b"".join(
            wrap(call(kind=2, seqid=number, body=b"\x0b\0\0\0\0\0\x01x\0")) for number in range(200)
        )
        answer = b""
        while len(answer) < len(expected):
            answer += sock.recv(65536)
        assert answer == expected


def test_silent_and_slow_connections_are_closed_and_cost_no_worker(handler: Handler) -> None:
    limits = ServerLimits(handshake_timeout=0.5, frame_timeout=0.5, idle_timeout=0.5)
    with (
        serving(handler, workers=1, limits=limits) as server,
        calling(server) as honest,
        connected(server) as silent,
        connected(server) as half,
        connected(server) as idle,
    ):
        half.sendall(framed(call())[:20])
        idle.sendall(framed(call()))
        assert b"ping" in idle.recv(1000)
        slow = [connected(server) for _ in range(50)]
        for sock in slow:
            sock.sendall(b"\0\0")
        for number in range(20):
            assert honest.ping(str(number)) == str(number)
        assert closed_by_server(silent) and closed_by_server(half) and closed_by_server(idle)
        for sock in slow:
            assert closed_by_server(sock)
            sock.close()


def test_message_that_trickles_does_not_renew_its_time(handler: Handler) -> None:
    with serving(handler, limits=ServerLimits(frame_timeout=0.3)) as server, connected(server) as sock:
        message = framed(call(body=b"\x0b\0\x01\0\0\x10\0" + b"x" * 4096 + b"\0"))
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            for byte in message:
                sock.sendall(bytes([byte]))
                time.sleep(0.01)
        assert time.monotonic() - started < 10


def test_client_that_does_not_read_costs_no_worker_and_is_closed(handler: Handler) -> None:
    large = framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 8_000_000) + b"x" * 8_000_000 + b"\0"))
    limits = ServerLimits(frame_timeout=0.5)
    with (
        serving(handler, workers=1, limits=limits) as server,
        calling(server) as honest,
        connected(server) as sock,
    ):
        sock.sendall(large)
        wait_until(lambda: handler.calls == 1)
        for number in range(20):
            assert honest.ping(str(number)) == str(number)
        time.sleep(1.2)
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(1 << 20):
                received += len(data)
        assert received < 8_000_000


def test_client_that_reads_late_gets_the_whole_answer(handler: Handler) -> None:
    large = framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 8_000_000) + b"x" * 8_000_000 + b"\0"))
    with serving(handler) as server, connected(server) as sock:
        sock.sendall(large)
        time.sleep(0.3)
        received = 0
        while received < len(large):
            received += len(sock.recv(1 << 20))
        sock.sendall(framed(call(seqid=9)))
        assert struct.pack(">i", 9) in sock.recv(1000)


def test_connections_above_the_limit_are_closed(handler: Handler) -> None:
    with serving(handler, limits=ServerLimits(connections=3)) as server:
        held = [connected(server) for _ in range(3)]
        for sock in held:
            sock.sendall(framed(call()))
            assert sock.recv(1000)
        with connected(server) as extra:
            assert closed_by_server(extra)
        held.pop().close()
        wait_until(lambda: server._tally.open < 3)
        with connected(server) as sock:
            sock.sendall(framed(call()))
            assert sock.recv(1000)
        for sock in held:
            sock.close()


def test_more_busy_clients_than_workers_all_progress(handler: Handler) -> None:
    with serving(handler, workers=2) as server:
        done: list[int] = []

        def work(number: int) -> None:
            with thriftpy2_client("framed-binary", server.address) as client:
                for _ in range(50):
                    assert client.ping("x") == "x"
            done.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(done) == list(range(12))
        assert server._reactor is not None and len(server._reactor.workers) <= 2


def test_a_client_that_never_pauses_does_not_keep_the_only_worker(handler: Handler) -> None:
    with serving(handler, workers=1) as server:
        over = threading.Event()

        def hammer() -> None:
            with thriftpy2_client("framed-binary", server.address) as client:
                while not over.is_set():
                    client.ping("x")

        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            wait_until(lambda: handler.calls > 10)
            with calling(server) as client:
                for number in range(10):
                    assert client.ping(str(number)) == str(number)
        finally:
            over.set()
            thread.join(10)


def test_stop_lets_running_calls_finish_and_takes_no_more(handler: Handler) -> None:
    with serving(handler) as server, calling(server) as client, connected(server) as idle:
        results: list[str] = []
        running = threading.Thread(target=lambda: results.append(client.slow(5.0)))
        running.start()
        wait_until(lambda: handler.running == 1)
        stopper = threading.Thread(target=server.stop, args=(10.0,))
        stopper.start()
        assert closed_by_server(idle)
        with pytest.raises(OSError):
            connected(server)
        handler.release.set()
        running.join(10)
        stopper.join(10)
        assert results == ["done"] and not stopper.is_alive()
        assert repr(server) == f"<ThriftServer Everything at {server.address} stopped>"
        with pytest.raises(ThriftUnavailable):
            client.ping("x")


def test_stop_finishes_an_answer_that_is_being_read(handler: Handler) -> None:
    large = framed(call(body=b"\x0b\0\x01" + struct.pack(">i", 8_000_000) + b"x" * 8_000_000 + b"\0"))
    with serving(handler) as server, connected(server) as sock:
        sock.sendall(large)
        wait_until(lambda: handler.calls == 1)
        stopper = threading.Thread(target=server.stop, args=(10.0,))
        stopper.start()
        received = 0
        while data := sock.recv(1 << 20):
            received += len(data)
        stopper.join(10)
        assert received == len(large)


def test_stop_after_its_grace_closes_what_still_runs(handler: Handler) -> None:
    with serving(handler) as server, calling(server) as client:
        errors: list[BaseException] = []

        def work() -> None:
            try:
                client.slow(30.0)
            except ThriftUnavailable as error:
                errors.append(error)

        running = threading.Thread(target=work)
        running.start()
        wait_until(lambda: handler.running == 1)
        server.stop(grace=0.1)
        running.join(10)
        assert len(errors) == 1
        handler.release.set()


def test_stop_of_an_idle_server_is_quick_and_may_be_repeated(handler: Handler) -> None:
    server = ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0")
    assert repr(server) == "<ThriftServer Everything at 127.0.0.1:0 not started>"
    server.start()
    with calling(server) as client:
        client.ping("x")
        started = time.monotonic()
        server.stop()
        server.stop()
        assert time.monotonic() - started < 5
    with pytest.raises(UsageError, match="started once"):
        server.start()


def test_serve_blocks_until_stopped(handler: Handler) -> None:
    server = ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0")
    thread = threading.Thread(target=server.serve)
    thread.start()
    wait_until(lambda: server.address != "")
    with calling(server) as client:
        assert client.ping("x") == "x"
    assert thread.is_alive()
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_server_stops_with_the_mesh(handler: Handler) -> None:
    mesh = FakeMesh()
    server = ThriftTransport(mesh).server(idl.Everything, handler, "127.0.0.1:0").start()
    mesh.close()
    assert repr(server).endswith("stopped>")


def test_labels_and_address_are_kept(handler: Handler) -> None:
    with serving(handler, labels={"version": "v2"}) as server:
        assert server.labels == {"version": "v2"}
        assert server.address.startswith("127.0.0.1:") and not server.address.endswith(":0")
        assert repr(server) == f"<ThriftServer Everything at {server.address} serving>"


def test_address_in_use_says_so(handler: Handler) -> None:
    with serving(handler) as server:
        other = ThriftTransport(FakeMesh()).server(idl.Everything, handler, server.address)
        with pytest.raises(OSError, match=f"cannot listen on {server.address}: Address already in use"):
            other.start()


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"framing": "header"}, {"protocol": "json"}, {"framing": "framed", "protocol": "json"}],
)
def test_wrong_arguments_are_usage_errors(wrong: dict[str, Any], handler: Handler) -> None:
    with pytest.raises(UsageError):
        ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0", **wrong)


def test_fixed_form_refuses_others(handler: Handler) -> None:
    with serving(handler, framing="framed", protocol="binary") as server:
        with connected(server) as sock:
            sock.sendall(call())
            assert closed_by_server(sock)
        with connected(server) as sock:
            sock.sendall(framed(call()))
            assert sock.recv(100)


def test_leftover_socket_file_is_replaced_and_a_live_one_is_not(handler: Handler, tmp_path: Any) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(path))
    make = ThriftTransport(FakeMesh()).server
    with make(idl.Everything, handler, f"unix:{path}") as server:
        with pytest.raises(OSError, match="in use"):
            make(idl.Everything, handler, f"unix:{path}").start()
        with calling(server) as client:
            assert client.ping("x") == "x"
    assert not path.exists()


def test_message_limits_are_the_servers(handler: Handler) -> None:
    limits = ServerLimits(message=Limits(frame=1000, elements=10))
    with serving(handler, limits=limits) as server, calling(server) as client:
        assert client.ping("x" * 900) == "x" * 900
        assert client.echo(idl.Item(marks=list(range(10)))).marks == list(range(10))
        with pytest.raises(ThriftUnavailable):
            client.ping("x" * 1000)
        with pytest.raises(ThriftUnavailable):
            client.echo(idl.Item(marks=list(range(11))))


def test_server_goes_on_after_the_system_had_no_thread_for_a_worker(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    refused = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("thrift worker"):
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with serving(handler, workers=2) as server:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with connected(server) as sock:
                sock.sendall(framed(call()))
                assert closed_by_server(sock)
        assert len(refused) == 3
        assert "no thread for a further worker: can't start new thread" in caplog.text
        monkeypatch.undo()
        with calling(server) as client:
            assert client.ping("x") == "x"
