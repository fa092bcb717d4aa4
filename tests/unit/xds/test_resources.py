"""What a response makes of the resources that are watched. Seen through the session, which applies it."""

from __future__ import annotations

from typing import Any

import pytest

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryResponse, RawResource
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS, ResourceType
from tests.unit.xds.build import assignment, cluster, lb_endpoint, listener, locality, response, route_config
from tests.unit.xds.world import World


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


def test_updates_of_one_resource_keep_one_encoding() -> None:
    world = World()
    world.watch(EDS, "c")
    world.flush()
    for number in range(1, 200):
        message = assignment("c", [locality([lb_endpoint(port=number)])])
        world.receive(response(EDS, message, version=str(number)))
    _, resources = world.session._types[EDS.type_url]
    assert len(resources.by_raw) == 1
