"""The connection: one stream after another, without a wire and with a clock of our own."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from pyrpc_xds.bootstrap import Server
from pyrpc_xds.errors import ConfigError, NodeRefused, StreamError
from pyrpc_xds.xds.backoff import INITIAL, BackOff
from pyrpc_xds.xds.connection import AdsConnection
from pyrpc_xds.xds.servers import RETURN_AFTER, Servers
from pyrpc_xds.xds.session import Session
from pyrpc_xds.xds.stream import KEEPALIVE_TIME_MS, RARE_KEEPALIVE_TIME_MS
from pyrpc_xds.xds.types import CDS
from tests.unit.xds.build import cluster
from tests.unit.xds.world import NODE, Watcher

FIRST, SPARE = Server("first:1"), Server("spare:1")


class Stream:
    """What the connection knows of a stream."""

    def __init__(self, server: Server, keepalive_ms: int, now: float) -> None:
        self.server = server
        self.keepalive_ms = keepalive_ms
        self.opened_at = now
        self.handed = self.taken = 0
        self.ended = False

    def send(self, request: bytes) -> None:
        self.handed += 1

    def end(self) -> None:
        self.ended = True


class Line:
    """A connection, its session with one subscription, and the streams that it has opened."""

    def __init__(self, *servers: Server) -> None:
        self.session = Session(NODE)
        self.watcher = Watcher()
        self.servers = Servers(servers or (FIRST,))
        self.streams: list[Any] = []
        self.unusable: set[Server] = set()
        self.now = 100.0
        backoff = BackOff(lambda: 0.5)  # in the middle: no jitter
        self.connection = AdsConnection(self.session, self.servers, backoff, self._open, lambda: None)
        self.session.subscribe(CDS, "c", self.watcher)

    def _open(self, server: Server, keepalive_ms: int, now: float) -> Any:
        if server in self.unusable:
            raise ConfigError("no such certificate")
        self.streams.append(Stream(server, keepalive_ms, now))
        return self.streams[-1]

    def turn(self) -> None:
        """What the driver does with every turn."""
        self.connection.expire(self.now)
        if self.connection.due:
            self.connection.open(self.now)
        if self.connection.stream is not None:
            self.connection.send(self.session.requests())
        while (news := self.session.next_notification()) is not None:
            news.deliver()

    def hear(self, stream: Any, message: bytes | None = None, error: StreamError | None = None) -> bool:
        heard = self.connection.heard(stream, message, error, self.now)
        self.turn()
        return heard

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    @property
    def opened(self) -> list[str]:
        return [stream.server.uri for stream in self.streams]


def encoded_answer() -> bytes:
    answer = discovery_pb2.DiscoveryResponse(type_url=CDS.type_url, version_info="1", nonce="n1")
    answer.resources.add().Pack(cluster("c"))
    return bytes(answer.SerializeToString())


ANSWER = encoded_answer()
GONE = StreamError("gone")


def test_stream_that_ends_without_an_answer_is_followed_by_one_after_a_pause() -> None:
    line = Line()
    line.turn()
    line.hear(line.streams[0], error=GONE)
    assert line.streams[0].ended
    assert line.connection.next_timer() == line.now + INITIAL
    assert line.watcher.take() == [("error", "c")]
    line.wait(INITIAL / 2)
    assert len(line.streams) == 1
    line.wait(INITIAL / 2)
    assert len(line.streams) == 2


def test_stream_that_ends_after_an_answer_is_followed_by_one_at_once() -> None:
    line = Line()
    line.turn()
    assert line.hear(line.streams[0], ANSWER)
    line.hear(line.streams[0], error=GONE)
    line.turn()
    assert len(line.streams) == 2


def test_why_there_is_no_stream_is_kept_until_one_brings_an_answer() -> None:
    line = Line()
    line.turn()
    line.hear(line.streams[0], error=NodeRefused("who are you?"))
    assert line.connection.failure == (100.0, "control plane first:1: who are you?")
    assert line.connection.refusal == "control plane first:1: who are you?"
    line.wait(INITIAL)
    line.hear(line.streams[1], error=GONE)
    assert line.connection.refusal == "control plane first:1: who are you?"  # nothing has said otherwise
    line.wait(10 * INITIAL)
    line.hear(line.streams[2], ANSWER)
    assert (line.connection.failure, line.connection.refusal) == (None, None)


def test_stream_that_cannot_be_opened_is_tried_again() -> None:
    line = Line()
    line.unusable.add(FIRST)
    line.turn()
    assert line.connection.failure is not None
    assert "ConfigError: no such certificate" in line.connection.failure[1]
    line.unusable.clear()
    line.wait(INITIAL)
    assert line.opened == ["first:1"]


def test_bytes_that_are_no_response_end_the_stream_and_nobody_waits_for_them() -> None:
    line = Line()
    line.turn()
    assert not line.hear(line.streams[0], b"\xff")
    assert line.streams[0].ended


def test_last_words_of_a_stream_that_was_given_up_are_not_heard() -> None:
    line = Line()
    line.turn()
    line.connection.lost(GONE, line.now)
    line.watcher.take()
    assert not line.hear(line.streams[0], ANSWER)
    assert not line.hear(line.streams[0], error=GONE)
    assert line.watcher.take() == [("error", "c")]  # of the loss, once


def test_session_is_told_of_its_requests_when_all_of_them_are_taken() -> None:
    line = Line()
    line.session.subscribe(CDS, "d", line.watcher)
    line.turn()
    line.session.subscribe(CDS, "e", line.watcher)
    line.turn()
    assert line.streams[0].handed == 2
    line.hear(line.streams[0])
    assert line.connection.connected
    assert line.session.next_timer() is None
    line.hear(line.streams[0])
    assert line.session.next_timer() is not None


def test_server_that_complains_of_pings_is_pinged_rarely_from_then_on() -> None:
    line = Line()
    line.turn()
    line.hear(line.streams[0], error=StreamError("Too many pings"))
    line.wait(INITIAL)
    assert [stream.keepalive_ms for stream in line.streams] == [KEEPALIVE_TIME_MS, RARE_KEEPALIVE_TIME_MS]


def fallen_back() -> Line:
    line = Line(FIRST, SPARE)
    line.turn()
    line.hear(line.streams[0], error=GONE)
    line.turn()
    line.hear(line.streams[1], ANSWER)
    assert line.opened == ["first:1", "spare:1"]
    return line


def test_next_server_is_tried_at_once_and_nobody_is_told() -> None:
    assert fallen_back().watcher.take() == [("changed", "c")]


def test_first_server_is_asked_now_and_then_and_returned_to_once_it_answers() -> None:
    line = fallen_back()
    for number in (2, 3):
        line.wait(RETURN_AFTER)
        probe = line.streams[number]
        assert (probe.server, probe.handed) == (FIRST, 1)
        line.hear(probe)  # that it takes the question proves nothing
        line.hear(probe, error=GONE)
        assert probe.ended
        assert line.servers.current is SPARE
    line.wait(RETURN_AFTER)
    line.hear(line.streams[4], ANSWER)
    assert line.opened == ["first:1", "spare:1", "first:1", "first:1", "first:1", "first:1"]
    assert [stream.ended for stream in line.streams] == [True, True, True, True, True, False]
    assert line.servers.current is FIRST


def test_first_server_is_asked_once_at_a_time_however_often_the_others_are_lost() -> None:
    line = Line(FIRST, SPARE, Server("third:1"))
    for number in range(2):
        line.turn()
        line.hear(line.streams[number], error=GONE)
    line.turn()
    line.hear(line.streams[2], ANSWER)
    line.wait(RETURN_AFTER)
    assert line.opened == ["first:1", "spare:1", "third:1", "first:1"]
    line.hear(line.streams[3], error=GONE)
    line.wait(RETURN_AFTER - 1)
    assert len(line.streams) == 4


@pytest.mark.parametrize("unusable", [True, False])
def test_first_server_that_cannot_be_asked_or_has_nothing_to_be_asked_is_asked_later(unusable: bool) -> None:
    line = fallen_back()
    if unusable:
        line.unusable.add(FIRST)
    else:
        line.session.unsubscribe(CDS, "c", line.watcher)
    line.wait(RETURN_AFTER)
    assert len(line.streams) == 2
    line.unusable.clear()
    line.session.subscribe(CDS, "c", line.watcher)
    line.wait(RETURN_AFTER)
    assert line.opened == ["first:1", "spare:1", "first:1"]


def test_closing_ends_the_stream_and_the_question_to_the_first_server() -> None:
    line = fallen_back()
    line.wait(RETURN_AFTER)
    line.connection.close()
    assert all(stream.ended for stream in line.streams)
    assert line.connection.stream is None
