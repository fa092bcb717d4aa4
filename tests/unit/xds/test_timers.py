"""Resources that do not come: timers, and absence from a response (gRFC A57)."""

from __future__ import annotations

from typing import Any

import pytest

from pyrpc_xds.errors import ResourceNotFound
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.timers import ABSENCE_GRACE, RESOURCE_TIMEOUT, TRANSIENT_RESOURCE_TIMEOUT
from pyrpc_xds.xds.types import LDS, RDS
from tests.unit.xds.build import listener, response, route_config
from tests.unit.xds.world import NODE, World


def test_name_of_the_first_request_that_the_first_response_lacks_does_not_exist() -> None:
    world = World()
    world.watch(LDS, "l")
    world.flush()
    world.receive(response(LDS))
    ((what, name, error),) = world.watcher.news
    assert (what, name) == ("error", "l")
    assert isinstance(error, ResourceNotFound)
    assert NODE.id in str(error)


def test_name_that_was_asked_for_later_gets_a_grace_because_the_response_may_be_older() -> None:
    world = World()
    world.watch(LDS, "a")
    world.flush()
    world.receive(response(LDS, listener("a")))
    world.watch(LDS, "b")
    world.flush()
    world.receive(response(LDS, listener("a"), version="2"))
    assert world.state(LDS, "b") is ResourceState.REQUESTED
    world.wait(ABSENCE_GRACE / 2)
    world.receive(response(LDS, listener("a"), version="3"))
    world.wait(ABSENCE_GRACE / 2)
    assert world.state(LDS, "b") is ResourceState.DOES_NOT_EXIST
    world.watcher.take()
    world.receive(response(LDS, listener("a"), listener("b"), version="4"))
    assert world.watcher.take() == [("changed", "b")]


def test_name_that_was_asked_for_later_and_comes_within_the_grace_is_never_missing() -> None:
    world = World()
    world.watch(LDS, "a")
    world.flush()
    world.receive(response(LDS, listener("a")))
    world.watch(LDS, "b")
    world.flush()
    world.receive(response(LDS, listener("a"), version="2"))
    world.receive(response(LDS, listener("a"), listener("b"), version="3"))
    world.wait(60)
    assert world.watcher.take() == [("changed", "a"), ("changed", "b")]


def test_silent_server_means_absence_after_fifteen_seconds() -> None:
    """C7."""
    world = World()
    world.watch(RDS, "r")
    world.flush()
    assert world.session.next_timer() == world.now + RESOURCE_TIMEOUT == world.now + 15
    world.wait(14.9)
    assert world.watcher.take() == []
    world.wait(0.1)
    assert world.watcher.take() == [("error", "r")]
    assert world.state(RDS, "r") is ResourceState.DOES_NOT_EXIST
    assert world.session.next_timer() is None


def test_silent_server_is_a_timeout_after_thirty_seconds_where_the_server_features_say_so() -> None:
    world = World(timer_is_transient=True)
    world.watch(RDS, "r")
    world.flush()
    assert world.session.next_timer() == world.now + TRANSIENT_RESOURCE_TIMEOUT == world.now + 30
    world.wait(30)
    assert world.state(RDS, "r") is ResourceState.TIMEOUT
    assert world.watcher.take() == [("error", "r")]


def test_resource_that_comes_after_its_timer_is_used() -> None:
    """C8."""
    world = World()
    world.watch(RDS, "r")
    world.flush()
    world.wait(15)
    world.watcher.take()
    world.receive(response(RDS, route_config("r")))
    assert world.watcher.take() == [("changed", "r")]


def test_no_timer_runs_before_the_transport_has_taken_the_request() -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush(sent=False)
    assert world.session.next_timer() is None
    world.now += 60
    world.session.sent(world.now)
    assert world.session.next_timer() == world.now + RESOURCE_TIMEOUT


def test_no_timer_runs_without_a_stream_and_it_starts_again_with_the_next() -> None:
    """C1, C9."""
    world = World()
    world.watch(RDS, "held", "missing")
    world.flush()
    world.receive(response(RDS, route_config("held")))
    world.wait(10)
    world.close()
    assert world.session.next_timer() is None
    world.wait(1000)
    assert world.watcher.take() == [("changed", "held")]
    world.open()
    assert world.session.next_timer() == world.now + RESOURCE_TIMEOUT
    world.wait(15)
    assert world.watcher.take() == [("error", "missing")]


@pytest.mark.parametrize("message", [route_config("r"), route_config("r", domains=[])])
def test_any_answer_stops_the_timer(message: Any) -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush()
    world.receive(response(RDS, message))
    assert world.session.next_timer() is None


def test_timer_of_what_is_wanted_no_more_is_gone() -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush()
    world.unwatch(RDS, "r")
    assert world.session.next_timer() is None
    world.wait(20)
    assert world.watcher.take() == []


def test_timer_starts_when_its_own_request_is_taken() -> None:
    world = World()
    world.watch(RDS, "a")
    world.flush()
    world.now += 5
    world.watch(RDS, "b")
    world.flush()
    world.wait(10)
    assert world.watcher.take() == [("error", "a")]
    world.wait(5)
    assert world.watcher.take() == [("error", "b")]


def test_timer_of_what_is_left_and_wanted_again_before_the_server_knew_goes_on() -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush()
    deadline = world.session.next_timer()
    world.unwatch(RDS, "r")
    assert world.session.next_timer() is None
    world.watch(RDS, "r")
    assert world.session.next_timer() == deadline
    world.wait(20)
    assert len(world.watcher.take()) == 1
