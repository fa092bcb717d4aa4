"""The ADS session: every rule of the protocol, without a wire and with a clock of our own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pyrpc_xds.bootstrap import Node
from pyrpc_xds.errors import ResourceInvalid, ResourceNotFound, StreamError
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryRequest, DiscoveryResponse, RawResource
from pyrpc_xds.xds.session import ABSENCE_GRACE, RESOURCE_TIMEOUT, TRANSIENT_RESOURCE_TIMEOUT, Session
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS, TYPES, ResourceType
from tests.unit.xds.build import assignment, cluster, lb_endpoint, listener, locality, response, route_config

NODE = Node("sidecar~10.0.0.1~p.n~n.svc.cluster.local")


class Watcher:
    """Keeps its news."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str, Any]] = []

    def on_changed(self, name: str, resource: Any) -> None:
        self.news.append(("changed", name, resource))

    def on_error(self, name: str, error: Any) -> None:
        self.news.append(("error", name, error))

    def on_ambient_error(self, name: str, error: Any) -> None:
        self.news.append(("ambient", name, error))

    def take(self) -> list[tuple[str, str]]:
        """What came since the last time, without the values."""
        news, self.news = self.news, []
        return [(what, name) for what, name, _ in news]


class World:
    """A session, its clock and one watcher of everything."""

    def __init__(self, *, connected: bool = True, **options: Any) -> None:
        self.session = Session(NODE, **options)
        self.watcher = Watcher()
        self.now = 100.0
        if connected:
            self.open()

    def open(self) -> tuple[DiscoveryRequest, ...]:
        self.session.opened(self.now)
        return self.flush()

    def close(self, text: str = "gone") -> None:
        self.session.closed(self.now, StreamError(text))
        self.deliver()

    def watch(self, kind: ResourceType, *names: str, watcher: Watcher | None = None) -> None:
        for name in names:
            self.session.subscribe(kind, name, watcher or self.watcher)

    def unwatch(self, kind: ResourceType, *names: str) -> None:
        for name in names:
            self.session.unsubscribe(kind, name, self.watcher)

    def deliver(self) -> None:
        while (news := self.session.next_notification()) is not None:
            news.deliver()

    def flush(self, *, sent: bool = True) -> tuple[DiscoveryRequest, ...]:
        self.deliver()
        requests = self.session.requests()
        if sent:
            self.session.sent(self.now)
        return requests

    def receive(self, message: DiscoveryResponse) -> DiscoveryRequest | None:
        """Take a response in and return the one request that answers it."""
        self.session.received(message, self.now)
        requests = self.flush()
        assert len(requests) <= 1
        return requests[0] if requests else None

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.session.expire(self.now)
        self.deliver()

    def state(self, kind: ResourceType, name: str) -> ResourceState:
        return self.session.cache.of(kind)[name].state


# ---- subscriptions


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


def test_unsubscribing_what_is_not_watched_does_nothing() -> None:
    world = World()
    world.unwatch(CDS, "c")
    world.watch(CDS, "c", watcher=Watcher())
    world.unwatch(CDS, "c")
    assert [request.names for request in world.flush()] == [("c",)]


def test_subscribing_and_unsubscribing_in_one_turn_sends_nothing() -> None:
    world = World()
    world.watch(CDS, "c")
    world.unwatch(CDS, "c")
    assert world.flush() == ()


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


# ---- ACK and NACK


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


def test_one_bad_of_hundred_is_named_and_the_others_are_used() -> None:
    """D1."""
    world = World()
    names = [f"c{number}" for number in range(100)]
    world.watch(CDS, *names)
    world.flush()
    messages = [cluster(name, type="STATIC" if name == "c42" else "EDS") for name in names]
    nack = world.receive(response(CDS, *messages, version="7", nonce="n1"))
    assert nack is not None
    assert (nack.version, nack.nonce) == ("", "n1")
    assert nack.error == "CDS 'c42': type STATIC is not supported; only EDS is"
    assert sorted(world.watcher.take()) == sorted(
        ("error" if name == "c42" else "changed", name) for name in names
    )


