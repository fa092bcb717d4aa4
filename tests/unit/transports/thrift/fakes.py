"""A mesh without xDS: each target has the endpoints it is given, in order, with health by use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyrpc_xds.errors import DeadlineExceeded, Unavailable
from pyrpc_xds.model.thrift_form import ThriftForms


class FakeEndpoint:
    def __init__(self, address: str, connector: Any) -> None:
        self.address = address
        self.connection = connector.connect(address)
        self.failures = 0

    def failed(self) -> None:
        self.failures += 1

    def succeeded(self) -> None:
        self.failures = 0


class FakeCluster:
    name = "fake"
    thrift_forms: ThriftForms | None = None

    def __init__(self, endpoints: list[FakeEndpoint]) -> None:
        self.endpoints = endpoints
        self.picks = 0

    def pick(self, tried: FakeEndpoint | None = None) -> FakeEndpoint:
        if not self.endpoints:
            raise Unavailable("cluster fake has no endpoints")
        self.picks += 1
        candidates = [each for each in self.endpoints if each is not tried] or self.endpoints
        least = min(each.failures for each in candidates)
        best = [each for each in candidates if each.failures == least]
        return best[self.picks % len(best)]


class FakeDestination:
    def __init__(self, cluster: FakeCluster, timeout: float | None) -> None:
        self.cluster = cluster
        self.timeout = timeout
        self.cap_only = False


class FakeSnapshot:
    def __init__(self, destination: FakeDestination) -> None:
        self.destination = destination
        self.calls: list[tuple[str, dict[str, str]]] | None = None
        self.refuse: str | None = None

    def route(self, path: str, headers: Mapping[str, str]) -> FakeDestination:
        if self.refuse is not None:
            raise Unavailable(self.refuse)
        if self.calls is not None:
            self.calls.append((path, dict(headers)))
        return self.destination


class FakeRouter:
    def __init__(self, authority: str, snapshot: FakeSnapshot | None) -> None:
        self.authority = authority
        self.snapshot = snapshot
        self.closed = False

    def wait(self, timeout: float | None) -> FakeSnapshot:
        if self.snapshot is None:
            raise DeadlineExceeded("no configuration; last xDS error: nobody is there")
        return self.snapshot

    async def wait_async(self, timeout: float | None) -> FakeSnapshot:
        return self.wait(timeout)

    def close(self) -> None:
        self.closed = True


class FakeMesh:
    """:param endpoints: addresses that every target has; ``None``: no configuration ever comes."""

    workload = ""

    def __init__(self, *endpoints: str, timeout: float | None = None, configured: bool = True) -> None:
        self.addresses = endpoints
        self.timeout = timeout
        self.configured = configured
        self.callbacks: list[Callable[[], None]] = []
        self.routers: list[FakeRouter] = []
        self.connectors: list[Any] = []
        self.endpoints: list[FakeEndpoint] = []

    def router(self, target: str, connector: Any) -> FakeRouter:
        self.connectors.append(connector)
        snapshot = None
        if self.configured:
            made = [FakeEndpoint(address, connector) for address in self.addresses]
            self.endpoints += made
            snapshot = FakeSnapshot(FakeDestination(FakeCluster(made), self.timeout))
        self.routers.append(FakeRouter(target, snapshot))
        return self.routers[-1]

    def on_close(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def close(self) -> None:
        for callback in self.callbacks:
            callback()
        for endpoint in self.endpoints:
            endpoint.connection.close()
