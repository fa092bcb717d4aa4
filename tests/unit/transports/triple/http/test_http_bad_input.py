"""Bad input to an HTTP port: the right status or the end of that connection, soon, and a port that serves on."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import h2.events
import h2.exceptions
import pytest

from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.http import HttpOptions
from pyrpc_xds.transports.triple.http.form import Call
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.http import clients
from tests.unit.transports.triple.http.conftest import Aborting, Serving, both_versions

OPTIONS = HttpOptions(head_timeout=0.4, body_timeout=0.4, idle_timeout=0.6, max_connections=20, max_head=4096)
HEAD = f"POST {clients.PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()


@pytest.fixture
async def serving(pb: Any, pb_grpc: Any) -> AsyncIterator[Serving]:
    """A server with short time-outs, which must answer an ordinary call after whatever the test did."""
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", max_workers=2)
    greeter = Aborting(pb, "v1")
    server.add(pb_grpc.add_GreeterServicer_to_server, greeter)
    found = Serving(server, server.add_http_port("127.0.0.1:0", OPTIONS), greeter, aio=False)
    server.start()
    yield found
    assert (await found.ask("Joe")).said["name"] == "Hello Joe"
    await found.stop()
    del server._server


async def sent(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back until the server closes, which it must."""

    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            found = b""
            try:
                for part in parts:
                    peer.sendall(part)
                    time.sleep(pause)
                while chunk := peer.recv(65536):
                    found += chunk
            except (ConnectionResetError, BrokenPipeError):
                pass
            return found

    return await asyncio.to_thread(talk)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@both_versions
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unmarshal"),
        (b"{", "unmarshal"),
        (b"[]", "unmarshal"),
        (b"null", "unmarshal"),
        (b"\xff\xfe", "unmarshal"),
        (b'{"name": 5}', "unmarshal"),
        (b'{"nme": "x"}', "no field named"),
        (b'{"name": "\\ud800"}', "unmarshal"),
        (b'{"name":' * 50_000, "unmarshal"),
        (b"[" * 100_000, "unmarshal"),
        (b"9" * 10_000, "unmarshal"),
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "null",
        "no text",
        "number",
        "name",
        "surrogate",
        "deep",
        "lists",
        "long number",
    ],
)
async def test_json_that_is_no_message_is_400(serving: Serving, form: Any, body: bytes, reason: str) -> None:
    answer = await serving.send(form, body, clients.JSON)
    assert (answer.status, answer.said["code"]) == (400, "invalid_argument")
    assert reason in answer.said["message"]


async def test_protobuf_that_is_no_message_is_400(serving: Serving) -> None:
    answer = await serving.send(clients.http1, b"\xff\xff", {"content-type": "application/proto"})
    assert (answer.status, answer.said["code"]) == (400, "invalid_argument")


@both_versions
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/grpc+json",
        "application/json; charset=latin-1",
        "",
    ],
)
async def test_other_content_types_are_415(serving: Serving, form: Any, kind: str) -> None:
    answer = await serving.send(form, b"{}", {"content-type": kind})
    assert (answer.status, answer.headers["accept-post"]) == (415, "application/json, application/proto")


