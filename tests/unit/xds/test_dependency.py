"""Dependencies: which snapshots come of which words of the control plane, and in which order (gRFC A74)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pyrpc_xds.errors import ResourceInvalid, ResourceNotFound
from pyrpc_xds.model.cluster import Cluster
from pyrpc_xds.model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from pyrpc_xds.model.listener import Listener
from pyrpc_xds.model.route import (
    ClusterRoute,
    PathMatch,
    PathMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from pyrpc_xds.model.snapshot import ClusterConfig, ClusterFailure, MeshSnapshot
from pyrpc_xds.xds.dependency import DependencyManager
from pyrpc_xds.xds.types import CDS, EDS, LDS, RDS, ResourceType

TARGET = "greeter:9090"


class FakeDriver:
    """Keeps who watches what and, like the driver, tells a new watcher what is known."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        self.watchers: dict[tuple[str, str], list[Any]] = {}

    def subscribe(self, kind: ResourceType, name: str, watcher: Any) -> None:
        self.watchers.setdefault((kind.short_name, name), []).append(watcher)
        if (kind.short_name, name) in self.known:
            self._tell(watcher, name, self.known[kind.short_name, name])

    def unsubscribe(self, kind: ResourceType, name: str, watcher: Any) -> None:
        self.watchers[kind.short_name, name].remove(watcher)
        if not self.watchers[kind.short_name, name]:
            del self.watchers[kind.short_name, name]

    def say(self, kind: ResourceType, name: str, word: Any) -> None:
        self.known[kind.short_name, name] = word
        for watcher in list(self.watchers.get((kind.short_name, name), ())):
            self._tell(watcher, name, word)

    @staticmethod
    def _tell(watcher: Any, name: str, word: Any) -> None:
        if isinstance(word, Exception):
            watcher.on_error(name, word)
        else:
            watcher.on_changed(name, word)

    @property
    def watched(self) -> set[tuple[str, str]]:
        return set(self.watchers)


class World:
    """A manager and what it published."""

    def __init__(self) -> None:
        self.driver = FakeDriver()
        self.snapshots: list[MeshSnapshot] = []
        self.failures: list[str] = []
        self.manager = DependencyManager(
            self.driver,
            TARGET,
            clusters_of=clusters_of,
            publish=self.snapshots.append,
            fail=self.failures.append,
        )
        self.manager.settle()

    def say(self, kind: ResourceType, name: str, word: Any) -> None:
        self.driver.say(kind, name, word)
        self.manager.settle()


def clusters_of(config: RouteConfiguration) -> tuple[str, ...]:
    names = {}
    for host in config.virtual_hosts:
        for route in host.routes:
            assert isinstance(route.action, ClusterRoute)
            names.update({cluster.name: None for cluster in route.action.clusters})
    return tuple(names)


def listener(routes: str = "routes") -> Listener:
    return Listener(TARGET, route_config_name=routes)


def routes(*clusters: str, name: str = "routes") -> RouteConfiguration:
    action = ClusterRoute(tuple(WeightedCluster(cluster) for cluster in clusters))
    route = Route(RouteMatch(PathMatcher(PathMatch.PREFIX, "")), action)
    return RouteConfiguration(name, (VirtualHost("host", ("*",), (route,)),))


def endpoints(name: str, *addresses: str) -> ClusterLoadAssignment:
    return ClusterLoadAssignment(name, (Locality("", 1, 0, tuple(Endpoint(a) for a in addresses)),))


WORDS: tuple[tuple[ResourceType, str, Any], ...] = (
    (LDS, TARGET, listener()),
    (RDS, "routes", routes("v1", "v2")),
    (CDS, "v1", Cluster("v1", "v1")),
    (CDS, "v2", Cluster("v2", "eds-of-v2")),
    (EDS, "v1", endpoints("v1", "127.0.0.1:1")),
    (EDS, "eds-of-v2", endpoints("eds-of-v2", "127.0.0.1:2")),
)


def complete() -> World:
    world = World()
    for word in WORDS:
        world.say(*word)
    return world


