"""Futures and streams that wait to begin: none blocks its caller, and what they take is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from pyrpc_xds.transports.triple import TripleError, TripleResourceExhausted
from pyrpc_xds.transports.triple.pending import PendingCall
from pyrpc_xds.transports.triple.start_threads import StartThreads
from tests.unit.transports.triple.conftest import Client, Running, eventually

Connect = Callable[..., Client]


class Room:
    """Two threads, whose calls wait for an event, and a queue of three."""

    def __init__(self) -> None:
        self.threads = StartThreads(2, 3)
        self.go = threading.Event()
        self.begun: list[str] = []
        self.calls: list[PendingCall] = []

    def add(self, name: str, seconds: float | None = None) -> PendingCall:
        def prepare(_: Callable[[], bool]) -> str:
            assert self.go.wait(10)
            self.begun.append(name)
            raise TripleError(name)

        deadline = None if seconds is None else time.monotonic() + seconds
        self.calls.append(PendingCall.begin(prepare, str, deadline, TripleError, self.threads))
        return self.calls[-1]


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.go.set()
    for call in made.calls:
        call.exception(10) if not call.cancelled() else None
    eventually(lambda: made.threads._free == 2 and not made.threads._queue)


def test_calls_queue_for_a_thread_in_order(room: Room) -> None:
    for name in "abcde":
        room.add(name)
    assert room.begun == []
    room.go.set()
    eventually(lambda: len(room.begun) == 5)
    assert set(room.begun[:2]) <= {"a", "b", "c"} and set(room.begun) == set("abcde")


def test_calls_beyond_the_queue_fail_and_say_what_to_do(room: Room) -> None:
    for name in "abcde":
        room.add(name)
    refused = room.add("f")
    with pytest.raises(TripleResourceExhausted, match="5 futures and streams of this target wait"):
        refused.result(5)
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_cancelled_calls_make_room_in_the_queue(room: Room) -> None:
    for name in "abcde":
        room.add(name)
    for call in room.calls[2:]:
        assert call.cancel()
    more = [room.add(name) for name in "xyz"]
    assert not any(call.done() for call in more)
    room.go.set()
    eventually(lambda: {"x", "y", "z"} <= set(room.begun))
    assert not {"c", "d", "e"} & set(room.begun)


def test_deadline_passes_in_the_queue(room: Room) -> None:
    room.add("a"), room.add("b"), room.add("never")
    late = room.add("late", 0.1)
    told = threading.Event()
    late.add_done_callback(lambda _: told.set())
    assert told.wait(5)
    with pytest.raises(TripleError, match="waited for others"):
        late.result(5)
    room.go.set()
    eventually(lambda: "never" in room.begun)
    assert "late" not in room.begun


def test_system_without_threads_fails_the_call(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        assert room.add("a").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    room.add("b"), room.add("c"), room.add("d")
    room.go.set()
    eventually(lambda: set(room.begun) == {"b", "c", "d"})


class TestChannel:
    @pytest.fixture
    def stuck(self, connect: Connect, pb: Any, pb_grpc: Any) -> tuple[Client, list[Any]]:
        """More futures than threads, for a target that has no endpoint."""
        client = connect()
        client.router.serve()
        say = pb_grpc.GreeterStub(client.channel).SayHello
        return client, [say.future(pb.HelloRequest(name="a"), wait_for_ready=True) for _ in range(70)]

    def test_all_begin_when_they_can(self, stuck: tuple[Client, list[Any]], start: Any) -> None:
        client, futures = stuck
        client.router.serve(start("v1").address)
        assert {future.result(10).id for future in futures} == {"v1"}

    def test_deadline_of_one_more_passes(
        self, stuck: tuple[Client, list[Any]], pb: Any, pb_grpc: Any
    ) -> None:
        client, futures = stuck
        more = pb_grpc.GreeterStub(client.channel).SayHello.future(
            pb.HelloRequest(name="a"), timeout=0.2, wait_for_ready=True
        )
        assert more.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for future in futures:
            future.cancel()

    def test_another_target_is_not_held_up(
        self, stuck: tuple[Client, list[Any]], start: Callable[..., Running], pb: Any, pb_grpc: Any
    ) -> None:
        client, futures = stuck
        other = client.triple.channel("xds:///other:80")
        client.mesh.routers[1].serve(start("v1").address)
        assert pb_grpc.GreeterStub(other).SayHello.future(pb.HelloRequest(name="a")).result(5).id == "v1"
        assert not any(future.done() for future in futures)
        client.channel.close()

    def test_close_ends_all(self, stuck: tuple[Client, list[Any]]) -> None:
        client, futures = stuck
        client.channel.close()
        assert {future.code() for future in futures} == {grpc.StatusCode.CANCELLED}
