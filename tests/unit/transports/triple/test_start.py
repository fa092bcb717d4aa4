"""The steps of a call's beginning, carried out by the test: no network, no clock but its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrpc_xds.errors import DeadlineExceeded, Unavailable
from pyrpc_xds.transports.triple import TripleConnector, TripleDeadlineExceeded, TripleUnavailable
from pyrpc_xds.transports.triple.connection import Drained
from pyrpc_xds.transports.triple.errors import TripleCancelled
from pyrpc_xds.transports.triple.method import Method
from pyrpc_xds.transports.triple.start import (
    CONNECT_SECONDS,
    MAX_ENDPOINTS,
    PATIENCE_SECONDS,
    Configure,
    Connect,
    Explain,
    Pause,
    Start,
    Step,
)
from pyrpc_xds.transports.triple.target import Target
from tests.unit.transports.triple.fakes import FakeDestination, FakeMesh, FakeRouter

READY, FAILED, SLOW = True, False, None
PATH = "/pkg.Service/Method"


class Play:
    """Answers the steps of one call.

    :param outcomes: by address, what each attempt to connect gives, the last one repeated.
    """

    def __init__(self, *addresses: str, outcomes: dict[str, list[Any]] | None = None) -> None:
        self.mesh = FakeMesh(*addresses)
        self.target = Target(self.mesh, "xds:///greeter:80", TripleConnector("xds:///greeter:80", (), None))
        self.router: FakeRouter = self.mesh.routers[0]
        self.outcomes = outcomes or {}
        self.now = 100.0
        self.steps: list[Step] = []
        self.configure: Callable[[], None] = lambda: None

    def run(self, timeout: float | None = None, wait_for_ready: bool = False) -> tuple[str, float | None]:
        """Where the call begins, and the seconds that are left to it."""
        return self.carry_out(self.start(timeout, wait_for_ready))

    def start(self, timeout: float | None, wait_for_ready: bool = False) -> Start:
        method = Method("unary_unary", PATH, None, None, False, "greeter:80")
        return Start(self.target, method, timeout, None, method.headers, wait_for_ready)

    def carry_out(self, start: Start) -> tuple[str, float | None]:
        steps = start.steps(lambda: self.now)
        answer: Any = None
        while True:
            try:
                step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
            except StopIteration as done:
                address, left = done.value
                return address, None if left is None else round(left, 6)
            self.steps.append(step)
            answer = self.answer(step)

    def answer(self, step: Step) -> Any:
        match step:
            case Connect(connection, seconds):
                outcomes = self.outcomes.get(connection.address, [READY])
                outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
                self.now += seconds if outcome is SLOW else 0
                return connection.address if outcome is READY else outcome
            case Configure(seconds):
                self.configure()
                if self.router.snapshot is None:
                    self.now += seconds or 0
                    return DeadlineExceeded("no configuration")
                return self.router.snapshot
            case Explain():
                return "Connection refused"
            case Pause(seconds):
                self.now += seconds
                self.configure()
                return None

    def connects(self) -> list[tuple[str, float]]:
        return [
            (step.connection.address, round(step.seconds, 6))
            for step in self.steps
            if isinstance(step, Connect)
        ]


def test_first_endpoint_that_is_ready_is_taken() -> None:
    play = Play("a:1", "b:1")
    assert play.run(timeout=5) == ("a:1", 5.0)
    assert play.connects() == [("a:1", PATIENCE_SECONDS)]


def test_endpoint_that_failed_is_left_for_the_next() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [FAILED]})
    assert play.run()[0] == "b:1"
    assert [play.router.endpoints[each].failures for each in ("a:1", "b:1")] == [1, 0]


def test_slow_endpoint_is_left_after_a_moment() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [SLOW]})
    assert play.run(timeout=5) == ("b:1", 5 - PATIENCE_SECONDS)
    assert play.router.endpoints["a:1"].failures == 1


def test_endpoint_that_the_deadline_left_no_time_is_not_counted_as_failed() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [SLOW]})
    with pytest.raises(TripleDeadlineExceeded, match="connecting to a:1"):
        play.run(timeout=PATIENCE_SECONDS / 2)
    assert play.router.endpoints["a:1"].failures == 0


def test_endpoint_that_failed_within_a_short_deadline_is_counted() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [FAILED]})
    assert play.run(timeout=PATIENCE_SECONDS / 2)[0] == "b:1"
    assert play.router.endpoints["a:1"].failures == 1


def test_slow_endpoints_are_waited_for_when_there_is_no_other() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [SLOW, SLOW, READY], "b:1": [FAILED]})
    assert play.run(timeout=5)[0] == "a:1"
    assert play.router.endpoints["a:1"].successes == 1


def test_no_endpoint_is_connected_twice_when_all_failed() -> None:
    addresses = [f"{name}:1" for name in "abc"]
    play = Play(*addresses, outcomes={address: [FAILED] for address in addresses})
    with pytest.raises(
        TripleUnavailable, match=r"could not connect to a:1, .*\(the last: Connection refused\)"
    ):
        play.run()
    assert sorted(address for address, _ in play.connects()) == addresses


def test_attempts_are_limited() -> None:
    addresses = [f"{number}:1" for number in range(20)]
    play = Play(*addresses, outcomes={address: [FAILED] for address in addresses})
    with pytest.raises(TripleUnavailable):
        play.run()
    assert len(play.connects()) == MAX_ENDPOINTS


def test_deadline_limits_the_last_attempt_and_is_named() -> None:
    play = Play("a:1", outcomes={"a:1": [SLOW]})
    with pytest.raises(TripleDeadlineExceeded, match=f"greeter:80 {PATH}.*connecting to a:1"):
        play.run(timeout=0.5)
    assert play.connects() == [("a:1", PATIENCE_SECONDS), ("a:1", 0.2)]
    assert play.now == pytest.approx(100.5)


def test_without_a_deadline_connecting_ends_all_the_same() -> None:
    play = Play("a:1", outcomes={"a:1": [SLOW]})
    with pytest.raises(TripleUnavailable):
        play.run()
    assert play.now == pytest.approx(100 + CONNECT_SECONDS)


def test_endpoint_that_left_is_not_counted_as_failed() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [Drained()]})
    assert play.run()[0] == "b:1"
    assert play.router.endpoints["a:1"].failures == 0


def test_endpoints_that_keep_leaving_end_the_call() -> None:
    play = Play("a:1", outcomes={"a:1": [Drained()]})
    with pytest.raises(TripleUnavailable, match="keep leaving"):
        play.run()


def test_callers_deadline_includes_the_wait_for_the_configuration() -> None:
    play = Play()

    def configured() -> None:
        play.now += 2
        play.router.serve("a:1")

    play.configure = configured
    assert play.run(timeout=5) == ("a:1", 3.0)
    assert play.steps[0] == Configure(5.0)


def test_routes_timeout_counts_from_the_routing_decision() -> None:
    play = Play()

    def configured() -> None:
        play.now += 2
        play.router.serve("a:1", timeout=1)

    play.configure = configured
    assert play.run() == ("a:1", 1.0)
    assert play.steps[0] == Configure(None)


def test_routes_timeout_includes_connecting() -> None:
    play = Play("a:1", outcomes={"a:1": [SLOW, READY]})
    play.router.serve("a:1", timeout=1)
    assert play.run(timeout=60) == ("a:1", 1 - PATIENCE_SECONDS)


def test_call_that_is_begun_anew_keeps_its_deadline() -> None:
    play = Play("a:1")
    start = play.start(timeout=5)
    assert play.carry_out(start) == ("a:1", 5.0)
    play.now += 2  # the endpoint left just then
    assert play.carry_out(start) == ("a:1", 3.0)


def test_wait_for_ready_pauses_longer_and_longer_until_there_is_an_endpoint() -> None:
    play = Play()
    play.router.serve()

    def later() -> None:
        if play.now > 105:
            play.router.serve("a:1")

    play.configure = later
    assert play.run(wait_for_ready=True) == ("a:1", None)
    pauses = [step.seconds for step in play.steps if isinstance(step, Pause)]
    assert pauses == sorted(pauses) and pauses[0] < 0.1 and pauses[-1] == 1.0


def test_wait_for_ready_routes_anew_after_each_pause() -> None:
    play = Play("a:1", outcomes={"a:1": [FAILED]})
    moved = FakeDestination(play.router.cluster("b:1", name="other"))
    play.configure = lambda: setattr(play.router, "snapshot", play.router.apply(lambda *_: moved))
    assert play.run(wait_for_ready=True)[0] == "b:1"


def test_wait_for_ready_ends_at_the_deadline_and_not_before() -> None:
    play = Play()
    play.router.serve()
    with pytest.raises(TripleDeadlineExceeded, match="no endpoints"):
        play.run(timeout=3.3, wait_for_ready=True)
    assert play.now == pytest.approx(103.3)


def test_wait_for_ready_ends_when_nobody_waits_any_more() -> None:
    play = Play()
    play.router.serve()
    start = play.start(None, wait_for_ready=True)
    start.over = lambda: play.now > 110
    with pytest.raises(TripleCancelled, match=f"greeter:80 {PATH}.*cancelled"):
        play.carry_out(start)
    assert play.now < 112


def test_slow_endpoints_are_not_waited_for_when_nobody_waits_any_more() -> None:
    play = Play("a:1", "b:1", outcomes={"a:1": [SLOW], "b:1": [SLOW]})
    start = play.start(None)
    start.over = lambda: play.now > 101
    with pytest.raises(TripleCancelled):
        play.carry_out(start)
    assert play.now < 102


def test_no_route_is_not_waited_for_without_wait_for_ready() -> None:
    def no_route(path: str, headers: Any) -> FakeDestination:
        raise Unavailable("no route matches")

    play = Play()
    play.router.apply(no_route)
    with pytest.raises(TripleUnavailable, match="no route matches"):
        play.run(timeout=5)
    assert play.steps == []
