"""Sessions in memory: what one end sends the other takes, whole, in pieces, or spoilt."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrpc_xds.transports.triple.h2 import library

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b"), (b":authority", b"x")]
LIMITS = (100_000, 10_000, 65_535)


@pytest.fixture(scope="module")
def h2() -> Any:
    return library.load()


class Pair:
    """A client, a server, and what is on its way."""

    def __init__(self, h2: Any, spoil: Callable[[bytes], list[bytes]] = lambda data: [data]) -> None:
        self.h2 = h2
        self.spoil = spoil
        self.client = h2.Session(False, *LIMITS, 0)
        self.server = h2.Session(True, *LIMITS, 100)
        self.block = h2.Block(REQUEST)
        self.head = h2.Block([(b":status", b"200")])
        self.ok = h2.Block([(b"grpc-status", b"0")])

    def exchange(self) -> list[Any]:
        """Carry bytes to and fro until there are none; the server echoes. The client's changed streams."""
        changed: list[Any] = []
        while (sent := self.client.send()) or self.server.pending:
            for piece in self.spoil(sent):
                for stream in self.server.receive(piece):
                    stream.let_all_come()
                    if stream.remote_end and stream.tag is None:
                        stream.tag = "answered"
                        message = stream.message()
                        self.server.respond(stream, self.head, ())
                        self.server.data(stream, message or b"")
                        self.server.end(stream, self.ok, ())
            answered = self.server.send()
            for piece in self.spoil(answered):
                changed += self.client.receive(piece)
        self.server.sent()
        return changed


class TestUnsent:
    """Whether the peer can know of a request."""

    @pytest.fixture
    def ends(self, h2: Any) -> Iterator[tuple[Any, socket.socket]]:
        """A client that has said hello, and the socket of its peer."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        session = h2.Session(False, *LIMITS, 0)
        session.attach(ours.detach())
        session.flush()
        yield session, theirs
        session.close()
        theirs.close()

    def test_request_that_is_not_written_yet_is_unsent(
        self, h2: Any, ends: tuple[Any, socket.socket]
    ) -> None:
        session, _ = ends
        stream = session.request(h2.Block(REQUEST), (), b"")
        assert stream.unsent
        session.flush()
        assert not stream.unsent
        session.close()
        assert not stream.unsent

    def test_request_that_the_socket_does_not_take_is_unsent(
        self, h2: Any, ends: tuple[Any, socket.socket]
    ) -> None:
        session, theirs = ends
        before = session.request(h2.Block(REQUEST), (), b"")
        session.flush()
        theirs.close()
        stream = session.request(h2.Block(REQUEST), (), b"")
        with pytest.raises(OSError):
            session.flush()
        assert not stream.unsent  # as long as it may still be written
        session.close()
        assert (before.unsent, stream.unsent) == (False, True)

    def test_request_that_the_socket_took_a_part_of_is_sent(
        self, h2: Any, ends: tuple[Any, socket.socket]
    ) -> None:
        session, _ = ends
        stream = session.request(h2.Block(REQUEST), (), b"x" * 60_000)
        assert not session.flush()
        session.close()
        assert not stream.unsent


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_531, 99_000])
def test_unary_call_is_carried(h2: Any, size: int) -> None:
    pair = Pair(h2)
    for _ in range(5):
        stream = pair.client.request(pair.block, ((b"a", b"b", True),), b"x" * size)
        pair.exchange()
        assert stream.fine and stream.closed and stream.message() == b"x" * size
    assert pair.client.streams == pair.server.streams == 0
    assert not pair.client.open_streams() and not pair.server.open_streams()


def test_bytes_may_come_one_by_one(h2: Any) -> None:
    pair = Pair(h2, lambda data: [data[place : place + 1] for place in range(len(data))])
    stream = pair.client.request(pair.block, (), b"hello")
    pair.exchange()
    assert stream.message() == b"hello"


def test_streams_are_told_apart(h2: Any) -> None:
    pair = Pair(h2)
    streams = [pair.client.request(pair.block, (), b"%d" % number * number) for number in range(60)]
    pair.exchange()
    assert [stream.message() for stream in streams] == [b"%d" % number * number for number in range(60)]


def test_spoilt_bytes_end_in_an_error_or_an_answer(h2: Any) -> None:
    rng = random.Random(7)
    broken = 0

    def spoil(data: bytes) -> list[bytes]:
        changed = bytearray(data)
        for _ in range(rng.randrange(3) if changed else 0):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        cut = rng.randrange(len(changed) + 1)
        return [bytes(changed[:cut]), bytes(changed[cut:])]

    for _ in range(3_000):
        pair = Pair(h2, spoil)
        streams = [pair.client.request(pair.block, (), b"x" * rng.randrange(300)) for _ in range(3)]
        try:
            pair.exchange()
        except h2.H2Error:
            broken += 1
        for stream in streams:
            assert isinstance(stream.head(), list) and isinstance(stream.trailers(), list)
            assert stream.message() is None or len(stream.message()) <= LIMITS[0]
    assert 0 < broken < 3_000


def test_random_frames_end_in_an_error_or_are_passed_over(h2: Any) -> None:
    rng = random.Random(11)
    for number in range(3_000):
        session = h2.Session(bool(number % 2), *LIMITS, 100)
        data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if number % 2 else b""
        data += b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        for _ in range(rng.randrange(1, 8)):
            length = rng.randrange(40)
            data += length.to_bytes(3, "big") + bytes([rng.randrange(11), rng.randrange(256)])
            data += rng.randrange(8).to_bytes(4, "big") + rng.randbytes(length)
        try:
            for stream in session.receive(data):
                stream.head(), stream.message(), stream.take()
            session.send()
            session.sent()
        except (h2.H2Error, OverflowError):
            pass


def test_session_that_is_dropped_takes_its_streams_along(h2: Any) -> None:
    pair = Pair(h2)
    stream = pair.client.request(pair.block, (), b"x" * 1000)
    other = pair.client.request(pair.block, (), b"y")
    pair.client.send()
    del pair
    assert stream.id == 1 and not stream.fine
    del other


def test_more_headers_than_fit_are_refused(h2: Any) -> None:
    pair = Pair(h2)
    with pytest.raises(ValueError, match="headers"):
        pair.client.request(pair.block, ((b"a", b"b", True),) * 300, b"")
    with pytest.raises(ValueError, match="headers"):
        h2.Block([(b"a", b"b")] * 300)
    with pytest.raises(TypeError):
        pair.client.request(pair.block, (("text", b"b", True),), b"")
    assert pair.client.streams == 0


def test_ping_and_goaway_are_told(h2: Any) -> None:
    pair = Pair(h2)
    pair.exchange()
    pair.client.ping()
    pair.exchange()
    assert pair.client.pings == 1
    pair.server.shutdown(11)
    pair.client.receive(pair.server.send())
    assert (pair.client.goaway, pair.client.goaway_code, pair.client.debug) == (True, 11, b"")


def test_library_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrpc_xds import _h2
    from pyrpc_xds.errors import ConfigError

    def load(names: Any) -> None:
        raise OSError(f"no nghttp2 library: tried {names}")

    monkeypatch.setattr(_h2, "load", load)
    with pytest.raises(ConfigError, match="apt install libnghttp2-14"):
        library.load()