def test_bad_update_keeps_the_last_good_version_and_the_old_version_number() -> None:
    """D2."""
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c"), version="1"))
    world.watcher.take()
    nack = world.receive(response(CDS, cluster("c", type="STATIC"), version="2", nonce="n2"))
    assert nack is not None
    assert (nack.version, nack.nonce) == ("1", "n2")
    assert world.watcher.take() == [("ambient", "c")]
    entry = world.session.cache.of(CDS)["c"]
    assert (entry.state, entry.version, entry.rejected_version) == (ResourceState.NACKED, "1", "2")
    assert entry.model is not None


def test_bad_update_takes_the_last_good_version_with_it_where_the_server_features_say_so() -> None:
    world = World(fail_on_data_errors=True)
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.watcher.take()
    world.receive(response(CDS, cluster("c", type="STATIC"), version="2"))
    assert world.watcher.take() == [("error", "c")]
    assert world.session.cache.of(CDS)["c"].model is None
    world.receive(response(CDS, cluster("c"), version="3"))
    assert world.watcher.take() == [("changed", "c")]


def test_bad_first_version_is_an_error_that_a_good_one_heals() -> None:
    """D3."""
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c", type="STATIC")))
    assert world.watcher.take() == [("error", "c")]
    ack = world.receive(response(CDS, cluster("c"), version="2", nonce="n2"))
    assert ack is not None
    assert (ack.version, ack.nonce, ack.error) == ("2", "n2", "")
    assert world.watcher.take() == [("changed", "c")]


def test_good_version_that_comes_back_unchanged_after_an_error_is_told() -> None:
    """Otherwise the ambient error would be remembered for ever."""
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.receive(response(CDS, cluster("c", type="STATIC"), version="2"))
    world.watcher.take()
    world.receive(response(CDS, cluster("c"), version="3"))
    assert world.watcher.take() == [("changed", "c")]
    assert world.session.cache.of(CDS)["c"].error is None


def test_same_refusal_again_is_answered_each_time_and_told_once() -> None:
    """D4."""
    world = World()
    world.watch(CDS, "c")
    world.flush()
    for number in range(1000):
        nonce = f"n{number}"
        nack = world.receive(response(CDS, cluster("c", type="STATIC"), version=nonce, nonce=nonce))
        assert nack is not None
        assert nack.nonce == nonce
        assert nack.error
    assert world.watcher.take() == [("error", "c")]


def test_another_refusal_of_the_same_resource_is_told() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c", type="STATIC")))
    world.receive(response(CDS, cluster("c", type="STRICT_DNS")))
    assert world.watcher.take() == [("error", "c"), ("error", "c")]


def test_identical_push_is_acknowledged_and_tells_nobody_nor_decodes() -> None:
    """D5."""
    calls = 0

    def counting(raw: bytes) -> Any:
        nonlocal calls
        calls += 1
        return EDS.decoder(raw)

    kind = ResourceType("EDS", EDS.type_url, False, counting)
    world = World(types={EDS.type_url: kind})
    world.watch(kind, "c")
    world.flush()
    world.receive(response(EDS, assignment("c")))
    model = world.session.cache.of(kind)["c"].model
    ack = world.receive(response(EDS, assignment("c"), version="2", nonce="n2"))
    assert ack is not None
    assert (ack.version, ack.nonce) == ("2", "n2")
    assert world.watcher.take() == [("changed", "c")]
    assert calls == 1
    assert world.session.cache.of(kind)["c"].model is model
    assert world.session.cache.of(kind)["c"].version == "2"


