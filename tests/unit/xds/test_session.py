"""The ADS session: who watches what, and streams that come and go; without a wire and with a clock of our own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.types import CDS, EDS, LDS, TYPES, ResourceType
from tests.unit.xds.build import cluster, listener, response
from tests.unit.xds.world import Watcher, World


def test_second_watcher_of_a_name_needs_no_request_and_is_told_what_is_known() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    second = Watcher()
    world.watch(CDS, "c", watcher=second)
    assert world.flush() == ()
    assert second.take() == [("changed", "c")]


def test_watcher_that_comes_after_an_error_is_told_the_error() -> None:
    world = World()
    world.watch(LDS, "l")
    world.flush()
    world.receive(response(LDS))
    second = Watcher()
    world.watch(LDS, "l", watcher=second)
    world.flush()
    assert second.take() == [("error", "l")]


def test_watcher_that_comes_after_a_refused_update_is_told_both() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.receive(response(CDS, cluster("c", type="STATIC"), version="2"))
    second = Watcher()
    world.watch(CDS, "c", watcher=second)
    world.flush()
    assert second.take() == [("changed", "c"), ("ambient", "c")]


def test_subscribing_twice_is_once() -> None:
    world = World()
    world.watch(CDS, "c", "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    assert world.watcher.take() == [("changed", "c")]
    world.unwatch(CDS, "c")
    assert [request.names for request in world.flush()] == [()]


def test_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        World().watch(LDS, "")


def test_unsubscribing_what_is_not_watched_does_nothing() -> None:
    world = World()
    world.unwatch(CDS, "c")
    world.watch(CDS, "c", watcher=Watcher())
    world.unwatch(CDS, "c")
    assert [request.names for request in world.flush()] == [("c",)]


def test_resource_that_is_left_and_wanted_again_before_the_server_knew_keeps_its_version() -> None:
    """The server would see no change and send nothing: forgetting it would leave it missing for good."""
    world = World()
    world.watch(CDS, "c", "d")
    world.flush()
    world.receive(response(CDS, cluster("c"), cluster("d")))
    world.watcher.take()
    world.unwatch(CDS, "c")
    world.watch(CDS, "c")
    assert world.flush() == ()
    assert world.watcher.take() == [("changed", "c")]


def test_resource_that_is_left_and_wanted_again_later_is_fetched_anew() -> None:
    world = World()
    world.watch(CDS, "c", "d")
    world.flush()
    world.receive(response(CDS, cluster("c"), cluster("d")))
    world.unwatch(CDS, "c")
    world.flush()
    world.watcher.take()
    world.watch(CDS, "c")
    assert [request.names for request in world.flush()] == [("d", "c")]
    assert world.watcher.take() == []
    world.receive(response(CDS, cluster("c"), cluster("d"), version="2"))
    assert world.watcher.take() == [("changed", "c")]


def test_news_of_a_watcher_that_has_left_are_dropped() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.session.received(response(CDS, cluster("c")), world.now)
    world.unwatch(CDS, "c")
    world.deliver()
    assert world.watcher.take() == []


def test_watcher_may_subscribe_and_unsubscribe_while_it_is_told() -> None:
    world = World()

    class Follower(Watcher):
        def on_changed(self, name: str, resource: Any) -> None:
            world.session.unsubscribe(CDS, name, self)
            world.session.subscribe(EDS, resource.eds_service_name, world.watcher)

    world.watch(CDS, "c", watcher=Follower())
    world.flush()
    world.session.received(response(CDS, cluster("c")), world.now)
    assert [(request.type_url, request.names) for request in world.flush()] == [
        (CDS.type_url, ()),
        (EDS.type_url, ("c",)),
    ]


def test_stream_that_breaks_after_a_response_is_no_error() -> None:
    """C4."""
    world = World()
    world.watch(LDS, "l", "other")
    world.flush()
    world.receive(response(LDS, listener("l"), listener("other")))
    world.watcher.take()
    world.close()
    assert world.watcher.take() == []


def test_stream_that_breaks_before_a_response_is_an_error_only_where_nothing_is_held() -> None:
    """C2, C5."""
    world = World()
    world.watch(LDS, "l")
    world.flush()
    world.receive(response(LDS, listener("l")))
    world.close()
    world.open()
    world.watch(CDS, "c")
    world.watcher.take()
    world.close("refused")
    assert sorted(world.watcher.take()) == [("ambient", "l"), ("error", "c")]
    assert world.state(LDS, "l") is ResourceState.ACKED


def test_what_is_known_not_to_exist_stays_so_when_the_stream_breaks() -> None:
    world = World()
    world.watch(LDS, "l")
    world.flush()
    world.receive(response(LDS))
    world.watcher.take()
    world.close()
    world.open()
    world.close()
    assert world.watcher.take() == []
    assert world.state(LDS, "l") is ResourceState.DOES_NOT_EXIST


def test_unchanged_resource_on_a_new_stream_tells_nobody() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.close()
    world.open()
    world.watcher.take()
    world.receive(response(CDS, cluster("c"), nonce="m1"))
    assert world.watcher.take() == []


def test_names_that_come_and_go_leave_nothing_behind() -> None:
    """D20, I10."""
    world = World()
    world.watch(CDS, "stays")
    for number in range(200):
        name = f"c{number}"
        world.watch(CDS, name)
        world.flush()
        world.receive(response(CDS, cluster("stays"), cluster(name), version=name))
        world.unwatch(CDS, name)
        world.flush()
    subscription, resources = world.session._types[CDS.type_url]
    assert list(world.session.cache.of(CDS)) == ["stays"]
    assert len(resources.by_raw) == 1
    assert not resources.leaving
    assert not subscription.unsent


def test_resource_that_is_left_just_before_the_stream_breaks_leaves_nothing_behind() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.unwatch(CDS, "c")
    world.close()
    _, resources = world.session._types[CDS.type_url]
    assert not resources.by_raw


def names(kinds: Iterable[ResourceType]) -> list[str]:
    return [kind.short_name for kind in kinds]


def test_types_are_the_four_in_the_order_of_their_requests() -> None:
    assert names(TYPES.values()) == ["CDS", "EDS", "LDS", "RDS"]
    assert names(kind for kind in TYPES.values() if kind.full_state) == ["CDS", "LDS"]
