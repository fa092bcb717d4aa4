"""Cluster: one row per rule of gRFC A27, A29, A32 and A52."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.extensions.load_balancing_policies.subset.v3 import subset_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from pyrpc_xds.errors import ResourceInvalid
from pyrpc_xds.model.cluster import Cluster, LbPolicy, TransportSocketMatch
from pyrpc_xds.xds.decode.cluster import decode_cluster, decode_sidecar_cluster
from tests.unit.xds.build import ADS, cluster

Proto = cluster_pb2.Cluster


def decoded(message: Any) -> Cluster:
    return decode_cluster(message.SerializeToString())


def eds(**fields: Any) -> Any:
    fields.setdefault("eds_config", ADS)
    return Proto.EdsClusterConfig(**fields)


def socket(config: Any, name: str = "envoy.transport_sockets.tls") -> Any:
    result = base_pb2.TransportSocket(name=name)
    result.typed_config.Pack(config)
    return result


def policies(*configs: Any) -> Any:
    result = cluster_pb2.LoadBalancingPolicy()
    for config in configs:
        result.policies.add().typed_extension_config.typed_config.Pack(config)
    return result


def breakers(*thresholds: dict[str, Any]) -> Any:
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[circuit_breaker_pb2.CircuitBreakers.Thresholds(**fields) for fields in thresholds]
    )


def test_cluster_as_istio_sends_it() -> None:
    name = "outbound|9090|v1|greeter.default.svc.cluster.local"
    message = cluster(name, eds_cluster_config=eds(service_name=name), lb_policy="LEAST_REQUEST")
    assert decoded(message) == Cluster(name, name, LbPolicy.ROUND_ROBIN, 1024)


def test_eds_name_is_the_clusters_own_where_none_is_given() -> None:
    assert decoded(cluster("c")).eds_service_name == "c"


def test_eds_name_may_differ() -> None:
    assert decoded(cluster("c", eds_cluster_config=eds(service_name="e"))).eds_service_name == "e"


def test_self_config_source_is_as_good_as_ads() -> None:
    source = config_source_pb2.ConfigSource(self={})
    assert decoded(cluster(eds_cluster_config=eds(eds_config=source))).name == "c"


@pytest.mark.parametrize(
    ("policy", "expected", "note"),
    [
        ("ROUND_ROBIN", LbPolicy.ROUND_ROBIN, ""),
        ("RANDOM", LbPolicy.RANDOM, ""),
        ("LEAST_REQUEST", LbPolicy.ROUND_ROBIN, "LEAST_REQUEST"),
        ("RING_HASH", LbPolicy.ROUND_ROBIN, "RING_HASH"),
        ("MAGLEV", LbPolicy.ROUND_ROBIN, "MAGLEV"),
    ],
)
def test_lb_policy(policy: str, expected: LbPolicy, note: str) -> None:
    result = decoded(cluster(lb_policy=policy))
    assert result.lb_policy is expected
    assert note in "".join(result.notes)
    assert bool(result.notes) is bool(note)


@pytest.mark.parametrize(
    ("configs", "expected", "note"),
    [
        ([round_robin_pb2.RoundRobin()], LbPolicy.ROUND_ROBIN, ""),
        ([random_pb2.Random()], LbPolicy.RANDOM, ""),
        ([least_request_pb2.LeastRequest()], LbPolicy.ROUND_ROBIN, "LeastRequest"),
        ([subset_pb2.Subset(), random_pb2.Random()], LbPolicy.RANDOM, ""),
    ],
)
def test_load_balancing_policy_takes_the_first_that_is_known(
    configs: list[Any], expected: LbPolicy, note: str
) -> None:
    result = decoded(cluster(load_balancing_policy=policies(*configs), lb_policy="CLUSTER_PROVIDED"))
    assert result.lb_policy is expected
    assert note in "".join(result.notes)


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ([], 1024),
        ([{}], 1024),
        ([{"max_requests": {"value": 7}}], 7),
        ([{"max_requests": {"value": 0}}], 0),
        ([{"priority": "HIGH", "max_requests": {"value": 7}}], 1024),
        ([{"priority": "HIGH", "max_requests": {"value": 7}}, {"max_requests": {"value": 8}}], 8),
        ([{"max_connections": {"value": 3}}], 1024),
    ],
)
def test_max_requests_is_that_of_the_default_priority(thresholds: list[Any], expected: int) -> None:
    assert decoded(cluster(circuit_breakers=breakers(*thresholds))).max_requests == expected


@pytest.mark.parametrize("kind", ["STATIC", "STRICT_DNS", "LOGICAL_DNS", "ORIGINAL_DST"])
def test_other_cluster_type_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ResourceInvalid, match=f"type {kind} is not supported"):
        decoded(cluster(type=kind))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Proto(name="c"), "type STATIC"),
        (
            Proto(name="c", cluster_type=Proto.CustomClusterType(name="envoy.clusters.aggregate")),
            "cluster_type 'envoy.clusters.aggregate'",
        ),
        (Proto(name="c", type=77), "type 77"),
        (Proto(name="c", type=Proto.EDS), "eds_cluster_config is missing"),
        (cluster(eds_cluster_config=eds(eds_config=None)), "config source missing"),
        (
            cluster(eds_cluster_config=eds(eds_config=config_source_pb2.ConfigSource(path="/x"))),
            "config source path",
        ),
        (cluster(lb_policy="CLUSTER_PROVIDED"), "lb_policy CLUSTER_PROVIDED"),
        (cluster(lb_policy=77), "lb_policy 77"),
        (cluster(load_balancing_policy=policies()), "none of []"),
        (
            cluster(load_balancing_policy=policies(subset_pb2.Subset())),
            "none of ['envoy.extensions.load_balancing_policies.subset.v3.Subset']",
        ),
        (cluster(transport_socket=socket(tls_pb2.UpstreamTlsContext())), "demands UpstreamTlsContext"),
        (cluster(transport_socket=base_pb2.TransportSocket(name="x")), "demands a secured transport"),
        (
            cluster(
                transport_socket_matches=[
                    Proto.TransportSocketMatch(
                        name="tlsMode-istio", transport_socket=socket(tls_pb2.UpstreamTlsContext())
                    )
                ]
            ),
            "transport_socket_matches[0]",
        ),
    ],
)
def test_cluster_that_breaks_a_rule_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(ResourceInvalid) as caught:
        decoded(message)
    assert caught.value.name == "c"
    assert reason in caught.value.reason


def test_tls_is_refused_in_words_that_say_nothing_goes_in_plaintext() -> None:
    with pytest.raises(ResourceInvalid, match="this version is not used"):
        decoded(cluster(transport_socket=socket(tls_pb2.UpstreamTlsContext())))


def test_raw_buffer_is_plaintext_by_its_own_word() -> None:
    raw = socket(raw_buffer_pb2.RawBuffer(), "envoy.transport_sockets.raw_buffer")
    matches = [Proto.TransportSocketMatch(name="disabled", transport_socket=raw)]
    assert decoded(cluster(transport_socket=raw, transport_socket_matches=matches)).name == "c"


def test_what_is_not_applied_is_noted() -> None:
    message = cluster(outlier_detection=outlier_detection_pb2.OutlierDetection())
    message.lb_subset_config.fallback_policy = 1
    assert decoded(message).notes == ("outlier_detection is not applied", "lb_subset_config is not applied")


def test_notes_are_no_part_of_what_a_cluster_is() -> None:
    assert decoded(cluster(lb_policy="RING_HASH")) == decoded(cluster(lb_policy="MAGLEV"))


def test_cluster_without_a_name_is_refused_without_one() -> None:
    with pytest.raises(ResourceInvalid) as caught:
        decoded(cluster(""))
    assert caught.value.name == ""


# ---- of a sidecar


def sidecar(message: Any) -> Cluster:
    return decode_sidecar_cluster(message.SerializeToString())


def matched(message: Any, config: Any, **labels: str) -> Any:
    entry = message.transport_socket_matches.add(name="m", transport_socket=socket(config))
    entry.match.update(labels)
    return message


def test_automatic_mutual_tls_of_a_sidecars_cluster_is_kept_in_order() -> None:
    message = matched(cluster(), tls_pb2.UpstreamTlsContext(), tlsMode="istio", a="b")
    matched(message, raw_buffer_pb2.RawBuffer())
    assert sidecar(message).transport_sockets == (
        TransportSocketMatch("m", (("a", "b"), ("tlsMode", "istio")), "UpstreamTlsContext"),
        TransportSocketMatch("m"),
    )


def test_transport_socket_of_a_sidecars_cluster_is_for_whom_no_match_is() -> None:
    plain, secured = cluster(transport_socket=socket(raw_buffer_pb2.RawBuffer())), cluster()
    secured.transport_socket.CopyFrom(socket(tls_pb2.UpstreamTlsContext()))
    assert sidecar(plain).transport_sockets == ()
    assert sidecar(secured).transport_sockets == (
        TransportSocketMatch("transport_socket", (), "UpstreamTlsContext"),
    )


def test_transport_socket_of_an_unknown_kind_is_not_plaintext() -> None:
    unknown = base_pb2.TransportSocket(name="envoy.transport_sockets.x")
    (found,) = sidecar(cluster(transport_socket=unknown)).transport_sockets
    assert found.secured == "envoy.transport_sockets.x"


def test_transport_socket_match_that_cannot_be_compared_is_refused() -> None:
    message = matched(cluster(), raw_buffer_pb2.RawBuffer())
    message.transport_socket_matches[0].match.update({"a": True})
    with pytest.raises(ResourceInvalid, match="match 'a' is not a string"):
        sidecar(message)


def test_headless_service_of_a_sidecar_has_the_endpoints_of_its_own_name() -> None:
    name = "outbound|80||headless.default.svc.cluster.local"
    message = cluster_pb2.Cluster(name=name, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED")
    found = sidecar(message)
    assert (found.eds_service_name, found.lb_policy) == (name, LbPolicy.ROUND_ROBIN)
    assert "headless" in found.notes[0]


@pytest.mark.parametrize("name", ["PassthroughCluster", "inbound|80||x"])
def test_other_clusters_by_destination_are_refused(name: str) -> None:
    with pytest.raises(ResourceInvalid, match="ORIGINAL_DST is not supported"):
        sidecar(cluster_pb2.Cluster(name=name, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED"))