@both_versions
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_other_methods_are_405(serving: Serving, form: Any, method: str) -> None:
    answer = await serving.send(form, b"", {}, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert bool(answer.body) is (method != "HEAD")


class TestSizes:
    @both_versions
    async def test_body_beyond_the_limit_is_413(self, serving: Serving, form: Any) -> None:
        answer = await serving.send(form, bytes(6 << 20), clients.JSON)
        assert (answer.status, answer.said["code"]) == (413, "resource_exhausted")

    async def test_body_that_promises_to_be_larger_is_413_unread(self, serving: Serving) -> None:
        answer = await sent(serving.port, HEAD + b"content-length: 99999999999999999999\r\n\r\n")
        assert status(answer) in (400, 413)

    async def test_chunked_body_beyond_the_limit_is_413(self, serving: Serving) -> None:
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        answer = await sent(serving.port, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 70)
        assert status(answer) == 413

    @both_versions
    async def test_bomb_of_gzip_is_413(self, serving: Serving, form: Any) -> None:
        bomb = gzip.compress(bytes(64 << 20))
        answer = await serving.send(form, bomb, clients.JSON | {"content-encoding": "gzip"})
        assert (answer.status, answer.said["code"]) == (413, "resource_exhausted")

    async def test_many_small_members_of_gzip_are_bounded_too(self, serving: Serving) -> None:
        bomb = gzip.compress(bytes(1 << 20)) * 40
        answer = await serving.send(clients.http1, bomb, clients.JSON | {"content-encoding": "gzip"})
        assert answer.status == 413

    async def test_headers_beyond_the_limit_are_431(self, serving: Serving) -> None:
        assert status(await sent(serving.port, HEAD + b"a: " + b"x" * 9000)) == 431

    async def test_many_headers_beyond_the_limit_end_a_connection_of_http2(self, serving: Serving) -> None:
        headers = {f"name-{number}": "x" * 100 for number in range(60)}
        with pytest.raises((OSError, h2.exceptions.ProtocolError)):
            await serving.send(clients.http2, b"{}", clients.JSON | headers)


@pytest.mark.parametrize(
    "data", [b"\x1f\x8b", b"plain", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"x"]
)
async def test_gzip_that_is_none_is_400(serving: Serving, data: bytes) -> None:
    answer = await serving.send(clients.http1, data, clients.JSON | {"content-encoding": "gzip"})
    assert (answer.status, answer.said["code"]) == (400, "invalid_argument")


async def test_other_encodings_are_415(serving: Serving) -> None:
    answer = await serving.send(clients.http1, b"{}", clients.JSON | {"content-encoding": "br"})
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")


async def test_other_protocol_version_is_400(serving: Serving) -> None:
    answer = await serving.ask("Joe", triple_protocol_version="9")
    assert (answer.status, answer.said["code"]) == (400, "invalid_argument")
    assert (await serving.ask("Joe", triple_protocol_version="0.1.0")).status == 200


async def test_binary_header_that_is_no_base64_is_400(serving: Serving) -> None:
    assert (await serving.ask("Joe", blob_bin="!")).status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 64,
        b"GARBAGE\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"\x82\x21\x80\x01\x00\x00\x00\x04ping\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        HEAD + b"content-length: x\r\n\r\n{}",
        HEAD + b"content-length: 12\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nnot a chunk\r\n",
        HEAD + b"na me: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "zeros", "garbage", "version", "Thrift", "TLS", "two lengths", "length", "both", "chunk", "header", "host",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_refused_and_the_end(serving: Serving, data: bytes) -> None:
    answer = await sent(serving.port, data)
    assert answer == b"" or status(answer) in (400, 405, 408, 415, 501)


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\xff" * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x00\x00\x00\x00\x00\x09",
    ],
    ids=["frames", "preface", "headers", "data of no stream"],
)
async def test_broken_http2_ends_its_connection(serving: Serving, data: bytes) -> None:
    assert len(await sent(serving.port, data)) < 1024


class TestSlowPeers:
    async def test_that_say_nothing_are_dropped(self, serving: Serving) -> None:
        assert await sent(serving.port) == b""

    @pytest.mark.parametrize("first", [b"P", b"PRI * HT", HEAD[:20]])
    async def test_that_begin_and_stop_are_dropped(self, serving: Serving, first: bytes) -> None:
        answer = await sent(serving.port, first)
        assert answer == b"" or status(answer) == 408

    async def test_that_send_headers_byte_by_byte_get_408(self, serving: Serving) -> None:
        head = [bytes([byte]) for byte in HEAD[:30]]
        answer = await sent(serving.port, *head, pause=0.05)
        assert answer == b"" or status(answer) == 408

    async def test_that_send_a_body_chunk_by_chunk_without_end_get_408(self, serving: Serving) -> None:
        chunks = [b"1\r\n \r\n"] * 20
        answer = await sent(serving.port, HEAD + b"transfer-encoding: chunked\r\n\r\n", *chunks, pause=0.05)
        assert answer == b"" or status(answer) == 408

    async def test_of_http2_that_do_not_end_a_request_get_408(self, serving: Serving) -> None:
        def talk() -> Any:
            with clients.H2Client(serving.port) as client:
                return client.answer(client.head(clients.JSON))

        assert (await asyncio.to_thread(talk)).status == 408

    async def test_of_http2_that_only_ping_are_dropped(self, serving: Serving) -> None:
        def talk() -> None:
            with clients.H2Client(serving.port) as client:
                try:
                    for _ in range(40):
                        client.h2.ping(b"12345678")
                        client.flush()
                        client.more()
                        time.sleep(0.05)
                except (OSError, h2.exceptions.ProtocolError):
                    return
            raise AssertionError("the connection is kept")

        await asyncio.to_thread(talk)

    async def test_of_http2_that_do_not_read_are_reset(self, serving: Serving) -> None:
        def talk() -> None:
            with clients.H2Client(serving.port) as client:
                # Its stream's window of 65,535 bytes is never opened again.
                stream = client.request(b'{"name":"long:300000"}', clients.JSON)
                received = 0
                while not any(isinstance(event, h2.events.StreamReset) for event in client.events):
                    events = client.h2.receive_data(client.socket.recv(65536))
                    received += sum(
                        len(e.data or b"") for e in events if isinstance(e, h2.events.DataReceived)
                    )
                    client.events += events
                assert received == 65535
                assert client.until(h2.events.StreamReset).stream_id == stream

        await asyncio.to_thread(talk)

    async def test_that_send_on_while_they_wait_are_held_back(self, serving: Serving) -> None:
        def talk() -> int:
            with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as peer:
                peer.sendall(HEAD + b"content-length: 20\r\n\r\n" + b'{"name":"sleep:0.9"}')
                peer.settimeout(0.3)
                sent = 0
                try:
                    while sent < 256 << 20:
                        sent += peer.send(bytes(1 << 20))
                except TimeoutError:
                    pass
                return sent

        # What the kernel holds for the two ends, and not all of it.
        assert await asyncio.to_thread(talk) < 64 << 20

    async def test_that_end_within_a_body_are_dropped(self, serving: Serving) -> None:
        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as peer:
                peer.sendall(HEAD + b"content-length: 14\r\n\r\n{")
                peer.shutdown(socket.SHUT_WR)
                found = b""
                while chunk := peer.recv(4096):
                    found += chunk
                return found

        answer = await asyncio.to_thread(talk)
        assert answer == b"" or status(answer) == 400


