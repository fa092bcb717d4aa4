"""A session, its clock and a watcher that keeps its news: what the tests of the session share."""

from __future__ import annotations

from typing import Any

from pyrpc_xds.bootstrap import Node
from pyrpc_xds.errors import StreamError
from pyrpc_xds.xds.cache import ResourceState
from pyrpc_xds.xds.decode.envelope import DiscoveryRequest, DiscoveryResponse
from pyrpc_xds.xds.session import Session
from pyrpc_xds.xds.types import ResourceType

NODE = Node("sidecar~10.0.0.1~p.n~n.svc.cluster.local")


class Watcher:
    """Keeps its news."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str, Any]] = []

    def on_changed(self, name: str, resource: Any) -> None:
        self.news.append(("changed", name, resource))

    def on_error(self, name: str, error: Any) -> None:
        self.news.append(("error", name, error))

    def on_ambient_error(self, name: str, error: Any) -> None:
        self.news.append(("ambient", name, error))

    def take(self) -> list[tuple[str, str]]:
        """What came since the last time, without the values."""
        news, self.news = self.news, []
        return [(what, name) for what, name, _ in news]


class World:
    """A session, its clock and one watcher of everything."""

    def __init__(self, *, connected: bool = True, **options: Any) -> None:
        self.session = Session(NODE, **options)
        self.watcher = Watcher()
        self.now = 100.0
        if connected:
            self.open()

    def open(self) -> tuple[DiscoveryRequest, ...]:
        self.session.opened(self.now)
        return self.flush()

    def close(self, text: str = "gone") -> None:
        self.session.closed(self.now, StreamError(text))
        self.deliver()

    def watch(self, kind: ResourceType, *names: str, watcher: Watcher | None = None) -> None:
        for name in names:
            self.session.subscribe(kind, name, watcher or self.watcher)

    def unwatch(self, kind: ResourceType, *names: str) -> None:
        for name in names:
            self.session.unsubscribe(kind, name, self.watcher)

    def deliver(self) -> None:
        while (news := self.session.next_notification()) is not None:
            news.deliver()

    def flush(self, *, sent: bool = True) -> tuple[DiscoveryRequest, ...]:
        self.deliver()
        requests = self.session.requests()
        if sent:
            self.session.sent(self.now)
        return requests

    def receive(self, message: DiscoveryResponse) -> DiscoveryRequest | None:
        """Take a response in and return the one request that answers it."""
        self.session.received(message, self.now)
        requests = self.flush()
        assert len(requests) <= 1
        return requests[0] if requests else None

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.session.expire(self.now)
        self.deliver()

    def state(self, kind: ResourceType, name: str) -> ResourceState:
        return self.session.cache.of(kind)[name].state
