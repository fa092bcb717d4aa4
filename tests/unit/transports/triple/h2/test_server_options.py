"""grpcio's options of a server on nghttp2: those it has do what they say, others are refused."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyrpc_xds.errors import ConfigError
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.h2.lifetime import Lifetime
from pyrpc_xds.transports.triple.h2.server_options import read
from tests.unit.transports.triple.conftest import eventually
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.h2.scripted import Raw

Serve = Callable[..., Any]


class Connection:
    """A connection as its lifetime sees it."""

    def __init__(self) -> None:
        self.begun = 0
        self.session = SimpleNamespace(streams=0, received=0, ping=self.ping)
        self.pings = 0
        self.going = self.closed = False

    def ping(self) -> None:
        self.pings += 1

    def flush(self) -> None:
        pass

    def go_away(self) -> None:
        self.going = True

    def lose(self) -> None:
        self.closed = True


def lifetime(**options: int) -> tuple[Connection, Callable[[float], None]]:
    """A connection that began at 100 s, and what looks after it at a time."""
    given = [(f"grpc.{name}", value) for name, value in options.items()]
    found, connection = Lifetime(read(given), 100.0, 0.5), Connection()
    return connection, lambda now: found.look_after(cast(Any, connection), now)


class TestLifetime:
    def test_nothing_ends_by_default(self) -> None:
        connection, look_after = lifetime()
        look_after(1e9)
        assert not connection.going and not connection.closed and not connection.pings

    def test_idle_connection_goes_away(self) -> None:
        connection, look_after = lifetime(max_connection_idle_ms=2000)
        connection.session.streams = 1
        look_after(103.0)
        connection.session.streams = 0
        look_after(104.9)
        assert not connection.going
        look_after(105.0)
        assert connection.going and not connection.closed

    def test_connection_of_short_calls_is_not_idle(self) -> None:
        connection, look_after = lifetime(max_connection_idle_ms=2000)
        for now in range(101, 120):
            connection.begun += 1  # and over when it is looked at
            look_after(float(now))
        assert not connection.going

    def test_old_connection_goes_away_and_is_closed_after_the_grace(self) -> None:
        connection, look_after = lifetime(max_connection_age_ms=2000, max_connection_age_grace_ms=500)
        connection.session.streams = 1
        look_after(101.9)
        assert not connection.going
        look_after(102.0)
        assert connection.going and not connection.closed
        look_after(102.5)
        assert connection.closed

    def test_old_connection_without_grace_waits_for_its_calls(self) -> None:
        connection, look_after = lifetime(max_connection_age_ms=2000)
        look_after(1e9)
        assert connection.going and not connection.closed

    def test_ages_differ(self) -> None:
        options = read([("grpc.max_connection_age_ms", 1000)])
        assert [round(cast(float, Lifetime(options, 0, chance)._age), 3) for chance in (0, 1)] == [0.9, 1.1]

    def test_ping_that_is_not_answered_closes(self) -> None:
        connection, look_after = lifetime(keepalive_time_ms=1000, keepalive_timeout_ms=500)
        look_after(105.0)
        assert not connection.pings  # no call runs
        connection.session.streams = 1
        look_after(105.0)
        assert connection.pings == 1
        connection.session.received = 1
        look_after(105.2)
        look_after(106.1)
        assert connection.pings == 1
        look_after(106.2)
        look_after(106.6)
        assert connection.pings == 2 and not connection.closed
        look_after(106.7)
        assert connection.closed

    def test_ping_without_calls(self) -> None:
        connection, look_after = lifetime(keepalive_time_ms=1000, keepalive_permit_without_calls=1)
        look_after(101.0)
        assert connection.pings == 1


@pytest.fixture
def peer() -> Iterator[Callable[[Any], Raw]]:
    made: list[Raw] = []

    def connect(server: Any) -> Raw:
        made.append(Raw(server.port))
        return made[-1]

    yield connect
    for each in made:
        each.socket.close()


class TestServer:
    @pytest.mark.parametrize("name", ["max_connection_idle_ms", "max_connection_age_ms"])
    def test_idle_and_old_connections_are_closed(
        self, serve: Serve, peer: Callable[[Any], Raw], name: str
    ) -> None:
        server = serve({}, options=[(f"grpc.{name}", 300)])
        raw = peer(server)
        assert struct.unpack(">II", raw.until(7)[2][:8]) == (0, 0)
        with pytest.raises(EOFError):
            raw.until(0)

    def test_call_that_runs_outlives_the_age_of_its_connection(
        self, serve: Serve, peer: Callable[[Any], Raw]
    ) -> None:
        release = threading.Event()
        server = serve(
            {"Echo": ("unary_unary", lambda request, context: release.wait(10) and request)},
            options=[("grpc.max_connection_age_ms", 300)],
        )
        raw = peer(server)
        stream, frames = raw.call(body=b"mine")
        raw.socket.sendall(frames)
        assert raw.until(7)
        release.set()
        assert raw.until(0)[1] == stream
        assert b"'grpc-status': '0'" in raw.until(1)[2]
        with pytest.raises(EOFError):
            raw.until(0)

    def test_silent_client_that_answers_no_ping_is_disconnected(
        self, serve: Serve, peer: Callable[[Any], Raw]
    ) -> None:
        options = {"keepalive_time_ms": 100, "keepalive_timeout_ms": 100, "keepalive_permit_without_calls": 1}
        server = serve({}, options=[(f"grpc.{name}", value) for name, value in options.items()])
        raw = peer(server)
        assert raw.until(6)
        with pytest.raises(EOFError):
            raw.until(0)
        eventually(lambda: not server._server._connections)

    def test_ports_are_shared_only_if_asked_for(self, serve: Serve) -> None:
        first = serve({}, options=[("grpc.so_reuseport", 1)])
        second = TripleTransport(FakeMesh()).server(codec="nghttp2", options=[("grpc.so_reuseport", 1)])
        assert second.add_insecure_port(f"127.0.0.1:{first.port}") == first.port
        assert second.stop(0).wait(10)


class TestRefusal:
    def test_unknown_option_is_refused_by_name(self) -> None:
        with pytest.raises(ConfigError, match=r"nghttp2.*grpc\.max_connection_age_jitter.*codec='grpcio'"):
            TripleTransport(FakeMesh()).server(
                codec="nghttp2", options=[("grpc.max_connection_age_jitter", 1)]
            )

    def test_what_is_no_number_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"grpc\.keepalive_time_ms is '5s', not a number"):
            read([("grpc.keepalive_time_ms", "5s")])

    def test_no_limit_as_grpcio_says_it(self) -> None:
        options = read(
            [("grpc.max_receive_message_length", -1), ("grpc.max_connection_age_ms", (1 << 31) - 1)]
        )
        assert (options.max_message, options.age) == ((1 << 31) - 1, None)
