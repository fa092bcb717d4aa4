"""ClusterLoadAssignment: one row per rule of gRFC A27 and the Envoy API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from envoy.config.core.v3 import address_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from hypothesis import given
from hypothesis import strategies as st

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from pyrpc_xds.xds.decode.endpoint import (
    FollowingAssignments,
    decode_cluster_load_assignment,
    decode_sidecar_assignment,
)
from tests.unit.xds.build import assignment, lb_endpoint, locality

MAX = 2**32 - 1


def decoded(*localities: Any) -> ClusterLoadAssignment:
    return decode_cluster_load_assignment(assignment("c", localities).SerializeToString())


def addresses(*endpoints: Any) -> list[str]:
    return [endpoint.address for endpoint in decoded(locality(endpoints)).endpoints]


def weighted(host: str, weight: int) -> Any:
    result = lb_endpoint(host)
    result.load_balancing_weight.value = weight
    return result


def with_address(**address: Any) -> Any:
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(**address))
    )


def socket_address(**fields: Any) -> Any:
    return with_address(socket_address=address_pb2.SocketAddress(**fields))


def test_assignment_keeps_locality_priority_weights_and_address() -> None:
    group = locality([weighted("10.0.0.1", 3), lb_endpoint("10.0.0.2", 81)], zone="a", weight=7)
    group.locality.region, group.locality.sub_zone = "r", "s"
    assert decoded(group) == ClusterLoadAssignment(
        "c", (Locality("r/a/s", 7, 0, (Endpoint("10.0.0.1:80", 3), Endpoint("10.0.0.2:81", 1))),)
    )


def test_endpoint_is_a_real_endpoint_and_not_just_a_tuple() -> None:
    (endpoint,) = decoded(locality()).endpoints
    assert type(endpoint) is Endpoint
    assert (endpoint.address, endpoint.weight) == ("10.0.0.1:80", 1)


def test_empty_assignment_is_valid() -> None:
    assert decoded() == ClusterLoadAssignment("c")


@pytest.mark.parametrize(
    ("status", "usable"),
    [("UNKNOWN", True), ("HEALTHY", True)]
    + [(name, False) for name in ("UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED")],
)
def test_endpoint_is_used_only_when_healthy_or_unknown(status: str, usable: bool) -> None:
    number = health_check_pb2.HealthStatus.Value(status)
    assert addresses(lb_endpoint(health_status=number)) == (["10.0.0.1:80"] if usable else [])


def test_endpoint_of_a_health_status_yet_to_be_invented_is_not_used() -> None:
    assert addresses(lb_endpoint(health_status=99)) == []


def test_locality_with_unhealthy_endpoints_only_is_kept_empty() -> None:
    (group,) = decoded(locality([lb_endpoint(health_status="DRAINING")])).localities
    assert group.endpoints == ()


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (lb_endpoint("127.0.0.1", 1), "127.0.0.1:1"),
        (lb_endpoint("10.0.0.1", 65535), "10.0.0.1:65535"),
        (lb_endpoint("::1", 80), "[::1]:80"),
        (lb_endpoint("fd00::1:2", 80), "[fd00::1:2]:80"),
        (with_address(pipe=address_pb2.Pipe(path="/run/x")), "unix:/run/x"),
    ],
)
def test_address_forms(endpoint: Any, address: str) -> None:
    assert addresses(endpoint) == [address]


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (lb_endpoint("example.org"), "'example.org' is not an IP address"),
        (lb_endpoint("10.0.0.256"), "is not an IP address"),
        (lb_endpoint("10.1"), "is not an IP address"),
        (lb_endpoint("10.0.0.1\0"), "is not an IP address"),
        (lb_endpoint("fe80::1%eth0"), "is not an IP address"),
        (lb_endpoint(""), "is not an IP address"),
        (lb_endpoint("10.0.0.1", 0), "port_value 0"),
        (lb_endpoint("10.0.0.1", 65536), "port_value 65536"),
        (lb_endpoint("::1", 70000), "port_value 70000"),
        (socket_address(address="10.0.0.1", named_port="http"), "no port_value"),
        (socket_address(address="10.0.0.1"), "no port_value"),
        (socket_address(address="10.0.0.1", port_value=80, protocol="UDP"), "protocol is not TCP"),
        (with_address(pipe=address_pb2.Pipe()), "pipe.path is empty"),
        (
            with_address(
                envoy_internal_address=address_pb2.EnvoyInternalAddress(
                    server_listener_name="connect_originate"
                )
            ),
            "envoy_internal_address is not supported",
        ),
        (with_address(), "address missing"),
        (endpoint_components_pb2.LbEndpoint(), "no endpoint"),
        (endpoint_components_pb2.LbEndpoint(endpoint_name="leds"), "endpoint_name is not supported"),
        (weighted("10.0.0.1", 0), "load_balancing_weight is 0"),
    ],
)
def test_bad_endpoint_refuses_the_resource_and_says_which_one(endpoint: Any, reason: str) -> None:
    group = locality([lb_endpoint("10.9.9.9"), endpoint])
    with pytest.raises(ResourceInvalid) as caught:
        decoded(group)
    assert caught.value.name == "c"
    assert reason in caught.value.reason
    assert "endpoints[0] '/z/': lb_endpoints[1]: " in caught.value.reason


def test_bad_endpoint_is_refused_although_it_is_not_healthy() -> None:
    with pytest.raises(ResourceInvalid, match="not an IP"):
        addresses(lb_endpoint("nowhere", health_status="UNHEALTHY"))


@pytest.mark.parametrize("weight", [None, 0])
def test_locality_without_weight_is_left_out(weight: int | None) -> None:
    kept = locality(zone="kept")
    (group,) = decoded(locality(zone="gone", weight=weight), kept).localities
    assert group.name == "/kept/"


def test_address_that_comes_twice_in_a_priority_is_one_endpoint() -> None:
    first = locality([weighted("10.0.0.1", 5), lb_endpoint("10.0.0.2"), lb_endpoint("10.0.0.1")], zone="a")
    second = locality([lb_endpoint("10.0.0.2"), lb_endpoint("10.0.0.3")], zone="b")
    one, two = decoded(first, second).localities
    assert one.endpoints == (Endpoint("10.0.0.1:80", 5), Endpoint("10.0.0.2:80", 1))
    assert two.endpoints == (Endpoint("10.0.0.3:80", 1),)


def test_address_may_come_again_in_another_priority() -> None:
    one, two = decoded(locality(), locality(priority=1)).localities
    assert one.endpoints == two.endpoints


def many(build: Callable[[int], Any], count: int) -> list[Any]:
    return [build(number) for number in range(count)]


@pytest.mark.parametrize(
    ("localities", "reason"),
    [
        ([locality(priority=1)], "priority 0 is missing below 1"),
        ([locality(), locality(zone="y", priority=2)], "priority 1 is missing below 2"),
        ([locality(weight=0), locality(zone="y", priority=1)], "priority 0 is missing below 1"),
        ([locality(), locality()], "the locality is repeated in priority 0"),
        ([locality(weight=MAX), locality(zone="y")], f"add up to {MAX + 1}"),
        ([locality([weighted("10.0.0.1", MAX), weighted("10.0.0.2", 1)])], f"add up to {MAX + 1}"),
    ],
)
def test_bad_localities_refuse_the_resource(localities: list[Any], reason: str) -> None:
    with pytest.raises(ResourceInvalid) as caught:
        decoded(*localities)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "localities",
    [
        [locality(priority=1, zone="y"), locality()],
        [locality(), locality(priority=1)],
        [locality(weight=MAX), locality(weight=MAX, priority=1)],
        [locality([weighted("10.0.0.1", MAX - 1), weighted("10.0.0.2", 1)])],
    ],
)
def test_limits_that_are_just_met_are_accepted(localities: list[Any]) -> None:
    assert len(decoded(*localities).localities) == len(localities)


def test_endpoints_come_in_the_order_of_their_priority() -> None:
    groups = [locality([lb_endpoint(f"10.0.0.{number}")], priority=number) for number in (2, 0, 1)]
    assert [endpoint.address for endpoint in decoded(*groups).endpoints] == [
        f"10.0.0.{number}:80" for number in range(3)
    ]


def test_drop_overloads_is_noted() -> None:
    message = assignment("c")
    message.policy.drop_overloads.add(category="shed")
    assert "drop_overloads" in decode_cluster_load_assignment(message.SerializeToString()).notes[0]


def test_leds_collection_is_refused() -> None:
    group = locality([])
    group.leds_cluster_locality_config.leds_collection_name = "x"
    with pytest.raises(ResourceInvalid, match="leds_cluster_locality_config"):
        decoded(group)


# ---- of a sidecar


def labelled(message: Any, **labels: str) -> Any:
    message.metadata.filter_metadata["envoy.transport_socket_match"].update(labels)
    return message


def test_labels_for_transport_sockets_are_read_for_a_sidecar_only() -> None:
    message = assignment(
        "c",
        [
            locality([labelled(lb_endpoint("10.0.0.1"), tlsMode="istio", a="b"), lb_endpoint("10.0.0.2")]),
            labelled(locality([lb_endpoint("fd00::1")], zone="y"), tlsMode="istio"),
            labelled(locality([lb_endpoint("10.0.0.4")], zone="x", weight=None), tlsMode="istio"),
        ],
    )
    message.endpoints[0].lb_endpoints[1].metadata.filter_metadata["istio"].update({"workload": "w"})
    raw = message.SerializeToString()
    assert decode_cluster_load_assignment(raw).socket_labels == ()
    found = decode_sidecar_assignment(raw)
    assert found.localities == decode_cluster_load_assignment(raw).localities
    assert found.socket_labels == (
        ("10.0.0.1:80", (("a", "b"), ("tlsMode", "istio"))),
        ("[fd00::1]:80", (("tlsMode", "istio"),)),
    )


def test_address_named_twice_has_the_labels_of_the_one_that_has_some() -> None:
    message = assignment(
        "c",
        [
            locality([lb_endpoint("10.0.0.1")]),
            locality([labelled(lb_endpoint("10.0.0.1"), tlsMode="istio")], priority=1),
        ],
    )
    found = decode_sidecar_assignment(message.SerializeToString())
    assert found.socket_labels == (("10.0.0.1:80", (("tlsMode", "istio"),)),)


# -- one version after another


HOSTS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.sampled_from([0, 1, 2, 3])), max_size=8
).map(tuple)


def version(groups: list[tuple[tuple[int, int, int], ...]]) -> bytes:
    localities = []
    for number, hosts in enumerate(groups):
        entries = []
        for host, weight, health in hosts:
            entry = weighted(f"10.0.0.{host}", weight)
            entry.health_status = health
            entries.append(entry)
        localities.append(locality(entries, zone=str(number)))
    return bytes(assignment("c", localities).SerializeToString())


@given(versions=st.lists(st.lists(HOSTS, max_size=3), min_size=1, max_size=6))
def test_following_versions_are_decoded_as_each_alone(versions: list[Any]) -> None:
    follow = FollowingAssignments()
    for each in versions:
        raw = version(each)
        assert follow(raw) == decode_cluster_load_assignment(raw)


def test_following_version_keeps_what_has_not_changed() -> None:
    follow = FollowingAssignments()
    hosts = [(host, 1, 1) for host in range(1, 101)]
    first = follow(version([tuple(hosts)])).localities[0].endpoints
    hosts[40] = (41, 2, 1)
    second = follow(version([tuple(hosts)])).localities[0].endpoints
    assert second[40] == ("10.0.0.41:80", 2)
    assert all(new is old for new, old in zip(second, first, strict=True) if new.address != "10.0.0.41:80")
    moved = follow(version([tuple(reversed(hosts))])).localities[0].endpoints
    assert set(map(id, moved)) == set(map(id, second))


def test_following_version_that_is_refused_is_refused_as_alone_and_forgotten() -> None:
    follow = FollowingAssignments()
    good = version([((1, 1, 1), (2, 1, 1))])
    follow(good)
    bad = assignment("c", [locality([lb_endpoint("10.0.0.1"), lb_endpoint("not an address")])])
    refused = []
    for decode in (follow, decode_cluster_load_assignment):
        with pytest.raises(ResourceInvalid) as caught:
            decode(bad.SerializeToString())
        refused.append(str(caught.value))
    assert refused[0] == refused[1]
    assert "lb_endpoints[1]" in refused[0]
    with pytest.raises(ResourceInvalid):
        follow(good[:-1])
    assert follow(good) == decode_cluster_load_assignment(good)


def test_weights_of_a_following_version_are_added_up_again() -> None:
    follow = FollowingAssignments()
    follow(version([((1, 1, 1), (2, 1, 2))]))
    too_much = version([((1, MAX, 1), (2, 1, 2))])
    with pytest.raises(ResourceInvalid, match="add up"):
        follow(too_much)
