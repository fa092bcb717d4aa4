"""Transport sockets: which endpoints of a cluster may be reached in plain TCP, as Envoy would decide it.

Istio's automatic mutual TLS is a rule of the cluster (``tlsMode-istio`` for endpoints labelled so, plain TCP for the
rest) and a label of each endpoint whose pod has a sidecar. What Envoy would secure is never sent in clear text here;
until TLS is supported such an endpoint is left out.
"""

from __future__ import annotations

from dataclasses import replace

from ..model.cluster import Cluster, TransportSocketMatch
from ..model.endpoint import ClusterLoadAssignment, Locality
from ..model.snapshot import ClusterConfig, ClusterFailure, ClusterState

_SHOWN = 5


def plaintext(cluster: Cluster, assignment: ClusterLoadAssignment) -> ClusterState:
    """The cluster with those of its endpoints that Envoy would reach in plain TCP.

    :returns: a failure where there are endpoints and every one of them demands TLS; otherwise those left out are
        named in the notes of the assignment. A cluster without transport sockets is joined as it is.
    """
    if not cluster.transport_sockets:
        return ClusterConfig(cluster, assignment)
    labels = dict(assignment.socket_labels)
    secured: dict[str, TransportSocketMatch] = {}
    for endpoint in assignment.endpoints:
        found = socket_for(cluster.transport_sockets, labels.get(endpoint.address, ()))
        if found is not None and found.secured:
            secured[endpoint.address] = found
    if not secured:
        return ClusterConfig(cluster, assignment)
    first = next(iter(secured.values()))
    named = ", ".join(list(secured)[:_SHOWN]) + (
        f" and {len(secured) - _SHOWN} more" if len(secured) > _SHOWN else ""
    )
    demand = f"{named}: {first.secured} is demanded (transport socket match {first.name!r}) and not supported"
    if all(endpoint.address in secured for endpoint in assignment.endpoints):
        return ClusterFailure(
            f"every endpoint of {cluster.name} demands TLS, and calls are not sent in plaintext instead: {demand}; "
            "a PeerAuthentication of mode DISABLE for the server's pods, or a DestinationRule with tls mode DISABLE, "
            "makes it plaintext"
        )
    localities = tuple(_without(locality, secured) for locality in assignment.localities)
    note = f"{cluster.name}: {len(secured)} endpoints are left out: {demand}"
    return ClusterConfig(cluster, replace(assignment, localities=localities, notes=(*assignment.notes, note)))


def socket_for(
    sockets: tuple[TransportSocketMatch, ...], labels: tuple[tuple[str, str], ...]
) -> TransportSocketMatch | None:
    """The first that means an endpoint with these labels; ``None``: none does, which is plain TCP."""
    held = set(labels)
    return next((socket for socket in sockets if held.issuperset(socket.labels)), None)


def _without(locality: Locality, secured: dict[str, TransportSocketMatch]) -> Locality:
    kept = tuple(endpoint for endpoint in locality.endpoints if endpoint.address not in secured)
    return locality._replace(endpoints=kept)
