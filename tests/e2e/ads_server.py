"""A small ADS server for tests: serves what it is told, remembers every request, can be restarted."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@dataclass(slots=True)
class Stream:
    """One client's stream. Guarded by the server's lock."""

    outbox: queue.SimpleQueue[bytes | None] = field(default_factory=queue.SimpleQueue)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)


class AdsServer:
    """State of the world over loopback.

    A request with new names is answered with what there is of them; every change is pushed.

    :param port: 0: any.
    :param silent: accept streams and never answer.
    :param unix: a socket path to serve on as well.
    :param credentials: serve TLS with these.
    :ivar refusal: the next stream is ended at once with this text.
    :ivar broken: every stream is: a load balancer with nothing behind it.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        silent: bool = False,
        unix: str = "",
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.silent = silent
        self.refusal = ""
        self.broken = ""
        self._credentials = credentials
        self._unix = unix
        self.requests: list[tuple[int, Any]] = []
        self.resources: dict[str, dict[str, bytes]] = {}
        self.streams: list[Stream] = []
        self.opened = 0
        self._counter = itertools.count(1)
        self._version = 0
        self._changed = threading.Condition()
        self.port = port
        self._server: grpc.Server | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8),
            # SO_REUSEPORT off: a restart must not share the port with what it replaces.
            options=(("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)),
        )
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, discovery_pb2.DiscoveryRequest.FromString, lambda raw: raw
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {"StreamAggregatedResources": handler}),)
        )
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        if self._unix:
            self._server.add_insecure_port(f"unix:{self._unix}")
        self._server.start()

    def stop(self) -> None:
        """Stop serving at once; :meth:`start` takes the same port again."""
        self.hang_up()
        if self._server is not None:
            self._server.stop(0).wait(5)
            self._server = None

    def hang_up(self) -> None:
        """End every stream, properly."""
        with self._changed:
            for stream in self.streams:
                stream.outbox.put(None)

    def set(self, type_url: str, *resources: Message, remove: tuple[str, ...] = ()) -> None:
        """Change resources of one type and push once."""
        with self._changed:
            held = self.resources.setdefault(type_url, {})
            for name in remove:
                del held[name]
            for resource in resources:
                name = getattr(resource, "name", None) or resource.cluster_name  # type: ignore[attr-defined]
                held[name] = resource.SerializeToString()
            self._version += 1
            for stream in self.streams:
                if stream.names.get(type_url):
                    self._answer(stream, type_url)

    def push_raw(self, raw: bytes) -> None:
        """Send these bytes to every client."""
        with self._changed:
            for stream in self.streams:
                stream.outbox.put(raw)

    def wait(self, condition: Callable[[AdsServer], Any], timeout: float = 10.0) -> Any:
        """The condition's first true value; it runs under the lock, again after each request.

        :raises AssertionError: it was not true in time; the text has the requests.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (value := condition(self)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    if value := condition(self):
                        return value
                    raise AssertionError(f"not seen in {timeout} s; requests: {self.requests}")
            return value

    def of(self, type_url: str, stream: int | None = None) -> list[Any]:
        """The requests of a type, of one stream (from 1) or all."""
        return [
            request
            for number, request in self.requests
            if request.type_url == type_url and stream in (None, number)
        ]

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[bytes]:
        stream = Stream()
        with self._changed:
            self.opened += 1
            number = self.opened
            self.streams.append(stream)
            self._changed.notify_all()
        if self.refusal or self.broken:
            text, self.refusal = self.refusal or self.broken, ""
            with self._changed:
                self.streams.remove(stream)
            context.abort(grpc.StatusCode.UNAVAILABLE, text)
        context.add_callback(lambda: stream.outbox.put(None))
        reader = threading.Thread(target=self._read, args=(requests, stream, number), daemon=True)
        reader.start()
        try:
            yield from iter(stream.outbox.get, None)
        finally:
            with self._changed:
                self.streams.remove(stream)
                self._changed.notify_all()

    def _read(self, requests: Iterator[Any], stream: Stream, number: int) -> None:
        try:
            for request in requests:
                with self._changed:
                    self.requests.append((number, request))
                    self._request(stream, request)
                    self._changed.notify_all()
        except Exception:  # the stream is gone
            return

    def _request(self, stream: Stream, request: Any) -> None:
        names = tuple(request.resource_names)
        known = stream.names.get(request.type_url)
        if request.response_nonce != stream.nonces.get(request.type_url, "") or known == names:
            return
        stream.names[request.type_url] = names
        if set(names) - set(known or ()):
            self._answer(stream, request.type_url)

    def _answer(self, stream: Stream, type_url: str) -> None:
        if self.silent:
            return
        held = self.resources.get(type_url, {})
        response = discovery_pb2.DiscoveryResponse(
            type_url=type_url, version_info=str(self._version), nonce=f"n{next(self._counter)}"
        )
        for name in stream.names[type_url]:
            if name in held:
                response.resources.add(type_url=type_url, value=held[name])
        stream.nonces[type_url] = response.nonce
        stream.outbox.put(response.SerializeToString())


def serving() -> Iterator[AdsServer]:
    """A server for as long as a fixture lives."""
    server = AdsServer()
    yield server
    server.stop()
