"""What a control plane sends a ``GENERATOR=grpc`` node, gathered by following names as a client does.

``dump()`` asks for the given listeners, then for the routes that they name, the clusters that those name,
and the endpoints of the clusters, over one state-of-the-world ADS stream, acknowledging every response.
``AdsClient`` is the stream by itself, for tests that need to say exactly what goes over it. It shares no
code with the package's own session: it is the independent second opinion.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2  # noqa: F401
from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401  (JSON of Any needs it registered)
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2  # noqa: F401
from envoy.extensions.http.stateful_session.header.v3 import header_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format, message
from google.rpc import status_pb2

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

_MESSAGES: dict[str, type[message.Message]] = {
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}
_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_MAX_MESSAGE_BYTES = 256 * 1024 * 1024


def grpc_node(
    namespace: str = "default",
    pod: str = "dumper",
    ip: str = "127.0.0.99",
    labels: Mapping[str, str] | None = None,
    generator: str | None = "grpc",
    node: str = "",
    locality: str = "",
) -> base_pb2.Node:
    """The node that a proxyless pod of ``namespace`` presents."""
    found = base_pb2.Node(
        id=f"sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local", user_agent_name="ads-dump"
    )
    metadata: dict[str, Any] = {
        "NAMESPACE": namespace,
        "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": "1.31.0",
        "INSTANCE_IPS": ip,
        "LABELS": dict(labels or {}),
    }
    if generator:
        metadata["GENERATOR"] = generator
    if node:
        metadata["NODE_NAME"] = node
    if locality:
        region, zone, sub_zone = [*locality.split("/"), "", ""][:3]
        found.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
    found.metadata.update(metadata)
    return found


def decode(type_url: str, value: bytes) -> message.Message:
    """The resource of ``type_url`` in ``value``."""
    decoded = _MESSAGES[type_url]()
    decoded.ParseFromString(value)
    return decoded


def resource_name(resource: message.Message) -> str:
    """The name by which a client asks for ``resource``."""
    return str(getattr(resource, "name", "") or getattr(resource, "cluster_name", ""))


class AdsClient:
    """One state-of-the-world ADS stream. ``request`` and ``ack`` send; ``receive`` waits, bounded."""

    def __init__(self, address: str, node: base_pb2.Node | None = None) -> None:
        self._node = node or grpc_node()
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
        )
        self._outgoing: queue.SimpleQueue[discovery_pb2.DiscoveryRequest | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[discovery_pb2.DiscoveryResponse | None] = queue.SimpleQueue()
        self._names: dict[str, tuple[str, ...]] = {}
        self._sent_node = False
        self.error: grpc.RpcError | None = None
        call = self._channel.stream_stream(
            _METHOD,
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        self._call = call(iter(self._outgoing.get, None), wait_for_ready=True)
        self._reader = threading.Thread(target=self._read, name="ads-dump", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._incoming.put(response)
        except grpc.RpcError as error:
            self.error = error
        self._incoming.put(None)

    def request(
        self, type_url: str, names: Iterable[str], *, nonce: str = "", version: str = "", error: str = ""
    ) -> None:
        """Send one DiscoveryRequest; with ``error`` it is a NACK of ``nonce``."""
        self._names[type_url] = tuple(names)
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            resource_names=self._names[type_url],
            response_nonce=nonce,
            version_info=version,
        )
        if error:
            request.error_detail.CopyFrom(status_pb2.Status(code=3, message=error))
        if not self._sent_node:
            request.node.CopyFrom(self._node)
            self._sent_node = True
        self._outgoing.put(request)

    def ack(self, response: discovery_pb2.DiscoveryResponse) -> None:
        """Accept ``response``."""
        self.request(
            response.type_url,
            self._names[response.type_url],
            nonce=response.nonce,
            version=response.version_info,
        )

    def receive(self, timeout: float = 5.0) -> discovery_pb2.DiscoveryResponse | None:
        """The next response, or None if none comes within ``timeout`` seconds or the stream has ended."""
        try:
            return self._incoming.get(timeout=timeout)
        except queue.Empty:
            return None

    def fetch(self, type_url: str, names: Iterable[str], timeout: float = 5.0) -> dict[str, message.Message]:
        """Ask for ``names`` and return what the next response of that type holds, acknowledged."""
        self.request(type_url, names)
        while (response := self.receive(timeout)) is not None:
            self.ack(response)
            if response.type_url == type_url:
                decoded = [decode(type_url, item.value) for item in response.resources]
                return {resource_name(item): item for item in decoded}
        return {}

    def close(self) -> None:
        """End the stream and the connection."""
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()
        self._reader.join(5.0)

    def __enter__(self) -> AdsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class Dump:
    """Decoded resources by name, one mapping for each resource type."""

    listeners: dict[str, message.Message] = field(default_factory=dict)
    routes: dict[str, message.Message] = field(default_factory=dict)
    clusters: dict[str, message.Message] = field(default_factory=dict)
    endpoints: dict[str, message.Message] = field(default_factory=dict)

    def by_type(self) -> Iterator[tuple[str, dict[str, message.Message]]]:
        """The four type URLs with their resources, in the order LDS, RDS, CDS, EDS."""
        yield LISTENER, self.listeners
        yield ROUTE, self.routes
        yield CLUSTER, self.clusters
        yield ENDPOINT, self.endpoints

    def as_json(self) -> dict[str, dict[str, Any]]:
        """The same as JSON values, with field names as in the proto files."""
        return {
            url.rsplit(".", 1)[1]: {
                name: json_format.MessageToDict(resource, preserving_proto_field_name=True)
                for name, resource in sorted(resources.items())
            }
            for url, resources in self.by_type()
        }


def route_names(listeners: Iterable[message.Message]) -> list[str]:
    """The RouteConfiguration names that API listeners refer to."""
    names = set()
    for listener in listeners:
        manager = http_connection_manager_pb2.HttpConnectionManager()
        if listener.api_listener.api_listener.Unpack(manager) and manager.HasField("rds"):  # type: ignore[attr-defined]
            names.add(manager.rds.route_config_name)
    return sorted(names)


def cluster_names(routes: Iterable[message.Message]) -> list[str]:
    """The clusters that routes may send a request to, request mirrors included."""
    names = set()
    for configuration in routes:
        for host in configuration.virtual_hosts:  # type: ignore[attr-defined]
            for route in host.routes:
                names.add(route.route.cluster)
                names.update(weighted.name for weighted in route.route.weighted_clusters.clusters)
                names.update(mirror.cluster for mirror in route.route.request_mirror_policies)
    return sorted(names - {""})


def dump(
    address: str,
    listeners: Iterable[str],
    *,
    node: base_pb2.Node | None = None,
    extra_routes: Iterable[str] = (),
    extra_clusters: Iterable[str] = (),
    extra_endpoints: Iterable[str] = (),
    timeout: float = 5.0,
) -> Dump:
    """Everything that ``listeners`` lead to, plus what is asked for by name. ``timeout`` is for each type."""
    found = Dump()
    with AdsClient(address, node) as client:
        names = list(listeners)
        if names:
            found.listeners = client.fetch(LISTENER, names, timeout)
        names = sorted({*route_names(found.listeners.values()), *extra_routes})
        if names:
            found.routes = client.fetch(ROUTE, names, timeout)
        names = sorted({*cluster_names(found.routes.values()), *extra_clusters})
        if names:
            found.clusters = client.fetch(CLUSTER, names, timeout)
        names = sorted({*found.clusters, *extra_endpoints})
        if names:
            found.endpoints = client.fetch(ENDPOINT, names, timeout)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print what ADDRESS sends for the given listener names, as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("address", help="host:port of a plaintext ADS server")
    parser.add_argument("listener", nargs="*", help="listener names, host:port")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--ip", default="127.0.0.99")
    parser.add_argument("--cluster", action="append", default=[], help="a further cluster name")
    parser.add_argument("--route", action="append", default=[], help="a further route configuration name")
    parser.add_argument("--endpoint", action="append", default=[], help="a further EDS name")
    given = parser.parse_args(arguments)
    found = dump(
        given.address,
        given.listener,
        node=grpc_node(given.namespace, ip=given.ip),
        extra_routes=given.route,
        extra_clusters=given.cluster,
        extra_endpoints=given.endpoint,
    )
    json.dump(found.as_json(), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
