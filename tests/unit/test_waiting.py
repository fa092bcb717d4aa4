"""Waits that signals end, and that look up often enough to notice them."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyrpc_xds import waiting
from pyrpc_xds.waiting import Bell


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.when = float("inf")
        self.slices: list[float] = []

    def sleep(self, timeout: Any) -> bool:
        assert timeout is not None, "a signal that came just before would not be seen"
        self.slices.append(timeout)
        self.now = min(self.now + timeout, max(self.when, self.now))
        return self.now >= self.when


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "monotonic", lambda: made.now)
    return made


@pytest.fixture(params=["event", "bell"])
def wait(request: pytest.FixtureRequest, clock: Clock) -> Callable[[float | None], bool]:
    if request.param == "event":

        class Event(threading.Event):
            def wait(self, timeout: Any = None) -> bool:
                return clock.sleep(timeout)

        return lambda seconds: waiting.wait(Event(), seconds)

    class Queue:
        def get(self, timeout: Any) -> None:
            if not clock.sleep(timeout):
                raise queue.Empty

        def put(self, _: None) -> None:
            pass

    bell = Bell()
    bell._rung = Queue()  # type: ignore[assignment]
    return bell.wait


@pytest.mark.parametrize("limit", [None, 60.0])
def test_long_wait_looks_up_often_enough_for_a_person(
    clock: Clock, wait: Callable[[float | None], bool], limit: float | None
) -> None:
    clock.when = 110.2
    assert wait(limit)
    assert max(clock.slices) <= 0.5
    assert clock.now == pytest.approx(110.2)


@pytest.mark.parametrize("limit", [0.0, -1.0, 0.3, 1.7])
def test_wait_ends_with_its_limit(clock: Clock, wait: Callable[[float | None], bool], limit: float) -> None:
    assert not wait(limit)
    assert clock.now == pytest.approx(100 + max(limit, 0))


def test_what_has_rung_ends_every_later_wait() -> None:
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    assert [bell.wait(0), bell.wait(None), bell.wait(-1)] == [True] * 3


@pytest.fixture
def alarms() -> Iterator[Callable[[Callable[..., None]], None]]:
    """Has a handler called again and again, in between any two instructions of this thread."""
    before = signal.getsignal(signal.SIGALRM)

    def begin(handler: Callable[..., None]) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)

    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_bell_may_be_rung_by_a_handler_at_any_moment_of_the_wait(
    alarms: Callable[[Callable[..., None]], None],
) -> None:
    bells = [Bell()]
    alarms(lambda *_: bells[0].ring())
    for _ in range(200):
        bells[0] = Bell()
        assert bells[0].wait(10)


def test_bell_still_rings_after_handlers_that_raised_in_the_midst_of_waits(
    alarms: Callable[[Callable[..., None]], None],
) -> None:
    class Interrupted(BaseException):
        pass

    armed = [False]

    def interrupt(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise Interrupted

    bell = Bell()
    alarms(interrupt)
    for _ in range(200):
        try:
            armed[0] = True
            bell.wait(10)
        except Interrupted:
            continue
        pytest.fail("nothing has rung")
    ringing = threading.Thread(target=bell.ring, daemon=True)
    ringing.start()
    ringing.join(10)
    assert not ringing.is_alive() and bell.wait(10)