def test_other_bytes_of_an_equal_resource_tell_nobody_and_keep_the_object() -> None:
    world = World()
    world.watch(EDS, "c")
    world.flush()
    world.receive(response(EDS, assignment("c")))
    model = world.session.cache.of(EDS)["c"].model
    world.watcher.take()
    with_unusable = assignment("c", [locality([lb_endpoint(), lb_endpoint("10.0.0.9", health_status=3)])])
    for _ in range(2):
        world.receive(response(EDS, with_unusable, version="2"))
        assert world.watcher.take() == []
        assert world.session.cache.of(EDS)["c"].model is model


def test_resource_that_goes_back_to_an_earlier_encoding_is_told() -> None:
    world = World()
    world.watch(EDS, "c")
    world.flush()
    one, two = assignment("c"), assignment("c", [])
    for number, message in enumerate((one, two, one, two)):
        world.receive(response(EDS, message, version=str(number)))
        assert world.watcher.take() == [("changed", "c")]


def test_name_that_comes_twice_refuses_that_name_only() -> None:
    """D8."""
    world = World()
    world.watch(CDS, "c", "d")
    world.flush()
    nack = world.receive(response(CDS, cluster("c"), cluster("d"), cluster("c", lb_policy="RANDOM")))
    assert nack is not None
    assert "'c': is in the response more than once" in nack.error
    assert sorted(world.watcher.take()) == [("changed", "d"), ("error", "c")]


def test_name_that_comes_three_times_is_named_once() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    nack = world.receive(response(CDS, *[cluster("c")] * 3))
    assert nack is not None
    assert nack.error.count("'c'") == 1
    assert world.watcher.take() == [("error", "c")]


def test_resource_of_another_type_is_refused() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    stray = RawResource(LDS.type_url, listener("l").SerializeToString())
    good = RawResource(CDS.type_url, cluster("c").SerializeToString())
    nack = world.receive(DiscoveryResponse(CDS.type_url, "1", "n", (stray, good)))
    assert nack is not None
    assert LDS.type_url in nack.error
    assert world.watcher.take() == [("changed", "c")]


def test_resource_that_nobody_asked_for_is_ignored() -> None:
    """D7."""
    world = World()
    world.watch(CDS, "c")
    world.flush()
    ack = world.receive(response(CDS, cluster("c"), cluster("other")))
    assert ack is not None
    assert ack.error == ""
    assert world.watcher.take() == [("changed", "c")]
    assert list(world.session.cache.of(CDS)) == ["c"]


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


def test_decoder_that_fails_costs_its_resource_only() -> None:
    """D22."""

    def broken(raw: bytes) -> Any:
        if b"boom" in raw:
            raise ZeroDivisionError("bug")
        return CDS.decoder(raw)

    kind = ResourceType("CDS", CDS.type_url, True, broken)
    world = World(types={CDS.type_url: kind})
    world.watch(kind, "c")
    world.flush()
    nack = world.receive(response(CDS, cluster("c"), cluster("boom")))
    assert nack is not None
    assert "ZeroDivisionError: bug" in nack.error
    assert world.watcher.take() == [("changed", "c")]


# ---- streams


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


def test_broken_stream_owes_no_answer() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.session.received(response(CDS, cluster("c"), nonce="n1"), world.now)
    world.session.closed(world.now, StreamError("gone"))
    assert world.flush() == ()
    assert [request.nonce for request in world.open()] == [""]


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


# ---- deletion (A53, A88)


@pytest.mark.parametrize(("kind", "build"), [(LDS, listener), (CDS, cluster)])
def test_resource_that_a_full_response_no_longer_has_is_kept_and_marked(
    kind: ResourceType, build: Any
) -> None:
    """D6."""
    world = World()
    world.watch(kind, "a", "b")
    world.flush()
    world.receive(response(kind, build("a"), build("b")))
    world.watcher.take()
    ack = world.receive(response(kind, build("b"), version="2"))
    assert ack is not None
    assert ack.error == ""
    assert world.watcher.take() == [("ambient", "a")]
    assert world.state(kind, "a") is ResourceState.DOES_NOT_EXIST
    assert world.session.cache.of(kind)["a"].model is not None
    world.receive(response(kind, build("b"), version="3"))
    assert world.watcher.take() == []
    world.receive(response(kind, build("a"), build("b"), version="4"))
    assert world.watcher.take() == [("changed", "a")]


