"""A mesh without a control plane: static snapshots that the test replaces as EDS and RDS would."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyrpc_xds.errors import DeadlineExceeded, Unavailable
from pyrpc_xds.transports.base import Connector


class FakeEndpoint:
    def __init__(self, address: str, connector: Connector) -> None:
        self.address = address
        self.connection: Any = connector.connect(address)
        self.failures = 0
        self.successes = 0
        self.avoided = False

    def failed(self) -> None:
        self.failures += 1
        self.avoided = True

    def succeeded(self) -> None:
        self.successes += 1
        self.avoided = False


class FakeCluster:
    """Round robin; failed endpoints, and the one to avoid, come last."""

    def __init__(self, name: str, endpoints: Iterable[FakeEndpoint]) -> None:
        self.name = name
        self.endpoints = list(endpoints)
        self._turns = itertools.count()

    def pick(self, tried: Any = None) -> FakeEndpoint:
        for usable in (
            [each for each in self.endpoints if not each.avoided and each is not tried],
            [each for each in self.endpoints if each is not tried],
            self.endpoints,
        ):
            if usable:
                return usable[next(self._turns) % len(usable)]
        raise Unavailable(f"cluster {self.name} has no endpoints")


class FakeDestination:
    def __init__(self, cluster: FakeCluster, timeout: float | None = None, cap_only: bool = False) -> None:
        self.cluster = cluster
        self.timeout = timeout
        self.cap_only = cap_only


class FakeSnapshot:
    def __init__(self, route: Callable[[str, Mapping[str, str]], FakeDestination]) -> None:
        self._route = route
        self.routed: list[tuple[str, dict[str, str]]] = []

    def route(self, path: str, headers: Mapping[str, str]) -> FakeDestination:
        self.routed.append((path, dict(headers)))
        return self._route(path, headers)


class FakeRouter:
    def __init__(self, mesh: FakeMesh, target: str, connector: Connector) -> None:
        self.mesh = mesh
        self.target = target
        self.connector = connector
        self.snapshot: FakeSnapshot | None = None
        self.endpoints: dict[str, FakeEndpoint] = {}
        self.waited: list[float | None] = []
        self.failure: Exception | None = None
        self.closed = False
        self._changed = threading.Condition()

    @property
    def authority(self) -> str:
        return self.target.rpartition("/")[2]

    def apply(self, route: Callable[[str, Mapping[str, str]], FakeDestination]) -> FakeSnapshot:
        with self._changed:
            self.snapshot = FakeSnapshot(route)
            self._changed.notify_all()
            return self.snapshot

    def cluster(self, *addresses: str, name: str = "greeter") -> FakeCluster:
        """A cluster of these addresses, with the endpoints that are known already."""
        for address in addresses:
            if address not in self.endpoints:
                self.endpoints[address] = FakeEndpoint(address, self.connector)
        return FakeCluster(name, [self.endpoints[address] for address in addresses])

    def serve(self, *addresses: str, timeout: float | None = None, cap_only: bool = False) -> FakeDestination:
        """One route to one cluster; addresses that it no longer names are drained."""
        destination = FakeDestination(self.cluster(*addresses), timeout, cap_only)
        self.apply(lambda path, headers: destination)
        for address in set(self.endpoints) - set(addresses):
            self.endpoints.pop(address).connection.drain()
        return destination

    def wait(self, timeout: float | None) -> FakeSnapshot:
        self.waited.append(timeout)
        with self._changed:
            self._changed.wait_for(
                lambda: self.snapshot or self.failure, self.mesh.default_wait if timeout is None else timeout
            )
            return self._result()

    async def wait_async(self, timeout: float | None) -> FakeSnapshot:
        self.waited.append(timeout)
        until = time.monotonic() + (self.mesh.default_wait if timeout is None else timeout)
        while self.snapshot is None and self.failure is None and time.monotonic() < until:
            await asyncio.sleep(0.002)
        return self._result()

    def _result(self) -> FakeSnapshot:
        if self.failure is not None:
            raise self.failure
        if self.snapshot is None:
            raise DeadlineExceeded(f"no configuration for {self.target}: the last error was 'fake'")
        return self.snapshot

    def fail(self, error: Exception | None) -> None:
        with self._changed:
            self.failure = error
            self._changed.notify_all()

    def close(self) -> None:
        self.closed = True
        for endpoint in self.endpoints.values():
            endpoint.connection.drain()
        self.endpoints.clear()


class FakeMesh:
    """:param addresses: where every new router leads at once; none: it waits for its configuration."""

    workload = ""

    def __init__(self, *addresses: str, default_wait: float = 2.0) -> None:
        self.addresses = addresses
        self.default_wait = default_wait
        self.routers: list[FakeRouter] = []
        self.callbacks: list[Callable[[], None]] = []

    def router(self, target: str, connector: Connector) -> FakeRouter:
        router = FakeRouter(self, target, connector)
        self.routers.append(router)
        if self.addresses:
            router.serve(*self.addresses)
        return router

    def on_close(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def close(self) -> None:
        for callback in self.callbacks:
            callback()
        for router in self.routers:
            router.close()
