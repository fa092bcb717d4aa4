"""Cluster (CDS)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from ..frozen import frozen
from .thrift_form import NOT_SAID, ThriftForm


class LbPolicy(Enum):
    """Endpoint picking policies that are understood."""

    ROUND_ROBIN = "round_robin"
    RANDOM = "random"


DEFAULT_MAX_REQUESTS = 1024


@frozen
class TransportSocketMatch:
    """Which endpoints of a cluster are reached by which transport socket (Envoy's ``transport_socket_matches``).

    :param labels: an endpoint that has all of them is meant; empty: every endpoint.
    :param secured: the type of a transport socket that is more than plain TCP; empty: plain TCP.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    secured: str = ""


@frozen
class Cluster:
    """A named set of endpoints and how to choose among them.

    :param name: Istio's form is ``outbound|PORT|SUBSET|HOST``.
    :param eds_service_name: the EDS resource; the cluster's own name where CDS gives none.
    :param lb_policy: a policy that is not implemented arrives as ROUND_ROBIN with a note.
    :param max_requests: concurrent calls (gRFC A32; default 1024).
    :param transport_sockets: the first that means an endpoint decides; none does: plain TCP. Only a sidecar's
        clusters have them.
    :param thrift_form: of Thrift messages to its endpoints, as far as CDS says it.
    """

    name: str
    eds_service_name: str
    lb_policy: LbPolicy = LbPolicy.ROUND_ROBIN
    max_requests: int = DEFAULT_MAX_REQUESTS
    notes: tuple[str, ...] = field(default=(), compare=False)
    transport_sockets: tuple[TransportSocketMatch, ...] = ()
    thrift_form: ThriftForm = NOT_SAID
