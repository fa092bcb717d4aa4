"""What the client holds: one entry per watched resource."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from ..errors import ResourceError
from .types import ResourceType
from .watch import Watcher


class ResourceState(Enum):
    """Named as CSDS's ClientResourceStatus (envoy.admin.v3)."""

    REQUESTED = "REQUESTED"
    ACKED = "ACKED"
    NACKED = "NACKED"
    DOES_NOT_EXIST = "DOES_NOT_EXIST"
    TIMEOUT = "TIMEOUT"


class CacheEntry:
    """One watched resource.

    :ivar model: the last good version; it outlives errors (gRFC A57, A88) unless the server says otherwise.
    :ivar raw: its bytes: an identical push is recognised without decoding.
    :ivar version: the response version that brought ``model``.
    :ivar error: why ``state`` is not ACKED.
    :ivar rejected_version: the response version that was refused, while NACKED.
    :ivar updated: clock of the last word about it, in seconds; ``None``: none yet.
    :ivar deadline: when a request that is still unanswered means that it does not exist; only while a stream
        is open and the request has been sent.
    :ivar follow: decodes the versions after the first (:attr:`.types.ResourceType.follow`); ``None``: none came yet.
    :ivar first_ask: its name was in the first request of its type on this stream.
    """

    def __init__(self, kind: ResourceType, name: str) -> None:
        self.kind = kind
        self.name = name
        self.watchers: list[Watcher] = []
        self.state = ResourceState.REQUESTED
        self.model: Any = None
        self.raw = b""
        self.version = ""
        self.error: ResourceError | None = None
        self.rejected_version = ""
        self.updated: float | None = None
        self.deadline: float | None = None
        self.first_ask = False
        self.follow: Callable[[bytes], Any] | None = None

    def watched_by(self, watcher: Watcher) -> bool:
        """Whether ``watcher`` is among the watchers."""
        return any(known is watcher for known in self.watchers)


class ResourceCache:
    """The entries, by type and name."""

    def __init__(self, types: Mapping[str, ResourceType]) -> None:
        self._entries: dict[str, dict[str, CacheEntry]] = {type_url: {} for type_url in types}

    def of(self, kind: ResourceType) -> dict[str, CacheEntry]:
        """The live entries of one type, by name, in the order of their subscription."""
        return self._entries[kind.type_url]

    def __iter__(self) -> Iterator[CacheEntry]:
        for entries in self._entries.values():
            yield from entries.values()

    def dump(self, now: float) -> list[dict[str, Any]]:
        """Every entry as JSON values, for a human or a tool.

        :param now: the clock that ``updated`` was taken from, in seconds.
        """
        return [
            {
                "type": entry.kind.short_name,
                "name": entry.name,
                "state": entry.state.value,
                "version": entry.version,
                "rejected_version": entry.rejected_version,
                "age_seconds": None if entry.updated is None else round(now - entry.updated, 3),
                "error": "" if entry.error is None else str(entry.error),
                "watchers": len(entry.watchers),
                "size_bytes": len(entry.raw),
                "resource": plain(entry.model),
            }
            for entry in self
        ]


def plain(value: Any) -> Any:
    """A model as JSON values: dataclasses and named tuples as objects, enums as their value."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, tuple):
        if hasattr(value, "_fields"):
            return {name: plain(getattr(value, name)) for name in value._fields}
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, frozenset | set | list):
        return [plain(part) for part in value]
    return value