def test_nothing_is_published_until_the_last_resource_is_there() -> None:
    world = World()
    for word in WORDS[:-1]:
        world.say(*word)
        assert world.snapshots == []
    world.say(*WORDS[-1])
    assert len(world.snapshots) == 1


@pytest.mark.parametrize(
    "order", list(itertools.permutations(range(6))), ids=lambda order: "".join(map(str, order))
)
def test_every_order_of_arrival_gives_the_same_single_snapshot(order: tuple[int, ...]) -> None:
    world = World()
    for index in order:
        world.say(*WORDS[index])
    assert world.snapshots == complete().snapshots
    assert world.driver.watched == {(kind.short_name, name) for kind, name, _ in WORDS}


def test_what_is_awaited_is_named_by_kind_and_name_in_the_order_of_finding_it() -> None:
    world = World()
    named = []
    for word in WORDS:
        named.append(world.manager.awaited())
        world.say(*word)
    assert named[0].startswith("Listener greeter:9090 yet: check the Service's name, namespace and port")
    assert named[1:3] == ["RouteConfiguration routes yet", "Cluster v1 yet"]
    assert named[-1] == "ClusterLoadAssignment eds-of-v2 yet"
    assert world.manager.awaited() == ""


def test_an_endpoint_update_changes_its_cluster_and_leaves_all_else_identical() -> None:
    world = complete()
    world.say(EDS, "v1", endpoints("v1", "127.0.0.1:9"))
    first, second = world.snapshots
    assert second.route_config is first.route_config
    assert second.clusters["v2"] is first.clusters["v2"]
    changed = second.clusters["v1"]
    assert isinstance(changed, ClusterConfig)
    assert changed.assignment.endpoints == (Endpoint("127.0.0.1:9"),)


def test_the_same_word_again_publishes_nothing() -> None:
    world = complete()
    for word in WORDS:
        world.say(*word)
    assert len(world.snapshots) == 1


def test_routes_to_a_cluster_not_yet_known_wait_while_the_old_ones_stay() -> None:
    world = complete()
    world.say(RDS, "routes", routes("v3"))
    assert len(world.snapshots) == 1
    assert {("CDS", "v1"), ("CDS", "v3")} <= world.driver.watched
    world.say(CDS, "v3", Cluster("v3", "v3"))
    world.say(EDS, "v3", endpoints("v3", "127.0.0.1:3"))
    assert list(world.snapshots[-1].clusters) == ["v3"]
    assert not {("CDS", "v1"), ("EDS", "v1"), ("CDS", "v2"), ("EDS", "eds-of-v2")} & world.driver.watched


def test_endpoints_of_the_old_routes_go_on_changing_while_new_routes_wait() -> None:
    world = complete()
    world.say(RDS, "routes", routes("v3"))
    world.say(EDS, "v1", endpoints("v1", "127.0.0.1:9"))
    assert world.snapshots[-1].route_config is world.snapshots[0].route_config
    changed = world.snapshots[-1].clusters["v1"]
    assert isinstance(changed, ClusterConfig)
    assert changed.assignment.endpoints == (Endpoint("127.0.0.1:9"),)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(CDS, "v1"), (EDS, "v1")],
    ids=["cluster refused or unknown", "endpoints refused or unknown"],
)
def test_a_bad_cluster_fails_alone(kind: ResourceType, name: str) -> None:
    world = World()
    for word in WORDS:
        if word[:2] != (kind, name):
            world.say(*word)
    world.say(kind, name, ResourceInvalid(kind.short_name, name, "no good"))
    (snapshot,) = world.snapshots
    failure = snapshot.clusters["v1"]
    assert isinstance(failure, ClusterFailure)
    assert "no good" in failure.reason
    assert isinstance(snapshot.clusters["v2"], ClusterConfig)


