"""Transport sockets: who is reached in plain TCP. The table is Envoy's; what it would secure is never plaintext."""

from __future__ import annotations

import pytest

from pyrpc_xds.model.cluster import Cluster, TransportSocketMatch
from pyrpc_xds.model.endpoint import ClusterLoadAssignment, Endpoint, Locality
from pyrpc_xds.model.snapshot import ClusterConfig, ClusterFailure
from pyrpc_xds.xds.transport_socket import plaintext

ISTIO = (("tlsMode", "istio"),)
MUTUAL = TransportSocketMatch("tlsMode-istio", ISTIO, "UpstreamTlsContext")
PLAIN = TransportSocketMatch("tlsMode-disabled")
ALWAYS = TransportSocketMatch("transport_socket", (), "UpstreamTlsContext")
A, B = "10.0.0.1:1", "10.0.0.2:1"


def joined(*sockets: TransportSocketMatch, **labels: tuple[tuple[str, str], ...]) -> list[str] | str:
    """The addresses that are left of A and B, or why the cluster cannot be used."""
    named = {"a": A, "b": B}
    assignment = ClusterLoadAssignment(
        "c",
        (Locality("l", 1, 0, (Endpoint(A),)), Locality("m", 1, 0, (Endpoint(B),))),
        socket_labels=tuple((named[key], value) for key, value in labels.items()),
    )
    state = plaintext(Cluster("c", "c", transport_sockets=sockets), assignment)
    if isinstance(state, ClusterFailure):
        return state.reason
    return [endpoint.address for endpoint in state.assignment.endpoints]


@pytest.mark.parametrize(
    ("sockets", "labels", "left"),
    [
        ((), {}, [A, B]),
        ((), {"a": ISTIO}, [A, B]),
        ((MUTUAL, PLAIN), {}, [A, B]),
        ((MUTUAL, PLAIN), {"a": ISTIO}, [B]),
        ((MUTUAL, PLAIN), {"a": (("other", "x"), *ISTIO)}, [B]),
        ((MUTUAL, PLAIN), {"a": (("tlsMode", "disabled"),)}, [A, B]),
        ((PLAIN, MUTUAL), {"a": ISTIO, "b": ISTIO}, [A, B]),
        ((MUTUAL, ALWAYS), {}, None),
        ((MUTUAL, PLAIN, ALWAYS), {"b": ISTIO}, [A]),
        ((MUTUAL, PLAIN), {"a": ISTIO, "b": ISTIO}, None),
        ((ALWAYS,), {}, None),
    ],
)
def test_first_match_of_an_endpoint_decides(
    sockets: tuple[TransportSocketMatch, ...],
    labels: dict[str, tuple[tuple[str, str], ...]],
    left: list[str] | None,
) -> None:
    found = joined(*sockets, **labels)
    if left is None:
        assert isinstance(found, str)
        assert "demands TLS, and calls are not sent in plaintext instead" in found
        assert A in found
    else:
        assert found == left


def test_endpoints_left_out_are_noted() -> None:
    assignment = ClusterLoadAssignment(
        "c", (Locality("l", 1, 0, (Endpoint(A), Endpoint(B))),), socket_labels=((A, ISTIO),)
    )
    state = plaintext(Cluster("c", "c", transport_sockets=(MUTUAL, PLAIN)), assignment)
    assert isinstance(state, ClusterConfig)
    (note,) = state.assignment.notes
    assert "1 endpoints are left out" in note
    assert A in note


def test_cluster_without_endpoints_is_not_called_secured() -> None:
    state = plaintext(Cluster("c", "c", transport_sockets=(ALWAYS,)), ClusterLoadAssignment("c"))
    assert isinstance(state, ClusterConfig)
