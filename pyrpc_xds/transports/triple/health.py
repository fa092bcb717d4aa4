"""gRPC's health service (grpc.health.v1), which Kubernetes' probes and gRPC's own clients ask.

Unlike grpcio-health-checking's servicers, these end their streams when the server begins to stop: a watcher
hears NOT_SERVING and then the end, and does not hold the server up for the whole grace period. The messages are
that package's: the extra ``triple``.

A server that drains is not ready and yet alive. The service name :data:`LIVENESS` is for the probe that would
have it killed; every other name is for the probe that takes it out of its Service.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc

from ...errors import ConfigError
from .services import Services

SERVICE = "grpc.health.v1.Health"
#: What a livenessProbe asks for (``grpc: {port: 20000, service: liveness}``, the name in Kubernetes' own example):
#: SERVING until the server has ended.
LIVENESS = "liveness"


class Health:
    """The status of a server and of each of its services.

    Set it from any thread, for a :class:`.aio_server.AioTripleServer` on its event loop only.
    """

    def __init__(self, messages: Any, services: Iterable[str]) -> None:
        self._messages = messages
        # Held while a change is told, so that watchers hear changes in their order.
        self._lock = threading.RLock()
        # Guarded by the lock.
        self._serving: dict[str, bool] = dict.fromkeys(("", LIVENESS, *services), True)
        self._draining = False
        self._ended = False

    def set(self, service: str, serving: bool) -> None:
        """Set the status of a service; without effect once the server drains.

        :param service: its full name; ``""``: the server as a whole; :data:`LIVENESS`: whether to go on at all.
        """
        with self._lock:
            if not self._draining:
                self._serving[service] = serving
                self._changed(service)

    def drain(self) -> None:
        """Say NOT_SERVING of everything but :data:`LIVENESS`, for good."""
        with self._lock:
            if self._draining:
                return
            self._draining = True
            self._serving = {name: serving and name == LIVENESS for name, serving in self._serving.items()}
            self._changed(None)

    def end(self) -> None:
        """Drain, and end the streams of those that watch."""
        with self._lock:
            self.drain()
            if not self._ended:
                self._ended = True
                self._changed(None)

    def _changed(self, service: str | None) -> None:
        """Tell the watchers of a service, or of all."""

    def _known(self, service: str) -> Any:
        """The response for a service; ``None``: there is none of that name."""
        serving = self._serving.get(service)
        return None if serving is None else self._response("SERVING" if serving else "NOT_SERVING")

    def _status(self, service: str) -> Any:
        return self._known(service) or self._response("SERVICE_UNKNOWN")

    def _response(self, status: str) -> Any:
        return self._messages.HealthCheckResponse(status=status)


class NotInstalled(Health):
    """Where the messages are not installed and nobody has asked for the service: to set what it says is to ask.

    :param missing: what :meth:`set` raises.
    """

    def __init__(self, missing: ConfigError) -> None:
        super().__init__(None, ())
        self._missing = missing

    def set(self, service: str, serving: bool) -> None:
        """:raises ConfigError: always."""
        raise self._missing


class SyncHealth(Health):
    """For sync servers. A watcher occupies no thread."""

    def __init__(self, messages: Any, services: Iterable[str]) -> None:
        super().__init__(messages, services)
        # How each watcher is sent a response (None ends its stream), to the service it watches.
        self._watchers: dict[Callable[[Any], None], str] = {}

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """grpc.health.v1.Health/Check."""
        response = self._known(request.service)
        if response is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return response

    def Watch(self, request: Any, context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
        """grpc.health.v1.Health/Watch, in grpcio's form that needs no thread (its own servicer's too)."""
        with self._lock:
            send(self._status(request.service))
            if self._ended:
                send(None)
                return
            self._watchers[send] = request.service
            # Called on grpcio's only polling thread, for which send() waits: it must not wait for the lock.
            if not context.add_callback(partial(self._watchers.pop, send, None)):  # type: ignore[arg-type]
                self._watchers.pop(send, None)

    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    def _changed(self, service: str | None) -> None:
        for send, watched in list(self._watchers.items()):
            if self._ended:
                send(None)
            elif service in (None, watched):
                send(self._status(watched))


class AioHealth(Health):
    """For asyncio servers."""

    def __init__(self, messages: Any, services: Iterable[str]) -> None:
        super().__init__(messages, services)
        self._next = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:
        """grpc.health.v1.Health/Check."""
        response = self._known(request.service)
        if response is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return response

    async def Watch(self, request: Any, context: Any) -> None:
        """grpc.health.v1.Health/Watch."""
        told = None
        while True:
            changed, status = self._next, self._status(request.service)
            if status != told:
                await context.write(status)
                told = status
                continue  # it may have changed meanwhile
            if self._ended:
                return
            await changed.wait()

    def _changed(self, service: str | None) -> None:
        self._next.set()
        self._next = asyncio.Event()


def add(services: Services, *, asyncio: bool) -> Health | None:
    """Add the health service of a server's other services, unless it has one already.

    :raises ImportError: grpcio-health-checking is not installed.
    """
    from grpc_health.v1 import health_pb2 as messages

    if SERVICE in services.names:
        return None
    health = (AioHealth if asyncio else SyncHealth)(messages, services.names)
    request = messages.HealthCheckRequest.FromString
    response = messages.HealthCheckResponse.SerializeToString
    services.register(
        SERVICE,
        {
            "Check": grpc.unary_unary_rpc_method_handler(health.Check, request, response),
            "Watch": grpc.unary_stream_rpc_method_handler(health.Watch, request, response),
        },
    )
    return health