@pytest.mark.parametrize(("kind", "build"), [(LDS, listener), (CDS, cluster)])
def test_deleted_resource_is_dropped_where_the_server_features_say_so(kind: ResourceType, build: Any) -> None:
    world = World(fail_on_data_errors=True)
    world.watch(kind, "a")
    world.flush()
    world.receive(response(kind, build("a")))
    world.watcher.take()
    world.receive(response(kind, version="2"))
    assert world.watcher.take() == [("error", "a")]
    assert world.session.cache.of(kind)["a"].model is None
    world.receive(response(kind, build("a"), version="3"))
    assert world.watcher.take() == [("changed", "a")]


@pytest.mark.parametrize(("kind", "build"), [(RDS, route_config), (EDS, assignment)])
def test_absence_from_a_response_of_parts_means_nothing(kind: ResourceType, build: Any) -> None:
    world = World()
    world.watch(kind, "a", "b")
    world.flush()
    world.receive(response(kind, build("a"), build("b")))
    world.watcher.take()
    world.receive(response(kind, build("b"), version="2"))
    assert world.watcher.take() == []
    assert world.state(kind, "a") is ResourceState.ACKED


def test_absence_from_a_response_with_an_unreadable_resource_proves_nothing() -> None:
    world = World()
    world.watch(CDS, "a")
    world.flush()
    world.receive(response(CDS, cluster("a")))
    world.watcher.take()
    nack = world.receive(response(CDS, b"\xff\xff", version="2"))
    assert nack is not None
    assert nack.error
    assert world.watcher.take() == []


def test_bad_resource_is_not_an_absent_one() -> None:
    world = World()
    world.watch(CDS, "a")
    world.flush()
    world.receive(response(CDS, cluster("a", type="STATIC")))
    assert world.state(CDS, "a") is ResourceState.NACKED
    assert isinstance(world.watcher.news[0][2], ResourceInvalid)


# ---- absence of what never was, and timers (A57)


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


# ---- size


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
    state = world.session._types[CDS.type_url]
    assert list(world.session.cache.of(CDS)) == ["stays"]
    assert len(state.by_raw) == 1
    assert not state.leaving
    assert not state.unsent


def test_resource_that_is_left_just_before_the_stream_breaks_leaves_nothing_behind() -> None:
    world = World()
    world.watch(CDS, "c")
    world.flush()
    world.receive(response(CDS, cluster("c")))
    world.unwatch(CDS, "c")
    world.close()
    assert not world.session._types[CDS.type_url].by_raw


def test_updates_of_one_resource_keep_one_encoding() -> None:
    world = World()
    world.watch(EDS, "c")
    world.flush()
    for number in range(1, 200):
        message = assignment("c", [locality([lb_endpoint(port=number)])])
        world.receive(response(EDS, message, version=str(number)))
    assert len(world.session._types[EDS.type_url].by_raw) == 1


def names(kinds: Iterable[ResourceType]) -> list[str]:
    return [kind.short_name for kind in kinds]


def test_types_are_the_four_in_the_order_of_their_requests() -> None:
    assert names(TYPES.values()) == ["CDS", "EDS", "LDS", "RDS"]
    assert names(kind for kind in TYPES.values() if kind.full_state) == ["CDS", "LDS"]


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


def test_a_turn_in_which_nothing_happened_looks_at_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.watch(RDS, "r")
    world.flush()
    monkeypatch.setattr(type(world.session.cache), "of", None)
    monkeypatch.setattr(type(world.session.cache), "__iter__", None)
    assert world.session.requests() == ()
    world.session.next_timer()
    world.session.expire(world.now)
