"""Live clusters and endpoints: picking, health by use, and when connections are given up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from pyrpc_xds._picker import Rng
from pyrpc_xds.balancing.cluster import LiveCluster, LiveClusters
from pyrpc_xds.balancing.endpoint import FIRST_PENALTY, MAX_PENALTY, LiveEndpoint
from pyrpc_xds.errors import Unavailable
from pyrpc_xds.model.cluster import Cluster, LbPolicy
from pyrpc_xds.model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from pyrpc_xds.model.snapshot import ClusterConfig, ClusterFailure
from pyrpc_xds.model.thrift_form import ThriftForm


class Connection:
    def __init__(self, address: str) -> None:
        self.address = address
        self.events: list[str] = []

    def drain(self) -> None:
        self.events.append("drained")

    def close(self) -> None:
        self.events.append("closed")


class World:
    """LiveClusters on a fake clock, with the connections that were made."""

    key = ("test",)

    def __init__(self) -> None:
        self.now = 100.0
        self.made: dict[str, Connection] = {}
        self.clusters = LiveClusters(self, lambda: self.now, Rng(7), self.retire)

    def connect(self, address: str) -> Connection:
        assert address not in self.made, "one connection per address"
        self.made[address] = Connection(address)
        return self.made[address]

    def retire(self, endpoints: list[LiveEndpoint]) -> None:
        for endpoint in endpoints:
            endpoint.release(drain=True)

    def cluster(self, name: str, *addresses: str) -> LiveCluster:
        cluster = self.clusters.acquire(name)
        self.clusters.apply(name, state(name, *addresses))
        return cluster


def state(name: str, *addresses: str, policy: LbPolicy = LbPolicy.ROUND_ROBIN) -> ClusterConfig:
    localities = (Locality("", 1, 0, tuple(Endpoint(a) for a in addresses)),) if addresses else ()
    return ClusterConfig(Cluster(name, name, policy), ClusterLoadAssignment(name, localities))


def picked(cluster: LiveCluster, count: int, tried: Any = None) -> Counter[str]:
    return Counter(cluster.pick(tried).address for _ in range(count))


def test_round_robin_is_even() -> None:
    cluster = World().cluster("c", "a:1", "b:1", "c:1")
    assert picked(cluster, 300) == {"a:1": 100, "b:1": 100, "c:1": 100}


def test_random_reaches_every_endpoint() -> None:
    world = World()
    cluster = world.clusters.acquire("c")
    world.clusters.apply("c", state("c", "a:1", "b:1", policy=LbPolicy.RANDOM))
    assert set(picked(cluster, 200)) == {"a:1", "b:1"}
    assert picked(cluster, 10_000)["a:1"] == pytest.approx(5000, abs=300)


def test_only_the_most_preferred_priority_is_picked() -> None:
    world = World()
    cluster = world.clusters.acquire("c")
    localities = (
        Locality("far", 1, 1, (Endpoint("far:1"),)),
        Locality("near-empty", 1, 0, ()),
        Locality("near", 1, 0, (Endpoint("near:1"),)),
    )
    world.clusters.apply("c", ClusterConfig(Cluster("c", "c"), ClusterLoadAssignment("c", localities)))
    assert set(picked(cluster, 20)) == {"near:1"}


def test_localities_of_one_priority_share_by_weight() -> None:
    world = World()
    cluster = world.clusters.acquire("c")
    localities = (Locality("x", 3, 0, (Endpoint("x:1"),)), Locality("y", 1, 0, (Endpoint("y:1"),)))
    world.clusters.apply("c", ClusterConfig(Cluster("c", "c"), ClusterLoadAssignment("c", localities)))
    assert picked(cluster, 10_000)["x:1"] == pytest.approx(7500, abs=250)


def test_a_failed_endpoint_is_passed_over_until_its_penalty_ends() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    world.clusters.endpoints["a:1"].failed()
    assert picked(cluster, 10) == {"b:1": 10}
    world.now += FIRST_PENALTY
    assert set(picked(cluster, 10)) == {"a:1", "b:1"}


def test_penalties_double_to_their_maximum_and_success_forgets_them() -> None:
    world = World()
    endpoint = world.clusters.endpoints["a:1"]
    penalties = []
    for _ in range(8):
        endpoint.failed()
        penalties.append(endpoint.penalized_until - world.now)
        world.now = endpoint.penalized_until
    assert penalties == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_PENALTY, MAX_PENALTY, MAX_PENALTY]
    endpoint.succeeded()
    assert endpoint.penalized_until == 0.0


def test_one_outage_seen_by_many_calls_is_one_failure() -> None:
    world = World()
    endpoint = world.clusters.endpoints["a:1"]
    for _ in range(64):
        endpoint.failed()
    assert endpoint.penalized_until - world.now == FIRST_PENALTY


def test_targets_that_share_a_cluster_do_not_rebuild_its_picker() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    known = cluster.state
    assert isinstance(known, ClusterConfig)
    first = cluster.pick().address
    world.clusters.apply("c", ClusterConfig(known.cluster, known.assignment))
    assert cluster.state is known
    assert cluster.pick().address != first


def test_where_all_endpoints_failed_the_one_due_first_is_used_rather_than_none() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    world.clusters.endpoints["a:1"].failed()
    world.now += 0.5
    world.clusters.endpoints["b:1"].failed()
    assert picked(cluster, 10) == {"a:1": 10}


def test_a_tried_endpoint_is_avoided_where_there_is_another() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    tried = world.clusters.endpoints["a:1"]
    assert picked(cluster, 10, tried) == {"b:1": 10}
    alone = world.cluster("alone", "a:1")
    assert picked(alone, 3, tried) == {"a:1": 3}


def test_a_tried_endpoint_is_avoided_even_for_one_under_penalty() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    world.clusters.endpoints["b:1"].failed()
    assert picked(cluster, 10, world.clusters.endpoints["a:1"]) == {"b:1": 10}


def test_no_endpoints_is_unavailable_and_says_what_to_look_at() -> None:
    cluster = World().cluster("outbound|9090|v3|greeter")
    with pytest.raises(Unavailable, match=r"outbound\|9090\|v3\|greeter has no usable endpoints.*subset"):
        cluster.pick()


def test_a_cluster_that_failed_says_why() -> None:
    world = World()
    cluster = world.clusters.acquire("c")
    world.clusters.apply("c", ClusterFailure("CDS 'c': TLS is not supported"))
    with pytest.raises(Unavailable, match="cluster c cannot be used: CDS 'c': TLS is not supported"):
        cluster.pick()


def test_endpoints_that_no_call_used_have_no_connection() -> None:
    world = World()
    cluster = world.cluster("c", *(f"e{index}:1" for index in range(1000)))
    cluster.pick().connection  # noqa: B018
    assert len(world.made) == 1
    assert len(world.clusters.endpoints) == 1


def test_an_endpoint_that_leaves_is_drained_and_one_that_stays_keeps_its_connection() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    for _ in range(2):
        cluster.pick().connection  # noqa: B018
    world.clusters.apply("c", state("c", "b:1", "d:1"))
    assert world.made["a:1"].events == ["drained"]
    assert world.made["b:1"].events == []
    assert "a:1" not in picked(cluster, 20)


def test_an_endpoint_that_another_cluster_names_is_not_drained() -> None:
    world = World()
    whole, subset = world.cluster("whole", "a:1", "b:1"), world.cluster("subset", "a:1")
    for _ in range(2):
        whole.pick().connection  # noqa: B018
    assert subset.pick().connection is world.made["a:1"]
    world.clusters.apply("whole", state("whole", "b:1"))
    assert world.made["a:1"].events == []
    world.clusters.release("subset")
    assert world.made["a:1"].events == ["drained"]


def test_a_cluster_goes_with_its_last_user() -> None:
    world = World()
    cluster = world.cluster("c", "a:1")
    assert world.clusters.acquire("c") is cluster
    cluster.pick().connection  # noqa: B018
    world.clusters.release("c")
    assert world.made["a:1"].events == []
    world.clusters.release("c")
    assert world.made["a:1"].events == ["drained"]


def test_a_late_call_on_a_removed_cluster_still_gets_its_endpoint_which_goes_with_the_next_change() -> None:
    world = World()
    cluster = world.cluster("c", "a:1")
    world.clusters.release("c")
    late = cluster.pick()
    assert late.connection is world.made["a:1"]
    world.cluster("other", "b:1")
    assert world.made["a:1"].events == ["drained"]
    assert "a:1" not in world.clusters.endpoints


def test_close_closes_every_connection() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    for _ in range(2):
        cluster.pick().connection  # noqa: B018
    world.clusters.close()
    assert [connection.events for connection in world.made.values()] == [["closed"], ["closed"]]


def test_thrift_forms_follow_what_the_cluster_and_its_endpoints_say() -> None:
    world = World()
    cluster = world.cluster("c", "a:1", "b:1")
    assert cluster.thrift_forms is None
    silent = state("c", "a:1", "b:1")
    world.clusters.apply(
        "c", replace(silent, cluster=replace(silent.cluster, thrift_form=ThriftForm("framed")))
    )
    assert cluster.thrift_forms is not None and cluster.thrift_forms["a:1"] == ("framed", "")
    said = (("b:1", ThriftForm("ttheader")),)
    world.clusters.apply("c", replace(silent, assignment=replace(silent.assignment, thrift_forms=said)))
    assert cluster.thrift_forms["a:1"] == ("", "") and cluster.thrift_forms["b:1"] == ("ttheader", "")
    world.clusters.apply("c", state("c", "a:1", "b:1"))
    assert cluster.thrift_forms is None