async def test_that_send_requests_ahead_and_do_not_read_are_served_no_further(start: Any) -> None:
    running = await start(max_workers=1)
    calls = 200
    body = b'{"name":"long:100000"}'
    request = HEAD + b"content-length: %d\r\n" % len(body)

    def talk() -> tuple[int, int]:
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.settimeout(10)
            peer.connect(("127.0.0.1", running.port))
            peer.sendall((request + b"\r\n" + body) * (calls - 1))
            peer.sendall(request + b"connection: close\r\n\r\n" + body)
            served = -1
            while served != len(running.greeter.contexts):
                served = len(running.greeter.contexts)
                time.sleep(0.5)
            found = b""
            while chunk := peer.recv(1 << 20):
                found += chunk
            return served, found.count(b"HTTP/1.1 200 OK")

    # As many as the kernel's buffers take the answers of.
    served, answered = await asyncio.to_thread(talk)
    assert served < calls * 3 / 4
    assert answered == calls


async def test_many_refused_requests_sent_ahead_are_all_answered(serving: Serving) -> None:
    refused = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = await sent(serving.port, refused * 1999 + last)
    assert answer.count(b"HTTP/1.1 405 ") == 2000


async def test_bodies_of_calls_given_up_while_they_wait_for_a_thread_are_dropped(
    pb: Any, pb_grpc: Any
) -> None:
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", max_workers=1)
    server.add(pb_grpc.add_GreeterServicer_to_server, Aborting(pb, "v1"))
    running = Serving(server, server.add_http_port("127.0.0.1:0"), None, aio=False)  # type: ignore[arg-type]
    server.start()

    def calls() -> int:
        gc.collect()
        return sum(isinstance(each, Call) for each in gc.get_objects())

    async def until(count: int) -> None:
        for _ in range(500):
            if calls() == count:
                return
            await asyncio.sleep(0.02)
        assert calls() == count

    first = asyncio.create_task(running.ask("sleep:3"))
    await until(1)
    peers = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(5)]
    try:
        for peer in peers:
            peer.sendall(HEAD + b"content-length: 12\r\n\r\n" + b'{"name":"2"}')
        await until(6)
    finally:
        for peer in peers:
            peer.close()
    await until(1)
    assert not first.done()
    assert (await first).status == 200
    await running.stop()
    del server._server


async def test_requests_one_behind_the_other_are_answered_in_order(serving: Serving) -> None:
    one = HEAD + b'content-length: 12\r\n\r\n{"name":"1"}'
    last = HEAD + b'connection: close\r\ncontent-length: 12\r\n\r\n{"name":"2"}'
    answer = await sent(serving.port, one + one + last)
    assert [answer.count(b"Hello 1"), answer.count(b"Hello 2")] == [2, 1]
    assert answer.index(b"Hello 2") > answer.rindex(b"Hello 1")


async def test_expectation_of_a_refused_request_is_not_met(serving: Serving) -> None:
    asking = b"expect: 100-continue\r\ncontent-length: 14\r\n\r\n"
    refused = await sent(serving.port, HEAD.replace(b"json", b"xml") + asking)
    assert status(refused) == 415
    taken = await sent(serving.port, HEAD + b"connection: close\r\n" + asking, b'{"name":"Joe"}')
    assert taken.startswith(b"HTTP/1.1 100 ")
    assert b"Hello Joe" in taken


async def test_connections_beyond_the_limit_are_closed(serving: Serving) -> None:
    held = [socket.create_connection(("127.0.0.1", serving.port), timeout=10) for _ in range(20)]
    try:
        with pytest.raises(OSError):
            await serving.ask("Joe")
    finally:
        for peer in held:
            peer.close()
    await asyncio.sleep(0.1)


async def test_streams_opened_and_reset_without_end_end_the_connection(serving: Serving) -> None:
    def talk() -> Any:
        with clients.H2Client(serving.port) as client:
            for _ in range(200):
                client.h2.reset_stream(client.head(clients.JSON))
            try:
                client.flush()
                return client.until(h2.events.ConnectionTerminated).error_code
            except ConnectionError:
                # The server closed with frames unread, so that TCP's reset may overtake its GOAWAY.
                return 11

    assert await asyncio.to_thread(talk) == 11  # ENHANCE_YOUR_CALM
