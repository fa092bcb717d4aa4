"""Applying an EDS push of 10,000 endpoints: from the bytes of the response to the first pick among them.

The rival, the least that any Python client must do, parses the response, reads address, port and health of
every endpoint, and keeps nothing. Ours runs everything that the client runs for an update, on one thread and
without a socket: session, decoding, dependencies, compiled snapshot, picker, and the ACK.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from .rounds import Rival, compare

ENDPOINTS = 10_000
HOST = "greeter.default.svc.cluster.local:9090"
CLUSTER = "outbound|9090||greeter.default.svc.cluster.local"


def assignment(count: int, turn: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints as istiod sends them; another ``turn`` has another last one, so each push is a change."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=CLUSTER)
    group = message.endpoints.add()
    group.locality.region = "region"
    group.load_balancing_weight.value = count
    for number in [*range(count - 1), count + turn]:
        entry = group.lb_endpoints.add()
        address = entry.endpoint.address.socket_address
        address.address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        address.port_value = 9090
        entry.health_status = 1
        entry.load_balancing_weight.value = 1
    return message


def packed(message: Message) -> any_pb2.Any:
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    return wrapped


def response(message: Message, version: int) -> bytes:
    wrapped = packed(message)
    return discovery_pb2.DiscoveryResponse(
        version_info=str(version), nonce=str(version), type_url=wrapped.type_url, resources=[wrapped]
    ).SerializeToString()


def surroundings() -> list[Message]:
    """Listener, routes and cluster: what makes the endpoints those of a target."""
    manager = http_connection_manager_pb2.HttpConnectionManager(
        route_config=route_pb2.RouteConfiguration(name="greeter")
    )
    host = manager.route_config.virtual_hosts.add(name="greeter", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.route.cluster = CLUSTER
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    listener = listener_pb2.Listener(
        name=HOST, api_listener=api_listener_pb2.ApiListener(api_listener=packed(manager))
    )
    cluster = cluster_pb2.Cluster(name=CLUSTER, type=cluster_pb2.Cluster.EDS)
    cluster.eds_cluster_config.eds_config.ads.SetInParent()
    cluster.eds_cluster_config.service_name = CLUSTER
    return [listener, cluster]


def walk(raw: bytes) -> int:
    """The rival."""
    usable = 0
    for wrapped in discovery_pb2.DiscoveryResponse.FromString(raw).resources:
        message = endpoint_pb2.ClusterLoadAssignment.FromString(wrapped.value)
        for group in message.endpoints:
            for entry in group.lb_endpoints:
                address = entry.endpoint.address.socket_address
                if entry.health_status <= 1 and address.address and address.port_value:
                    usable += 1
    return usable


class Client:
    """What XdsClient is made of, without its thread and its stream."""

    def __init__(self) -> None:
        from pyrpc_xds._picker import Rng
        from pyrpc_xds.balancing.cluster import LiveClusters
        from pyrpc_xds.bootstrap import Bootstrap, Node, Server
        from pyrpc_xds.follower import Follower
        from pyrpc_xds.routing.router import Router
        from pyrpc_xds.xds.decode.envelope import decode_response, encode_request
        from pyrpc_xds.xds.session import Session

        self._decode, self._encode = decode_response, encode_request
        node = Node("sidecar~127.0.0.1~bench.default~default.svc.cluster.local")
        self.bootstrap = Bootstrap((Server("127.0.0.1:1"),), node)
        self._session = Session(node)
        self._session.opened(0.0)
        self.router = Router(HOST, 1.0, lambda: None)
        clusters = LiveClusters(Unconnected(), time.monotonic, Rng(1), lambda endpoints: None)
        self._follower = Follower(self.router, clusters, self)  # type: ignore[arg-type]
        self._follower.start()
        self._answer()

    def subscribe(self, kind: Any, name: str, watcher: Any) -> None:
        self._session.subscribe(kind, name, watcher)

    def unsubscribe(self, kind: Any, name: str, watcher: Any) -> None:
        self._session.unsubscribe(kind, name, watcher)

    def call(self, function: Callable[[], None]) -> None:
        function()

    def receive(self, raw: bytes) -> str:
        """Everything that a response sets off, and the address of one pick under the result."""
        self._session.received(self._decode(raw), 0.0)
        while (news := self._session.next_notification()) is not None:
            news.deliver()
        self._follower.settle()
        self._answer()
        snapshot = self.router.snapshot
        if snapshot is None:
            return ""
        return snapshot.route("/greeter/SayHello", {}).cluster.pick().address

    def _answer(self) -> None:
        for request in self._session.requests():
            if request.error:
                raise RuntimeError(f"the push was refused: {request.error}")
            self._encode(request)


class Unconnected:
    """A connector of connections that are never used."""

    key = ("benchmark",)

    def connect(self, address: str) -> Any:
        raise NotImplementedError(address)


def measure(endpoints: int = ENDPOINTS, rounds: int = 9, pushes: int = 4) -> dict[str, Any]:
    """Figures of :func:`compare`: the parse and walk first, then ours."""
    client = Client()
    version = 1
    for message in surroundings():
        client.receive(response(message, version))
        version += 1
    raw = [response(assignment(endpoints, turn), version + turn) for turn in range(2)]
    if not client.receive(raw[0]):
        raise RuntimeError("the target did not become ready")
    gc.collect()
    return compare(
        [
            Rival("bare parse and walk", alternating(walk, raw)),
            Rival("pyrpc-xds", alternating(client.receive, raw)),
        ],
        rounds,
        pushes,
        warm_up=1,
    )


def alternating(apply: Callable[[bytes], object], raw: Sequence[bytes]) -> Callable[[], object]:
    """A call that applies the next of ``raw``; each time new bytes, as the wire brings them."""
    turn = 0

    def call() -> object:
        nonlocal turn
        turn += 1
        return apply(bytes(bytearray(raw[turn % len(raw)])))

    return call
