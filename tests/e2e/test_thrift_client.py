"""The client over sockets when things go wrong: deadlines, broken and lying servers, pools, threads, fork."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from thriftpy2.protocol.exc import TProtocolException
from thriftpy2.thrift import TApplicationException, TDecodeException, TException
from thriftpy2.transport import TTransportException

from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import DeadlineExceeded, RemoteProtocolError, Unavailable, UsageError
from pyrpc_xds.transports.thrift import (
    Limits,
    PoolLimits,
    ThriftArgumentError,
    ThriftDeadlineExceeded,
    ThriftProtocolError,
    ThriftTransport,
    ThriftUnavailable,
)
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import (
    Handler,
    black_hole,
    idl,
    listening,
    thriftpy2_server,
    wait_until,
)

PAIR = "framed-binary"


@contextlib.contextmanager
def client_of(mesh: FakeMesh, **options: Any) -> Iterator[Any]:
    options.setdefault("timeout", 5.0)
    try:
        framed = {} if "trans_factory" in options else {"framing": "framed"}  # the form of the peers here
        with ThriftTransport(mesh).client(idl.Everything, "x:1", **{**framed, **options}) as client:
            yield client
    finally:
        mesh.close()


def receive_frame(sock: socket.socket) -> bytes:
    head = b""
    while len(head) < 4:
        data = sock.recv(4 - len(head))
        if not data:
            raise EOFError
        head += data
    size = int.from_bytes(head, "big")
    body = b""
    while len(body) < size:
        body += sock.recv(size - len(body))
    return body


def seqid_of(request: bytes) -> int:
    """Of a framed binary request with a version."""
    length = int.from_bytes(request[4:8], "big")
    return int.from_bytes(request[8 + length : 12 + length], "big")


def ping_answer(seqid: int, text: bytes = b"pong", kind: int = 2) -> bytes:
    body = struct.pack(">HBB", 0x8001, 0, kind) + struct.pack(">i", 4) + b"ping" + struct.pack(">i", seqid)
    body += b"\x0b\0\0" + struct.pack(">i", len(text)) + text + b"\0"
    return struct.pack(">i", len(body)) + body


def answering(answer: Callable[[int], bytes], then: Callable[[socket.socket], None] | None = None) -> Any:
    """A server that answers every framed request with the bytes of ``answer(seqid)``."""

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(EOFError):
            while True:
                sock.sendall(answer(seqid_of(receive_frame(sock))))
                if then is not None:
                    then(sock)

    return listening(serve)


def silent(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


# -- deadlines ---------------------------------------------------------------------------------------------------


def test_server_that_never_answers_ends_at_the_deadline() -> None:
    with listening(silent) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, timeout=0.1) as client:
            with pytest.raises(ThriftDeadlineExceeded) as error:
                client.ping("x")
            assert isinstance(error.value, (DeadlineExceeded, TTransportException))
            assert isinstance(error.value, TimeoutError) and isinstance(error.value, socket.timeout)
            assert error.value.type == TTransportException.TIMED_OUT
            text = str(error.value)
            assert "/example.everything.Everything/ping" in text and "x:1" in text and address in text
            # The answer may still come: the connection is not used again.
            assert repr(mesh.endpoints[0].connection).endswith("0 open, 0 idle>")


def test_server_that_does_not_read_ends_at_the_deadline() -> None:
    over = threading.Event()
    with listening(lambda sock: over.wait(10) and None) as address:
        with (
            client_of(FakeMesh(address), timeout=1.0) as client,
            pytest.raises(ThriftDeadlineExceeded, match=r"the server took \d+ of 150000\d\d bytes"),
        ):
            client.ping("x" * 15_000_000)
        over.set()


def test_server_that_does_not_accept_ends_at_the_deadline_and_is_marked() -> None:
    with black_hole() as address:
        mesh = FakeMesh(address)
        with (
            client_of(mesh, timeout=0.15) as client,
            pytest.raises(ThriftDeadlineExceeded, match="no connection in time"),
        ):
            client.ping("x")
        assert mesh.endpoints[0].failures == 1


def test_answer_that_trickles_ends_at_the_deadline() -> None:
    def serve(sock: socket.socket) -> None:
        for byte in ping_answer(seqid_of(receive_frame(sock)), b"x" * 1000):
            sock.sendall(bytes([byte]))
            time.sleep(0.02)

    with listening(serve) as address, client_of(FakeMesh(address), timeout=0.2) as client:
        started = time.monotonic()
        with pytest.raises(ThriftDeadlineExceeded):
            client.ping("x")
        assert time.monotonic() - started < 5


def test_signals_do_not_prolong_the_deadline() -> None:
    import signal

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with (
            listening(silent) as address,
            client_of(FakeMesh(address), timeout=0.2) as client,
            pytest.raises(ThriftDeadlineExceeded),
        ):
            client.ping("x")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("route", "caller"), [(0.1, 60.0), (60.0, 0.1), (0.1, None)])
def test_the_shorter_of_route_and_caller_counts(route: float, caller: float | None) -> None:
    with (
        listening(silent) as address,
        client_of(FakeMesh(address, timeout=route), timeout=caller) as client,
        pytest.raises(ThriftDeadlineExceeded),
    ):
        client.ping("x")


def test_a_call_without_any_timeout_has_the_default_one() -> None:
    with (
        listening(silent) as address,
        client_of(FakeMesh(address), timeout=None, pool=PoolLimits(call_timeout=0.1)) as client,
        pytest.raises(ThriftDeadlineExceeded),
    ):
        client.ping("x")


def test_configuration_that_does_not_come_is_a_deadline_with_the_reason() -> None:
    with (
        client_of(FakeMesh(configured=False)) as client,
        pytest.raises(ThriftDeadlineExceeded, match="last xDS error: nobody is there"),
    ):
        client.ping("x")


# -- broken servers ----------------------------------------------------------------------------------------------


def test_refused_connection_goes_to_the_next_endpoint(refused: Callable[[], str]) -> None:
    dead = refused()
    with thriftpy2_server(PAIR, Handler()) as alive:
        mesh = FakeMesh(dead, alive)
        with client_of(mesh) as client:
            assert [client.ping(str(number)) for number in range(4)] == ["0", "1", "2", "3"]
            # Marked at its first failure, and not tried again while another is better.
            assert [each.failures for each in mesh.endpoints] == [1, 0]


def test_all_endpoints_refusing_names_each(refused: Callable[[], str]) -> None:
    dead = [refused() for _ in range(3)]
    mesh = FakeMesh(*dead)
    with client_of(mesh) as client, pytest.raises(ThriftUnavailable) as error:
        client.ping("x")
    assert all(f"{address}: Connection refused" in str(error.value) for address in dead)
    assert [each.failures for each in mesh.endpoints] == [1, 1, 1]
    assert isinstance(error.value, (Unavailable, TTransportException, TException))
    assert error.value.type == TTransportException.NOT_OPEN


def test_no_endpoint_and_no_route_are_unavailable_at_once() -> None:
    mesh = FakeMesh()
    with client_of(mesh) as client:
        with pytest.raises(ThriftUnavailable, match="cluster fake has no endpoints"):
            client.ping("x")
        mesh.routers[0].snapshot.refuse = "no route matches"
        with pytest.raises(ThriftUnavailable, match="no route matches"):
            client.ping("x")


def test_server_closing_during_the_call_fails_it_and_runs_it_once() -> None:
    seen = []

    def serve(sock: socket.socket) -> None:
        seen.append(receive_frame(sock))

    with listening(serve) as address:
        mesh = FakeMesh(address, address)
        with client_of(mesh) as client:
            with pytest.raises(ThriftUnavailable, match="may have run") as error:
                client.ping("x")
            assert error.value.type == TTransportException.END_OF_FILE
    assert len(seen) == 1


def test_reset_during_the_call_fails_it() -> None:
    def serve(sock: socket.socket) -> None:
        receive_frame(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with (
        listening(serve) as address,
        client_of(FakeMesh(address)) as client,
        pytest.raises(ThriftUnavailable, match="may have run"),
    ):
        client.ping("x")


def test_connection_closed_while_idle_is_not_used() -> None:
    handler = Handler()
    served = []

    def serve(sock: socket.socket) -> None:
        served.append(sock)
        sock.sendall(ping_answer(seqid_of(receive_frame(sock))))

    with listening(serve) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            for number in range(3):
                assert client.ping("x") == "pong"
                wait_until(lambda: not mesh.endpoints[0].connection._idle[0].fresh())
                assert len(served) == number + 1
    assert handler.calls == 0


def test_idle_connection_beyond_its_time_is_not_used() -> None:
    with answering(ping_answer) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, pool=PoolLimits(idle_time=0.01)) as client:
            client.ping("x")
            first = mesh.endpoints[0].connection._idle[0]
            time.sleep(0.03)
            client.ping("x")
            assert mesh.endpoints[0].connection._idle[0] is not first


# -- lying servers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda seqid: ping_answer(seqid + 1), "sequence id"),
        (lambda seqid: ping_answer(0), "sequence id"),
        (lambda seqid: ping_answer(seqid, kind=1), "message of type 1"),
        (lambda seqid: ping_answer(seqid, kind=9), "unknown message type"),
        (lambda seqid: struct.pack(">i", -5) + b"x" * 20, "negative size"),
        (lambda seqid: struct.pack(">i", 0), "frame of 0 bytes"),
        (lambda seqid: struct.pack(">i", 2**31 - 1), "frame of 2147483647 bytes"),
        (lambda seqid: struct.pack(">i", 16_384_001), "the limit is 16384000"),
        (lambda seqid: b"HTTP/1.1 400 Bad Request\r\n\r\n", "is announced"),
        (lambda seqid: struct.pack(">i", 8) + b"\x80\x01\0\x02\0\0\0\x09", "length beyond the message"),
        (lambda seqid: ping_answer(seqid)[:-1] + b"\x0b", "message ends early"),
    ],
)
def test_answer_that_is_none_is_a_protocol_error(answer: Callable[[int], bytes], what: str) -> None:
    with answering(answer) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            with pytest.raises(ThriftProtocolError, match=what) as error:
                client.ping("x")
            assert isinstance(error.value, (RemoteProtocolError, TProtocolException))
            assert address in str(error.value)
            assert repr(mesh.endpoints[0].connection).endswith("0 open, 0 idle>")


def test_unframed_answer_above_the_limit_is_refused_at_once() -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(ping_answer(1)[4:23] + struct.pack(">i", 2000))
        silent(sock)

    with (
        listening(serve) as address,
        client_of(FakeMesh(address), framing="buffered", limits=Limits(frame=1000)) as client,
        pytest.raises(ThriftProtocolError, match="length beyond the message"),
    ):
        client.ping("x")


def test_bytes_after_the_answer_close_the_connection() -> None:
    with answering(lambda seqid: ping_answer(seqid) + b"\0") as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            assert client.ping("x") == "pong"
            assert repr(mesh.endpoints[0].connection).endswith("0 open, 0 idle>")


def test_bytes_sent_unasked_are_never_an_answer() -> None:
    sent = threading.Event()

    def unasked(sock: socket.socket) -> None:
        sock.sendall(ping_answer(9999, b"stale"))
        sent.set()

    with answering(ping_answer, unasked) as address, client_of(FakeMesh(address)) as client:
        assert client.ping("x") == "pong"
        assert sent.wait(5)
        for _ in range(20):
            # It may come after the look at the idle connection: then the call fails, and closes it.
            with contextlib.suppress(ThriftProtocolError):
                assert client.ping("x") == "pong"


@pytest.mark.parametrize("framing", ["framed", "buffered"])
def test_answer_in_one_byte_pieces(framing: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(1000)
        for byte in ping_answer(1)[0 if framing == "framed" else 4 :]:
            sock.sendall(bytes([byte]))
            time.sleep(0.001)

    with listening(serve) as address, client_of(FakeMesh(address), framing=framing) as client:
        assert client.ping("x") == "pong"


def test_undecodable_answer_is_a_protocol_error() -> None:
    strict = {"decode_response": True, "strict_decode": True}
    from thriftpy2.protocol import TBinaryProtocolFactory

    with answering(lambda seqid: ping_answer(seqid, b"\xff\xfe")) as address:
        with (
            client_of(FakeMesh(address), proto_factory=TBinaryProtocolFactory(**strict)) as client,
            pytest.raises(ThriftProtocolError, match="cannot be decoded"),
        ):
            client.ping("x")
        with client_of(FakeMesh(address)) as client:
            assert client.ping("x") == b"\xff\xfe"


def test_exception_of_a_peer_can_be_shown_whatever_is_in_it() -> None:
    def answer(seqid: int) -> bytes:
        text = b"\xff of another encoding"
        body = struct.pack(">HBBi", 0x8001, 0, 3, 4) + b"ping" + struct.pack(">i", seqid)
        body += b"\x0b\0\x01" + struct.pack(">i", len(text)) + text + b"\x08\0\x02\0\0\0\x06\0"
        return struct.pack(">i", len(body)) + body

    with (
        answering(answer) as address,
        client_of(FakeMesh(address)) as client,
        pytest.raises(TApplicationException) as raised,
    ):
        client.ping("x")
    assert str(raised.value) == "\\xff of another encoding" and raised.value.type == 6


# -- the caller's part -------------------------------------------------------------------------------------------


def test_path_and_attachments_reach_the_route() -> None:
    with thriftpy2_server(PAIR, Handler()) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            calls = mesh.routers[0].snapshot.calls = []
            client.ping("a")
            with attachments({"User": "admin"}):
                client.ping("b")
                view = client.with_options(attachments={"zone": "z", "user": "other"})
                view.ping("c")
                view.with_options(attachments={"more": "m"}).ping("d")
            client.ping("e")
        path = "/example.everything.Everything/ping"
        assert calls == [
            (path, {}),
            (path, {"user": "admin"}),
            (path, {"user": "other", "zone": "z"}),
            (path, {"user": "other", "zone": "z", "more": "m"}),
            (path, {}),
        ]


@pytest.mark.parametrize(("package", "path"), [("a.b", "/a.b.Everything/ping"), ("", "/Everything/ping")])
def test_package_argument_goes_before_the_namespace(package: str, path: str) -> None:
    with thriftpy2_server(PAIR, Handler()) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, package=package) as client:
            calls = mesh.routers[0].snapshot.calls = []
            client.ping("a")
        assert calls == [(path, {})]


def test_arguments_are_taken_as_thriftpy2_takes_them() -> None:
    with thriftpy2_server(PAIR, Handler()) as address, client_of(FakeMesh(address)) as client:
        assert client.add(1) == 6
        assert client.add(1, None) == 6
        assert client.add(1, right=2) == 3
        assert client.add(right=2, left=1) == 3
        with pytest.raises(TApplicationException, match="value is required argument"):
            client.needed()
        for wrong in (
            lambda: client.add(1, 2, 3),
            lambda: client.ping(nope=1),
            lambda: client.ping("a", "b"),
        ):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(AttributeError, match="has no method 'pong'"):
            client.pong()
        assert {"ping", "echo", "with_options"} <= set(dir(client))


def test_value_of_the_wrong_type_leaves_the_connection_usable() -> None:
    with thriftpy2_server(PAIR, Handler()) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            client.ping("x")
            connection = mesh.endpoints[0].connection._idle[0]
            with pytest.raises(
                UsageError, match=r"Everything/add of .*argument 'left' needs I32, not 'one' [(]str[)]"
            ) as e:
                client.add("one", 2)
            assert isinstance(e.value, TDecodeException) and e.value.field == "left"
            assert client.ping("x") == "x"
            assert mesh.endpoints[0].connection._idle[0] is connection


@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_number_that_is_too_large_is_refused_before_anything_is_sent(protocol: str) -> None:
    with thriftpy2_server(f"framed-{protocol}", Handler()) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, protocol=protocol) as client:
            with pytest.raises(
                ThriftArgumentError, match=r"argument 'left' needs I32, not 1099511627776 [(]int[)]"
            ):
                client.add(2**40, 2)
            with pytest.raises(
                ThriftArgumentError, match=r"field of Item, 'tiny' needs BYTE, not 128 [(]int[)]"
            ):
                client.echo(idl.Item(tiny=128))
            assert client.add(1, 2) == 3


def test_closed_client_says_so_and_closes_its_router() -> None:
    mesh = FakeMesh("127.0.0.1:1")
    client = ThriftTransport(mesh).client(idl.Everything, "x:1", framing="framed")
    assert repr(client) == "<ThriftClient Everything of x:1>"
    view = client.with_options(timeout=1)
    client.close()
    client.close()
    assert mesh.routers[0].closed and repr(view) == "<ThriftClient Everything of x:1 closed>"
    with pytest.raises(UsageError, match="closed"):
        view.ping("x")


def test_wrong_arguments_of_the_client_are_usage_errors() -> None:
    from thriftpy2.protocol import TJSONProtocolFactory

    transport = ThriftTransport(FakeMesh())
    for wrong in (
        {"framing": "header"},
        {"protocol": "json"},
        {"timeout": 0},
        {"timeout": -1.0},
        {"proto_factory": TJSONProtocolFactory()},
        {"trans_factory": object()},
    ):
        with pytest.raises(UsageError):
            transport.client(idl.Everything, "x:1", **wrong)
    with pytest.raises(UsageError, match="not a service"):
        transport.client(idl, "x:1")
    with pytest.raises(UsageError), client_of(FakeMesh("127.0.0.1:1")) as client:
        client.with_options(attachments={"grpc-x": "y"})


# -- pools, threads, fork ----------------------------------------------------------------------------------------


def test_connection_is_reused() -> None:
    accepted = []

    def serve(sock: socket.socket) -> None:
        accepted.append(sock)
        with contextlib.suppress(EOFError):
            while True:
                sock.sendall(ping_answer(seqid_of(receive_frame(sock))))

    with listening(serve) as address, client_of(FakeMesh(address)) as client:
        for _ in range(10):
            client.ping("x")
        assert len(accepted) == 1


def test_pool_limit_makes_calls_wait_for_one_another() -> None:
    handler = Handler()
    with thriftpy2_server(PAIR, handler) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, pool=PoolLimits(connections=2)) as client:
            results: list[str] = []
            threads = [threading.Thread(target=lambda: results.append(client.slow(0.05))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert results == ["done"] * 8
            assert repr(mesh.endpoints[0].connection).endswith("2 open, 2 idle>")


def test_full_pool_ends_at_the_deadline_without_blaming_the_endpoint() -> None:
    handler = Handler()
    with thriftpy2_server(PAIR, handler) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, pool=PoolLimits(connections=1)) as client:
            busy = threading.Thread(target=client.slow, args=(5.0,))
            busy.start()
            wait_until(lambda: handler.running == 1)
            with pytest.raises(ThriftDeadlineExceeded, match="are in use"):
                client.with_options(timeout=0.1).ping("x")
            assert mesh.endpoints[0].failures == 0
            handler.release.set()
            busy.join(10)
            assert client.ping("x") == "x"


def test_surplus_idle_connections_are_closed() -> None:
    handler = Handler()
    with thriftpy2_server(PAIR, handler) as address:
        mesh = FakeMesh(address)
        with client_of(mesh, pool=PoolLimits(idle=1)) as client:
            threads = [threading.Thread(target=client.slow, args=(5.0,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_until(lambda: handler.running == 4)
            handler.release.set()
            for thread in threads:
                thread.join(10)
            assert repr(mesh.endpoints[0].connection).endswith("1 open, 1 idle>")


def test_drained_endpoint_finishes_its_call_and_takes_no_more() -> None:
    handler = Handler()
    with thriftpy2_server(PAIR, handler) as address, thriftpy2_server(PAIR, Handler()) as other:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            results: list[str] = []
            client.ping("x")
            running = threading.Thread(target=lambda: results.append(client.slow(5.0)))
            running.start()
            wait_until(lambda: handler.running == 1)
            leaving = mesh.endpoints[0]
            leaving.connection.drain()
            with pytest.raises(ThriftUnavailable, match="left the mesh"):
                client.ping("x")
            joined = type(leaving)(other, mesh.connectors[0])
            mesh.endpoints.append(joined)
            mesh.routers[0].snapshot.destination.cluster.endpoints.append(joined)
            assert client.ping("x") == "x"
            handler.release.set()
            running.join(10)
            assert results == ["done"]
            assert repr(leaving.connection).endswith("closed>") and not leaving.connection._open


def test_closing_the_pool_ends_running_calls() -> None:
    handler = Handler()
    with thriftpy2_server(PAIR, handler) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            errors: list[BaseException] = []

            def call() -> None:
                try:
                    client.slow(5.0)
                except ThriftUnavailable as error:
                    errors.append(error)

            running = threading.Thread(target=call)
            running.start()
            wait_until(lambda: handler.running == 1)
            mesh.endpoints[0].connection.close()
            running.join(10)
            handler.release.set()
            assert len(errors) == 1


@pytest.mark.parametrize("framing", ["framed", "buffered"])
def test_64_threads_on_one_client_get_their_own_answers(framing: str) -> None:
    mixed: list[str] = []
    with ThriftTransport(FakeMesh()).server(idl.Everything, Handler(), "127.0.0.1:0", workers=16) as server:
        mesh = FakeMesh(server.address)
        with client_of(mesh, framing=framing, timeout=30.0, pool=PoolLimits(connections=24)) as client:

            def work(thread: int) -> None:
                for number in range(25):
                    text = f"{thread}/{number}" * (1 + number % 3 * 400)
                    if client.ping(text) != text:
                        mixed.append(text)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert not mixed and not any(thread.is_alive() for thread in threads)
            pool = mesh.endpoints[0].connection
            assert len(pool._open) == len(pool._idle) <= 24


def test_forked_child_uses_connections_of_its_own() -> None:
    with thriftpy2_server(PAIR, Handler()) as address:
        mesh = FakeMesh(address)
        with client_of(mesh) as client:
            client.ping("before")
            inherited = mesh.endpoints[0].connection._idle[0]
            child = os.fork()
            if not child:
                code = 1
                try:
                    unusable = inherited._sock.fileno() == -1
                    code = 0 if unusable and client.ping("child") == "child" else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert client.ping("after") == "after"
            assert mesh.endpoints[0].connection._idle[0] is inherited


@pytest.mark.parametrize("address", ["[::1]:0", "unix:{tmp}/greeter.sock", "localhost:0"])
def test_every_form_of_address(address: str, tmp_path: Any) -> None:
    with (
        ThriftTransport(FakeMesh()).server(idl.Everything, Handler(), address.format(tmp=tmp_path)) as server,
        client_of(FakeMesh(server.address)) as client,
    ):
        assert client.ping("x") == "x"
    assert not list(tmp_path.iterdir())


def test_name_that_does_not_resolve_is_unavailable() -> None:
    with (
        client_of(FakeMesh("no.such.host.invalid:1")) as client,
        pytest.raises((ThriftUnavailable, ThriftDeadlineExceeded), match=r"no\.such\.host\.invalid"),
    ):
        client.ping("x")
