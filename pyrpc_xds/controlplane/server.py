"""The ADS server: grpcio in front of sessions.

Each stream has two threads of grpcio's pool, one reading requests and one sending; the pool and with it the
number of streams is bounded. A change wakes the senders; each works out what its own node has to be sent.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from ..errors import ConfigError
from .envoy import AnyMessage, ControlPlaneId, DiscoveryRequest, DiscoveryResponse
from .names import parse_node
from .session import Request, Response, Session, TypeStatus
from .snapshot import Snapshot
from .wire import encoded

logger = logging.getLogger(__name__)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHOD = "StreamAggregatedResources"
# How long a sleeping sender goes without looking whether the process or the server is ending.
_WAKE_SECONDS = 0.5
_MIN_PING_INTERVAL_MS = 10_000
_MAX_REQUEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One connected node.

    :param node_id: the identifier from the node's bootstrap.
    :param peer: its address, as grpcio writes it.
    :param types: by short name of the resource type, how each stands.
    """

    node_id: str
    peer: str
    types: dict[str, TypeStatus]


class _Stream:
    """One open stream: a session, and the responses that wait to be sent."""

    def __init__(self, node_id: str, peer: str, session: Session) -> None:
        self.node_id = node_id
        self.peer = peer
        self.session = session
        self.condition = threading.Condition()
        # Bounded by the session: at most one response for each resource type is under way.
        self.outgoing: deque[Response] = deque()
        self.snapshot: Snapshot | None = None
        self.ended = False

    def end(self) -> None:
        with self.condition:
            self.ended = True
            self.condition.notify_all()


class AdsServer:
    """Serves snapshots over ADS.

    :param snapshot: the first state.
    :param identifier: what responses name as their control plane.
    :param max_streams: more streams than this are refused with RESOURCE_EXHAUSTED.
    """

    def __init__(self, snapshot: Snapshot, *, identifier: str, max_streams: int) -> None:
        self._snapshot = snapshot
        self._identifier = ControlPlaneId(identifier=identifier)
        self._max_streams = max_streams
        self._streams: dict[int, _Stream] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._executor: ThreadPoolExecutor | None = None
        self._server: grpc.Server | None = None
        self.port = 0

    def start(self, address: str) -> int:
        """Listen on ``host:port`` and return the port. Raises ConfigError if that is not possible."""
        self._executor = ThreadPoolExecutor(2 * self._max_streams + 2, thread_name_prefix="xds-control-plane")
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", -1),
            # Clients look after their stream with pings; grpcio's default of five minutes would hang up on them.
            ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._server = grpc.server(self._executor, options=options, maximum_concurrent_rpcs=self._max_streams)
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve, request_deserializer=DiscoveryRequest.parse, response_serializer=encoded
        )
        generic = grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler})
        self._server.add_generic_rpc_handlers((generic,))
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            self._server.start()  # one that never ran keeps its descriptors for ever
            self.stop(0.0)
            raise ConfigError(
                "cannot listen here", where=address, hint="Choose another port, or 0 for any that is free."
            )
        self._server.start()
        return self.port

    def stop(self, grace: float = 1.0) -> None:
        """End all streams and release the port; at most about ``grace`` seconds."""
        self._stopping.set()
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.end()
        # grpcio frees its descriptors with the object, so nothing here may keep it.
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace).wait(grace + 1.0)
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def publish(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` the state, and have every stream send what that changes for it."""
        with self._lock:
            self._snapshot = snapshot
            streams = list(self._streams.values())
        for stream in streams:
            with stream.condition:
                stream.snapshot = snapshot
                stream.condition.notify_all()

    def status(self) -> tuple[NodeStatus, ...]:
        """The connected nodes, in the order in which they came."""
        with self._lock:
            streams = list(self._streams.values())
        found = []
        for stream in streams:
            with stream.condition:
                found.append(NodeStatus(stream.node_id, stream.peer, stream.session.status()))
        return tuple(found)

    # --- one stream ---------------------------------------------------------------------------------------

    def _serve(
        self, requests: Iterator[DiscoveryRequest], context: grpc.ServicerContext
    ) -> Iterator[DiscoveryResponse]:
        first = next(requests, None)
        if first is None:
            return
        node_id = first.node.id if first.node is not None else ""
        try:
            if first.node is None:
                raise ConfigError("the first request carries no node", where=context.peer())
            where = first.node.locality
            locality = (where.region, where.zone, where.sub_zone) if where is not None else ("", "", "")
            view = parse_node(node_id, _plain(first.node.metadata), locality)
        except ConfigError as error:
            logger.warning("refused a stream: %s", str(error))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        with self._lock:
            stream = _Stream(node_id, context.peer(), Session(view, self._snapshot))
            key = next(self._ids)
            self._streams[key] = stream
        logger.debug("stream opened by %s", node_id)
        try:
            assert self._executor is not None
            self._receive(stream, first)
            self._executor.submit(self._read, stream, requests)
            yield from self._send(stream, context)
        finally:
            stream.end()
            with self._lock:
                del self._streams[key]
            logger.debug("stream closed by %s", node_id)

    def _read(self, stream: _Stream, requests: Iterator[DiscoveryRequest]) -> None:
        try:
            for request in requests:
                self._receive(stream, request)
        except grpc.RpcError:
            pass  # the peer went away: that is how streams end
        except Exception:  # a fault here must end the stream, so that the client opens a new one
            logger.exception("the stream of %s fails", stream.node_id)
        finally:
            stream.end()

    @staticmethod
    def _receive(stream: _Stream, message: DiscoveryRequest) -> None:
        error = message.error_detail.message if message.error_detail is not None else None
        request = Request(
            type_url=message.type_url,
            names=tuple(message.resource_names),
            nonce=message.response_nonce,
            version=message.version_info,
            error=error,
        )
        if error is not None:
            logger.warning("%s refused %s: %s", stream.node_id, message.type_url.rpartition(".")[2], error)
        with stream.condition:
            stream.outgoing.extend(stream.session.receive(request))
            stream.condition.notify_all()

    def _send(self, stream: _Stream, context: grpc.ServicerContext) -> Iterator[DiscoveryResponse]:
        while True:
            with stream.condition:
                while not stream.outgoing and stream.snapshot is None:
                    if stream.ended or self._stopping.is_set() or not context.is_active():
                        return
                    if not threading.main_thread().is_alive():
                        return  # an interpreter that ends waits for this thread
                    stream.condition.wait(_WAKE_SECONDS)
                if stream.snapshot is not None:
                    snapshot, stream.snapshot = stream.snapshot, None
                    stream.outgoing.extend(stream.session.update(snapshot))
                response = stream.outgoing.popleft() if stream.outgoing else None
            if response is not None:
                yield self._encode(response)

    def _encode(self, response: Response) -> DiscoveryResponse:
        return DiscoveryResponse(
            version_info=response.version,
            type_url=response.type_url,
            nonce=response.nonce,
            resources=[
                AnyMessage(type_url=response.type_url, value=value) for value in response.resources.values()
            ],
            control_plane=self._identifier,
        )


def _plain(metadata: Any) -> dict[str, Any]:
    """A Struct as plain values."""
    return {} if metadata is None else {key: _plain_value(value) for key, value in metadata.fields.items()}


def _plain_value(value: Any) -> Any:
    if value.struct_value is not None:
        return _plain(value.struct_value)
    if value.list_value is not None:
        return [_plain_value(item) for item in value.list_value.values]
    for name in ("string_value", "bool_value", "number_value"):
        found = getattr(value, name)
        if found is not None:
            return found
    return None