def test_a_failed_cluster_heals_when_its_resource_comes_after_all() -> None:
    world = World()
    for word in WORDS[:4]:
        world.say(*word)
    world.say(EDS, "v1", ResourceNotFound("EDS", "v1", "not there"))
    world.say(*WORDS[5])
    assert isinstance(world.snapshots[-1].clusters["v1"], ClusterFailure)
    world.say(*WORDS[4])
    assert isinstance(world.snapshots[-1].clusters["v1"], ClusterConfig)


def test_an_unknown_listener_fails_the_target_and_a_later_one_heals_it() -> None:
    world = World()
    world.say(LDS, TARGET, ResourceNotFound("LDS", TARGET, "does not exist"))
    assert len(world.failures) == 1
    assert TARGET in world.failures[0]
    assert "check the Service's name, namespace and port" in world.failures[0]
    for word in WORDS:
        world.say(*word)
    assert len(world.snapshots) == 1


def test_inline_routes_need_no_route_configuration() -> None:
    world = World()
    for word in WORDS[2:]:
        world.say(*word)
    world.say(LDS, TARGET, Listener(TARGET, route_config=routes("v1", name="inline")))
    world.say(*WORDS[2])
    assert [snapshot.route_config.name for snapshot in world.snapshots] == ["inline"]
    assert not any(kind == "RDS" for kind, _ in world.driver.watched)


def test_a_listener_that_names_other_routes_moves_over_once_they_are_there() -> None:
    world = complete()
    world.say(LDS, TARGET, listener("other"))
    assert len(world.snapshots) == 1
    world.say(RDS, "other", routes("v1", name="other"))
    assert world.snapshots[-1].route_config.name == "other"
    assert ("RDS", "routes") not in world.driver.watched


@pytest.mark.parametrize(
    "error", [ResourceInvalid("RDS", "other", "bad"), ResourceNotFound("RDS", "other", "not sent in time")]
)
def test_a_listener_that_names_routes_that_cannot_be_had_keeps_the_old_ones(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = complete()
    world.say(LDS, TARGET, listener("other"))
    for _ in range(2):
        world.say(RDS, "other", error)
    assert world.failures == []
    assert len(world.snapshots) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{TARGET}: {error}; the routes routes stay in use"
    ]
    world.say(EDS, "v1", endpoints("v1", "127.0.0.1:8"))
    changed = world.snapshots[-1]
    assert changed.route_config.name == "routes"
    assert isinstance(changed.clusters["v1"], ClusterConfig)
    assert changed.clusters["v1"].assignment.endpoints[0].address == "127.0.0.1:8"
    world.say(RDS, "other", routes("v1", name="other"))
    assert world.snapshots[-1].route_config.name == "other"


def test_routes_in_use_that_the_control_plane_wants_dropped_fail_the_target() -> None:
    world = complete()
    world.say(RDS, "routes", ResourceInvalid("RDS", "routes", "bad"))
    assert world.failures == ["RDS 'routes': bad"]


def test_first_routes_that_are_bad_fail_the_target_and_good_ones_heal_it() -> None:
    world = World()
    world.say(*WORDS[0])
    world.say(RDS, "routes", ResourceInvalid("RDS", "routes", "bad"))
    assert world.failures == ["RDS 'routes': bad"]
    for word in WORDS[1:]:
        world.say(*word)
    assert len(world.snapshots) == 1


def test_a_cluster_that_moves_to_another_assignment_keeps_the_old_endpoints_until_the_new_ones_are_there() -> (
    None
):
    world = complete()
    world.say(CDS, "v1", Cluster("v1", "moved"))
    assert len(world.snapshots) == 1
    world.say(EDS, "moved", endpoints("moved", "127.0.0.1:8"))
    changed = world.snapshots[-1].clusters["v1"]
    assert isinstance(changed, ClusterConfig)
    assert changed.assignment.name == "moved"


def test_close_unsubscribes_everything() -> None:
    world = complete()
    world.manager.close()
    assert world.driver.watched == set()


def test_routes_without_a_cluster_are_published_at_once() -> None:
    world = World()
    world.say(LDS, TARGET, listener())
    world.say(RDS, "routes", RouteConfiguration("routes"))
    (snapshot,) = world.snapshots
    assert snapshot.clusters == {}
