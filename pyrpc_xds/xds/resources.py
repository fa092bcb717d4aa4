"""The watched resources of one type, and what a response makes of them. Sans-IO.

A bad resource costs itself only: the others of its response are used, and its last good version stays (gRFC A46,
A88). Bytes that are known are not decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import ResourceError, ResourceInvalid, ResourceNotFound
from .cache import CacheEntry, ResourceState
from .decode.envelope import DiscoveryResponse, RawResource, first_string
from .news import News
from .timers import ABSENCE_GRACE
from .types import ResourceType


class TypeResources:
    """The entries of one type.

    :param entries: those of the cache, by name.
    :param news: takes what watchers are to be told.
    :param node_id: for error texts.
    :param drop_on_error: a bad or deleted resource takes its last good version with it (gRFC A88).
    :param breathe: lets other threads have the interpreter for a moment.
    :ivar by_raw: the entry that each accepted encoding belongs to.
    :ivar leaving: entries without watchers whose names the server still believes wanted.
    :ivar whole: of a type that is asked for as a whole: the last response by name, not decoded; ``None``: none yet.
    :ivar whole_at: when that came.
    """

    def __init__(
        self,
        kind: ResourceType,
        entries: dict[str, CacheEntry],
        news: News,
        *,
        node_id: str,
        drop_on_error: bool,
        breathe: Callable[[], None],
    ) -> None:
        self.kind = kind
        self.entries = entries
        self.by_raw: dict[bytes, CacheEntry] = {}
        self.leaving: dict[str, CacheEntry] = {}
        self.whole: dict[str, RawResource] | None = None
        self.whole_at = 0.0
        self._news = news
        self._node_id = node_id
        self._drop_on_error = drop_on_error
        self._breathe = breathe

    # ---- entries that come and go

    def leave(self, entry: CacheEntry, *, told: bool) -> None:
        """``entry`` has no watcher any more.

        :param told: the server has been told its name: until it knows better it would send nothing again.
        """
        del self.entries[entry.name]
        if told:
            self.leaving[entry.name] = entry
        else:
            self._forget(entry)

    def left(self) -> None:
        """The server knows what is wanted, or is gone."""
        for entry in self.leaving.values():
            self._forget(entry)
        self.leaving.clear()

    def from_whole(self, entry: CacheEntry, version: str) -> None:
        """A new entry of a type that is there as a whole: nothing has to be asked for."""
        assert self.whole is not None
        held = self.whole.get(entry.name)
        if held is None:
            entry.state = ResourceState.DOES_NOT_EXIST
            self._failed(entry, self._absence(entry, version), self.whole_at)
            return
        response = DiscoveryResponse(self.kind.type_url, resources=(held,))
        good, bad, unnamed = self._decoded(response)
        for raw, model in good.values():
            self._accept(entry, raw, model, version, self.whole_at)
        for error in (*bad.values(), *unnamed):
            self._refuse(entry, error, version, self.whole_at)

    # ---- a response

    def received(self, response: DiscoveryResponse, now: float, *, first: bool) -> list[ResourceError]:
        """Apply a response.

        :param first: it is the stream's first of this type.
        :returns: what is wrong with it.
        """
        entries = self.entries
        if self.kind.wildcard_name is not None:
            response = self._watched(response, now)
        good, bad, unnamed = self._decoded(response)
        for name, (raw, model) in good.items():
            if entry := entries.get(name):
                self._accept(entry, raw, model, response.version, now)
        for name, error in bad.items():
            if entry := entries.get(name):
                self._refuse(entry, error, response.version, now)
        if self.kind.full_state and not unnamed:
            self._absent({*good, *bad}, response.version, now, first=first)
        return [*unnamed, *bad.values()]

    def _watched(self, response: DiscoveryResponse, now: float) -> DiscoveryResponse:
        """Keep a response that holds a whole type as it is; the same with what is watched, and what has no name.

        What nobody watches is not decoded: it costs next to nothing, and no mistake in it costs a NACK.
        """
        assert self.kind.wildcard_name is not None
        whole: dict[str, RawResource] = {}
        watched = []
        for resource in response.resources:
            try:
                name = resource.name or self.kind.wildcard_name(resource.value)
            except ValueError:
                watched.append(resource)
                continue
            whole[name] = resource
            if name in self.entries:
                watched.append(resource)
        self.whole, self.whole_at = whole, now
        return replace(response, resources=tuple(watched))

    def _decoded(
        self, response: DiscoveryResponse
    ) -> tuple[dict[str, tuple[bytes, Any]], dict[str, ResourceError], list[ResourceError]]:
        """Good resources and bad ones by name, and bad ones whose name is unknown."""
        kind = self.kind
        good: dict[str, tuple[bytes, Any]] = {}
        bad: dict[str, ResourceError] = {}
        unnamed: list[ResourceError] = []
        for resource in response.resources:
            name = resource.name
            try:
                if resource.type_url != kind.type_url:
                    raise ResourceInvalid(
                        kind.short_name,
                        name,
                        f"is a {resource.type_url!r} in a response of {kind.type_url!r}",
                    )
                known = self.by_raw.get(resource.value)
                if known is not None:
                    name, model = known.name, known.model
                else:
                    name, model = kind.decode(resource.value, self._following(resource.value))
                if name in good or name in bad:
                    raise ResourceInvalid(kind.short_name, name, "is in the response more than once")
                good[name] = (resource.value, model)
            except ResourceInvalid as error:
                key = error.name or name
                if key:
                    good.pop(key, None)
                    bad[key] = error
                else:
                    unnamed.append(error)
        return good, bad, unnamed

    def _following(self, raw: bytes) -> Callable[[bytes], Any] | None:
        """What decodes a later version of a resource that is held."""
        if self.kind.follow is None:
            return None
        try:
            entry = self.entries.get(first_string(raw))
        except ValueError:
            return None
        if entry is None or entry.model is None:
            return None
        if entry.follow is None:
            entry.follow = self.kind.follow(self._breathe)
        return entry.follow

    # ---- what a response means for an entry

    def _accept(self, entry: CacheEntry, raw: bytes, model: Any, version: str, now: float) -> None:
        healed = entry.state is not ResourceState.ACKED
        changed = False
        if raw != entry.raw:
            self.by_raw.pop(entry.raw, None)
            self.by_raw[raw] = entry
            entry.raw = raw
            # Encoders may order maps as they please: equal models are the same resource, kept by identity.
            changed = model != entry.model
            if changed:
                entry.model = model
        entry.state = ResourceState.ACKED
        entry.error = None
        entry.rejected_version = ""
        entry.version = version
        entry.updated = now
        entry.deadline = None
        if changed or healed:
            self._news.changed(entry)

    def _refuse(self, entry: CacheEntry, error: ResourceError, version: str, now: float) -> None:
        repeated = entry.state is ResourceState.NACKED and str(entry.error) == str(error)
        entry.state = ResourceState.NACKED
        entry.rejected_version = version
        self._failed(entry, error, now, silent=repeated)

    def _absent(self, present: set[str], version: str, now: float, *, first: bool) -> None:
        """Wanted and not in a response that names everything: deleted, never there, or asked for too late."""
        for name, entry in self.entries.items():
            if name in present or entry.state is ResourceState.DOES_NOT_EXIST:
                continue
            # Asked for as a whole, a type's responses do not depend on when a name was added.
            as_named = self.kind.wildcard_name is None and not (entry.first_ask and first)
            if as_named and entry.state is ResourceState.REQUESTED:
                # The first response of a stream cannot be older than its first request; later ones can.
                if entry.deadline is not None:
                    entry.deadline = min(entry.deadline, now + ABSENCE_GRACE)
                continue
            entry.state = ResourceState.DOES_NOT_EXIST
            self._failed(entry, self._absence(entry, version), now)

    def _failed(self, entry: CacheEntry, error: ResourceError, now: float, *, silent: bool = False) -> None:
        """A data error: the last good version stays unless the server features say otherwise (A88)."""
        entry.error = error
        entry.updated = now
        entry.deadline = None
        if self._drop_on_error and entry.model is not None:
            self._forget(entry)
            silent = False
        if not silent:
            self._news.failed(entry, error, ambient=entry.model is not None)

    def _forget(self, entry: CacheEntry) -> None:
        self.by_raw.pop(entry.raw, None)
        entry.model = None
        entry.follow = None
        entry.raw = b""
        entry.version = ""

    def _absence(self, entry: CacheEntry, version: str) -> ResourceNotFound:
        has = "does not have it" if entry.model is None else "has it no more"
        return not_found(
            entry, f"version {version!r} of the control plane's configuration {has}", self._node_id
        )


def not_found(entry: CacheEntry, reason: str, node_id: str) -> ResourceNotFound:
    """The error that there is no such resource.

    :param reason: how that is known.
    :param node_id: who asked.
    """
    return ResourceNotFound(entry.kind.short_name, entry.name, f"{reason} (node {node_id!r})")
