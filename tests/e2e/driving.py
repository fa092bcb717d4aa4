"""A driver that tries again quickly, and a watcher whose news can be waited for."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from pyrpc_xds.bootstrap import Bootstrap, Node, Server
from pyrpc_xds.xds.backoff import BackOff
from pyrpc_xds.xds.driver import AdsDriver

NODE = Node(
    "sidecar~127.0.0.1~client.default~default.svc.cluster.local",
    metadata={"GENERATOR": "grpc", "LABELS": {"app": "client"}},
)
WAIT = 10.0


class Recorder:
    """A watcher whose news can be waited for."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self.threads: set[str] = set()

    def on_changed(self, name: str, resource: Any) -> None:
        self._note("changed", name, resource)

    def on_error(self, name: str, error: Any) -> None:
        self._note("error", name, error)

    def on_ambient_error(self, name: str, error: Any) -> None:
        self._note("ambient", name, error)

    def _note(self, what: str, name: str, value: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.news.put((what, name, value))

    def next_any(self) -> tuple[str, str, Any]:
        return self.news.get(timeout=WAIT)

    def next(self, what: str) -> Any:
        """The value of the next news, which must be a ``what``."""
        seen, name, value = self.news.get(timeout=WAIT)
        assert seen == what, (seen, name, value)
        return value

    @property
    def quiet(self) -> bool:
        return self.news.empty()


@contextlib.contextmanager
def driving(*servers: str | Server, **options: Any) -> Iterator[AdsDriver]:
    """A driver of these servers, closed with the block."""
    options.setdefault("backoff", BackOff(lambda: 0.5, initial=0.05, maximum=0.2))
    known = tuple(Server(each) if isinstance(each, str) else each for each in servers)
    driver = AdsDriver(Bootstrap(known, NODE), **options)
    try:
        yield driver
    finally:
        driver.close()
