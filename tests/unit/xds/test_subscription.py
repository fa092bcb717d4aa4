"""What requests say: names, version, nonce, ACK and NACK. Seen through the session, which sends them."""

from __future__ import annotations

import pytest

from pyrpc_xds.errors import StreamError
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryRequest, DiscoveryResponse
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS
from tests.unit.xds.build import cluster, listener, response
from tests.unit.xds.world import NODE, Watcher, World


def test_subscriptions_of_one_turn_are_one_request_a_type_in_a_fixed_order() -> None:
    world = World()
    world.watch(RDS, "r")
    world.watch(LDS, "l1", "l2")
    world.watch(EDS, "e")
    world.watch(CDS, "c")
    requests = world.flush()
    assert [(request.type_url, request.names) for request in requests] == [
        (CDS.type_url, ("c",)),
        (EDS.type_url, ("e",)),
        (LDS.type_url, ("l1", "l2")),
        (RDS.type_url, ("r",)),
    ]
    assert [request.node for request in requests] == [NODE, None, None, None]
    assert world.flush() == ()


def test_nothing_is_requested_without_a_stream() -> None:
    world = World(connected=False)
    world.watch(LDS, "l")
    assert world.flush() == ()
    assert [request.names for request in world.open()] == [("l",)]


def test_stream_without_subscriptions_sends_nothing() -> None:
    """An empty first request would be a wildcard."""
    assert World(connected=False).open() == ()


def test_last_watcher_that_leaves_takes_the_name_off_the_wire() -> None:
    world = World()
    second = Watcher()
    world.watch(CDS, "a", "b")
    world.watch(CDS, "a", watcher=second)
    world.flush()
    world.unwatch(CDS, "a")
    assert world.flush() == ()
    world.session.unsubscribe(CDS, "a", second)
    assert [request.names for request in world.flush()] == [("b",)]


def test_subscribing_and_unsubscribing_in_one_turn_sends_nothing() -> None:
    world = World()
    world.watch(CDS, "c")
    world.unwatch(CDS, "c")
    assert world.flush() == ()


def test_what_a_response_leads_to_is_asked_for_before_the_response_is_acknowledged() -> None:
    world = World()
    world.watch(LDS, "l")
    world.watch(CDS, "c")
    world.flush()
    world.session.received(response(CDS, cluster("c"), nonce="n1"), world.now)
    world.watch(EDS, "e")
    assert [(request.type_url, request.nonce) for request in world.flush()] == [
        (EDS.type_url, ""),
        (CDS.type_url, "n1"),
    ]
    assert world.flush() == ()


def test_good_response_is_acknowledged_with_its_version_and_nonce() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    ack = world.receive(response(CDS, cluster("c"), version="7", nonce="n9"))
    assert ack == DiscoveryRequest(CDS.type_url, ("c",), "7", "n9")
    assert world.watcher.take() == [("changed", "c")]
    assert world.state(CDS, "c") is ResourceState.ACKED
    assert world.flush() == ()


@pytest.mark.parametrize("type_url", ["type.googleapis.com/unknown", RDS.type_url])
def test_response_of_a_type_that_was_not_asked_for_is_not_answered(type_url: str) -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    assert world.receive(DiscoveryResponse(type_url, "1", "n")) is None
    assert not world.session.answered


def test_response_after_the_last_unsubscription_is_still_answered() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.unwatch(CDS, "c")
    world.flush()
    ack = world.receive(response(CDS, cluster("c"), nonce="n5"))
    assert ack is not None
    assert (ack.names, ack.nonce) == ((), "n5")


def test_two_responses_in_one_turn_are_both_answered() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.session.received(response(CDS, cluster("c"), version="1", nonce="n1"), world.now)
    world.session.received(response(CDS, cluster("c", type="STATIC"), version="2", nonce="n2"), world.now)
    first, second = world.flush()
    assert (first.version, first.nonce, first.error) == ("1", "n1", "")
    assert (second.version, second.nonce) == ("1", "n2")
    assert second.error


def test_subscription_after_a_refusal_does_not_repeat_it() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c", type="STATIC"), nonce="n1"))
    world.watch(CDS, "d")
    (request,) = world.flush()
    assert (request.names, request.nonce, request.error) == (("c", "d"), "n1", "")


def test_refusal_text_is_bounded_and_counts_what_it_leaves_out() -> None:
    world = World()
    names = [f"cluster-{number}-{'x' * 200}" for number in range(200)]
    world.watch(CDS, *names)
    world.flush()
    nack = world.receive(response(CDS, *(cluster(name, type="STATIC") for name in names)))
    assert nack is not None
    assert len(nack.error) < 20_000
    assert nack.error.endswith(" more")


def test_new_stream_asks_for_everything_with_the_old_version_no_nonce_and_the_node() -> None:
    """C6."""
    world = World()
    world.watch(LDS, "l")
    world.watch(CDS, "a", "b")
    world.flush()
    world.receive(response(LDS, listener("l"), version="3"))
    world.receive(response(CDS, cluster("a"), cluster("b"), version="4"))
    world.close()
    assert world.open() == (
        DiscoveryRequest(CDS.type_url, ("a", "b"), "4", "", "", NODE),
        DiscoveryRequest(LDS.type_url, ("l",), "3"),
    )


def test_new_stream_claims_no_version_while_a_resource_is_missing() -> None:
    """A server that believes the claim may send nothing, and the missing one would stay missing."""
    world = World()
    world.watch(CDS, "a")
    world.flush()
    world.receive(response(CDS, cluster("a"), version="4"))
    world.close()
    world.watch(CDS, "b")
    assert [request.version for request in world.open()] == [""]


def test_broken_stream_owes_no_answer() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.session.received(response(CDS, cluster("c"), nonce="n1"), world.now)
    world.session.closed(world.now, StreamError("gone"))
    assert world.flush() == ()
    assert [request.nonce for request in world.open()] == [""]


def test_a_turn_in_which_nothing_happened_looks_at_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush()
    for subscription, resources in world.session._types.values():
        monkeypatch.setattr(subscription, "entries", None)
        monkeypatch.setattr(resources, "entries", None)
    monkeypatch.setattr(type(world.session.cache), "__iter__", None)
    assert world.session.requests() == ()
    world.session.next_timer()
    world.session.expire(world.now)
