"""The ADS protocol, state of the world, without I/O.

Inputs are methods (:meth:`Session.subscribe`, :meth:`~Session.received`, ...); outputs are taken after every
input, with :meth:`~Session.next_notification` until there is no more and then :meth:`~Session.requests`. The
caller owns the socket and the clock. Not thread-safe: one owner.

Life spans, per resource type: the version lasts as long as the session, the nonce as long as a stream.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from ..bootstrap import Node
from ..errors import ResourceError, ResourceInvalid, ResourceNotFound, StreamError, XdsError
from ..frozen import frozen
from .cache import CacheEntry, ResourceCache, ResourceState
from .decode.envelope import DiscoveryRequest, DiscoveryResponse, RawResource, first_string
from .types import TYPES, ResourceType
from .watch import Watcher

_log = logging.getLogger("pyrpc_xds.xds")

RESOURCE_TIMEOUT = 15.0
"""Seconds without an answer after which a resource does not exist (gRFC A57)."""
TRANSIENT_RESOURCE_TIMEOUT = 30.0
"""The same where the server features make it a transient error (gRFC A88)."""
ABSENCE_GRACE = 5.0
"""Seconds that an unanswered name may be absent from its type's responses.

The response in hand may be older than the request that named it; an answer to that request follows at once or
not at all, so the full resource timer would only delay a clear error.
"""
_UNKNOWN = (ResourceState.REQUESTED, ResourceState.TIMEOUT)
_MAX_REASON = 500
_MAX_DETAIL = 16_000


@frozen
class Notify:
    """News for one watcher; :meth:`deliver` calls it.

    :param resource: the version that this is about.
    :param error: ``None``: the resource changed.
    :param ambient: the resource stays usable despite ``error``.
    """

    entry: CacheEntry
    watcher: Watcher
    resource: Any = None
    error: XdsError | None = None
    ambient: bool = False

    def deliver(self) -> None:
        """Tell the watcher. Its exceptions are the caller's to handle."""
        if self.error is None:
            self.watcher.on_changed(self.entry.name, self.resource)
        elif self.ambient:
            self.watcher.on_ambient_error(self.entry.name, self.error)
        else:
            self.watcher.on_error(self.entry.name, self.error)


@dataclass(slots=True)
class _TypeState:
    """The protocol state of one resource type.

    First group: as long as the session. Second: reset when a stream opens or closes.

    :ivar version: the last accepted one.
    :ivar by_raw: the entry that each accepted encoding belongs to.
    :ivar whole: of a type that is asked for as a whole: the last response by name, not decoded; ``None``: none yet.
    :ivar whole_at: when that came.
    :ivar nonce: of the last response, refused ones included.
    :ivar sent: names of the last request; ``None``: none on this stream.
    :ivar touched: since then names have come or gone, perhaps the same ones.
    :ivar answered: a response has come on this stream.
    :ivar owed: a response is not answered yet; ``refusal`` says what is wrong with it.
    :ivar unsent: names asked for whose request the transport has not taken yet.
    :ivar leaving: entries without watchers whose names the server still believes wanted.
    """

    kind: ResourceType
    version: str = ""
    by_raw: dict[bytes, CacheEntry] = field(default_factory=dict)
    whole: dict[str, RawResource] | None = None
    whole_at: float = 0.0

    nonce: str = ""
    sent: tuple[str, ...] | None = None
    touched: bool = True
    answered: bool = False
    owed: bool = False
    refusal: str = ""
    unsent: dict[str, None] = field(default_factory=dict)
    leaving: dict[str, CacheEntry] = field(default_factory=dict)

    def reset(self) -> None:
        """The stream is new, or gone."""
        self.nonce = ""
        self.sent = None
        self.touched = True
        self.answered = self.owed = False
        self.refusal = ""
        self.unsent.clear()
        self.leaving.clear()


class Session:
    """One client's view of one control plane.

    :param node: sent in the first request of each stream.
    :param types: the resource types to speak, by type URL, in the order in which requests are sent.
    :param fail_on_data_errors: a bad or deleted resource takes its last good version with it (gRFC A88).
    :param resource_timeout: seconds; ``None``: as the gRFC says.
    :param timer_is_transient: an expired timer is the control plane's slowness, not absence (gRFC A88).
    :param breathe: lets other threads have the interpreter for a moment; called while a large resource is decoded.
    """

    def __init__(
        self,
        node: Node,
        *,
        types: Mapping[str, ResourceType] = TYPES,
        fail_on_data_errors: bool = False,
        resource_timeout: float | None = None,
        timer_is_transient: bool = False,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.cache = ResourceCache(types)
        self._types = {type_url: _TypeState(kind) for type_url, kind in types.items()}
        self._breathe = breathe
        self._drop_on_error = fail_on_data_errors
        self._transient = timer_is_transient
        self._timeout = resource_timeout or (
            TRANSIENT_RESOURCE_TIMEOUT if timer_is_transient else RESOURCE_TIMEOUT
        )
        self._open = False
        self._node_sent = False
        self._answered = False
        self._outbox: list[DiscoveryRequest] = []
        self._news: deque[Notify] = deque()
        # Entries with a deadline, and some that have none any more.
        self._timed: list[CacheEntry] = []

    # ---- what the application wants

    def subscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Watch a resource. What is known about it is told at once; subscribing again does nothing.

        :param name: not empty (that would be a wildcard, which Istio's grpc generator does not serve).
        """
        if not name:
            raise ValueError(f"{kind}: the name of a resource cannot be empty")
        state = self._types[kind.type_url]
        entries = self.cache.of(kind)
        entry = entries.get(name)
        if entry is None:
            state.touched = True
            # Revived where the server was not told yet: it would see no change and send nothing again.
            if name in state.leaving:
                entry = entries[name] = state.leaving.pop(name)
                self._timed.append(entry)
            else:
                entry = entries[name] = CacheEntry(kind, name)
        if entry.watched_by(watcher):
            return
        entry.watchers.append(watcher)
        if state.whole is not None and entry.state is ResourceState.REQUESTED:
            self._from_whole(state, entry)
            return
        if entry.model is not None:
            self._news.append(Notify(entry, watcher, entry.model))
        if entry.error is not None:
            self._news.append(Notify(entry, watcher, None, entry.error, entry.model is not None))

    def unsubscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Stop watching; news that are not delivered yet are dropped. Unknown watchers are ignored."""
        entry = self.cache.of(kind).get(name)
        if entry is None or not entry.watched_by(watcher):
            return
        entry.watchers = [known for known in entry.watchers if known is not watcher]
        if entry.watchers:
            return
        del self.cache.of(kind)[name]
        state = self._types[kind.type_url]
        state.touched = True
        if state.sent is not None and state.kind.wildcard_name is None:
            state.leaving[name] = entry
        else:
            self._forget(state, entry)

    def _from_whole(self, state: _TypeState, entry: CacheEntry) -> None:
        """A new entry of a type that is there as a whole: nothing has to be asked for."""
        assert state.whole is not None
        held = state.whole.get(entry.name)
        if held is None:
            reason = f"version {state.version!r} of the control plane's configuration does not have it"
            entry.state = ResourceState.DOES_NOT_EXIST
            self._failed(state, entry, self._not_found(entry, reason), state.whole_at)
            return
        response = DiscoveryResponse(state.kind.type_url, resources=(held,))
        good, bad, unnamed = self._decoded(state, response)
        for raw, model in good.values():
            self._accept(state, entry, raw, model, state.version, state.whole_at)
        for error in (*bad.values(), *unnamed):
            self._refuse(state, entry, error, state.version, state.whole_at)

    # ---- what the stream does

    def opened(self, now: float) -> None:
        """A new stream exists: everything wanted is asked for again (nonce empty, version kept)."""
        self._open = True
        self._node_sent = self._answered = False
        self._reset_stream()

    def sent(self, now: float) -> None:
        """The transport has taken every request handed out so far: resource timers start.

        They never run without a connection (A57), and only for resources that nothing is known about.
        """
        for state in self._types.values():
            entries = self.cache.of(state.kind)
            for name in state.unsent:
                entry = entries.get(name)
                if entry is not None and entry.state is ResourceState.REQUESTED and entry.deadline is None:
                    entry.deadline = now + self._timeout
                    self._timed.append(entry)
            state.unsent.clear()

    def received(self, response: DiscoveryResponse, now: float) -> None:
        """A response came. It is answered with exactly one ACK or NACK in :meth:`requests`.

        An unknown type gets neither, nor does a type that this stream has not asked for: an answer without
        names would be a wildcard subscription.
        """
        state = self._types.get(response.type_url)
        if state is None or state.sent is None:
            _log.warning("ADS: ignored a response of type %r, which was not asked for", response.type_url)
            return
        if state.owed:
            self._outbox.append(self._request(state))
        entries = self.cache.of(state.kind)
        if state.kind.wildcard_name is not None:
            response = self._watched(state, response, now)
        good, bad, unnamed = self._decoded(state, response)
        for name, (raw, model) in good.items():
            if entry := entries.get(name):
                self._accept(state, entry, raw, model, response.version, now)
        for name, error in bad.items():
            if entry := entries.get(name):
                self._refuse(state, entry, error, response.version, now)
        if state.kind.full_state and not unnamed:
            self._absent(state, {*good, *bad}, response.version, now)
        state.nonce = response.nonce
        state.answered = state.owed = self._answered = True
        problems = [*unnamed, *bad.values()]
        state.refusal = _detail(problems)
        if problems:
            _log.warning("ADS: refused version %r: %s", response.version, state.refusal)
        else:
            state.version = response.version

    def closed(self, now: float, error: StreamError | None) -> None:
        """The stream ended, or could not be opened.

        After a response that is no error (A57). Before one it is told to every watcher whose resource nothing
        else is known about, and as an ambient error to the others.

        :param error: ``None``: nobody is told, another control plane is tried (A71).
        """
        failed = not self._answered
        self._open = self._answered = False
        self._outbox.clear()
        self._reset_stream()
        if not failed or error is None:
            return
        for entry in self.cache:
            if entry.model is not None:
                self._tell(entry, error, ambient=True)
            elif entry.state in _UNKNOWN:
                self._tell(entry, error)

    def switched(self) -> None:
        """Another control plane is next: its versions are others. What is held stays."""
        for state in self._types.values():
            state.version = ""

    def _reset_stream(self) -> None:
        for state in self._types.values():
            for entry in state.leaving.values():
                self._forget(state, entry)
            state.reset()
        for entry in self.cache:
            entry.deadline = None
            entry.first_ask = False

    # ---- what time does

    def next_timer(self) -> float | None:
        """When :meth:`expire` has something to do, on the caller's clock; ``None``: never."""
        self._timed = [entry for entry in self._timed if entry.deadline is not None and entry.watchers]
        return min((entry.deadline for entry in self._timed if entry.deadline is not None), default=None)

    def expire(self, now: float) -> None:
        """Resources whose time has run out do not exist (or, with ``timer_is_transient``, are late)."""
        for entry in self._timed:
            if entry.deadline is not None and entry.deadline <= now and entry.watchers:
                entry.deadline = None
                entry.updated = now
                entry.state = ResourceState.TIMEOUT if self._transient else ResourceState.DOES_NOT_EXIST
                entry.error = self._not_found(entry, "the control plane did not send it in time")
                self._tell(entry, entry.error)

    # ---- what comes out

    def next_notification(self) -> Notify | None:
        """The next news to deliver; ``None``: no more. Delivering may make more."""
        while self._news:
            news = self._news.popleft()
            if news.entry.watched_by(news.watcher):
                return news
        return None

    @property
    def lacking(self) -> bool:
        """Whether something is watched of which nothing is known."""
        return any(entry.model is None and entry.state in _UNKNOWN for entry in self.cache)

    @property
    def has_news(self) -> bool:
        """Whether :meth:`next_notification` may have something."""
        return bool(self._news)

    @property
    def answered(self) -> bool:
        """Whether the open stream has brought a response (of a type that was asked for)."""
        return self._answered

    def requests(self) -> tuple[DiscoveryRequest, ...]:
        """What to send now: at most one request per type, be it for one subscription or many.

        Those that ask for something come before those that only acknowledge: a call may wait for an answer.
        """
        requests, self._outbox = self._outbox, []
        due: list[tuple[bool, _TypeState]] = []
        if self._open:
            for state in self._types.values():
                if not state.touched and not state.owed:
                    continue  # at rest a turn costs the same whatever is watched
                state.touched = False
                names = tuple(self.cache.of(state.kind))
                changed = names != state.sent and set(names) != set(state.sent or ())
                if state.kind.wildcard_name is not None:
                    changed = bool(names) and state.sent is None
                if state.owed or changed:
                    due.append((not changed, state))
        due.sort(key=itemgetter(0))
        requests += [self._request(state) for _, state in due]
        return tuple(requests)

    def question(self) -> DiscoveryRequest | None:
        """The first request of a stream to see whether another server answers; ``None``: nothing is watched."""
        for state in self._types.values():
            kind = state.kind
            if names := tuple(self.cache.of(kind)):
                wanted = () if kind.wildcard_name is not None else names
                return DiscoveryRequest(kind.type_url, wanted, node=self.node)
        return None

    def _request(self, state: _TypeState) -> DiscoveryRequest:
        entries = self.cache.of(state.kind)
        first = state.sent is None
        before = set(state.sent or ())
        version = state.version
        for name, entry in entries.items():
            if name not in before:
                state.unsent[name] = None
                entry.first_ask = first
                if first and entry.model is None:
                    # "I have this version" would be untrue, and a server may then send nothing.
                    version = ""
        for entry in state.leaving.values():
            self._forget(state, entry)
        state.leaving.clear()
        state.sent = () if state.kind.wildcard_name is not None else tuple(entries)
        request = DiscoveryRequest(
            type_url=state.kind.type_url,
            names=state.sent,
            version=version,
            nonce=state.nonce,
            error=state.refusal if state.owed else "",
            node=None if self._node_sent else self.node,
        )
        self._node_sent = True
        state.owed = False
        state.refusal = ""
        return request

    # ---- a response, piece by piece

    def _watched(self, state: _TypeState, response: DiscoveryResponse, now: float) -> DiscoveryResponse:
        """Keep a response that holds a whole type as it is; the same with what is watched, and what has no name.

        What nobody watches is not decoded: it costs next to nothing, and no mistake in it costs a NACK.
        """
        assert state.kind.wildcard_name is not None
        entries = self.cache.of(state.kind)
        whole: dict[str, RawResource] = {}
        watched = []
        for resource in response.resources:
            try:
                name = resource.name or state.kind.wildcard_name(resource.value)
            except ValueError:
                watched.append(resource)
                continue
            whole[name] = resource
            if name in entries:
                watched.append(resource)
        state.whole, state.whole_at = whole, now
        return replace(response, resources=tuple(watched))

    def _decoded(
        self, state: _TypeState, response: DiscoveryResponse
    ) -> tuple[dict[str, tuple[bytes, Any]], dict[str, ResourceError], list[ResourceError]]:
        """Good resources and bad ones by name, and bad ones whose name is unknown."""
        kind = state.kind
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
                known = state.by_raw.get(resource.value)
                if known is not None:
                    name, model = known.name, known.model
                else:
                    name, model = kind.decode(resource.value, self._following(kind, resource.value))
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

    def _following(self, kind: ResourceType, raw: bytes) -> Callable[[bytes], Any] | None:
        """What decodes a later version of a resource that is held."""
        if kind.follow is None:
            return None
        try:
            entry = self.cache.of(kind).get(first_string(raw))
        except ValueError:
            return None
        if entry is None or entry.model is None:
            return None
        if entry.follow is None:
            entry.follow = kind.follow(self._breathe)
        return entry.follow

    def _accept(
        self, state: _TypeState, entry: CacheEntry, raw: bytes, model: Any, version: str, now: float
    ) -> None:
        healed = entry.state is not ResourceState.ACKED
        changed = False
        if raw != entry.raw:
            state.by_raw.pop(entry.raw, None)
            state.by_raw[raw] = entry
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
            self._news.extend(Notify(entry, watcher, entry.model) for watcher in entry.watchers)

    def _refuse(
        self, state: _TypeState, entry: CacheEntry, error: ResourceError, version: str, now: float
    ) -> None:
        repeated = entry.state is ResourceState.NACKED and str(entry.error) == str(error)
        entry.state = ResourceState.NACKED
        entry.rejected_version = version
        self._failed(state, entry, error, now, silent=repeated)

    def _absent(self, state: _TypeState, present: set[str], version: str, now: float) -> None:
        """Wanted and not in a response that names everything: deleted, never there, or asked for too late."""
        for name, entry in self.cache.of(state.kind).items():
            if name in present or entry.state is ResourceState.DOES_NOT_EXIST:
                continue
            # Asked for as a whole, a type's responses do not depend on when a name was added.
            as_named = state.kind.wildcard_name is None and not (entry.first_ask and not state.answered)
            if as_named and entry.state is ResourceState.REQUESTED:
                # The first response of a stream cannot be older than its first request; later ones can.
                if entry.deadline is not None:
                    entry.deadline = min(entry.deadline, now + ABSENCE_GRACE)
                continue
            deleted = entry.model is not None
            entry.state = ResourceState.DOES_NOT_EXIST
            reason = f"version {version!r} of the control plane's configuration does not have it"
            if deleted:
                reason = f"version {version!r} of the control plane's configuration has it no more"
            self._failed(state, entry, self._not_found(entry, reason), now)

    def _failed(
        self, state: _TypeState, entry: CacheEntry, error: ResourceError, now: float, *, silent: bool = False
    ) -> None:
        """A data error: the last good version stays unless the server features say otherwise (A88)."""
        entry.error = error
        entry.updated = now
        entry.deadline = None
        if self._drop_on_error and entry.model is not None:
            self._forget(state, entry)
            silent = False
        if not silent:
            self._tell(entry, error, ambient=entry.model is not None)

    def _forget(self, state: _TypeState, entry: CacheEntry) -> None:
        state.by_raw.pop(entry.raw, None)
        entry.model = None
        entry.follow = None
        entry.raw = b""
        entry.version = ""

    def _tell(self, entry: CacheEntry, error: XdsError, *, ambient: bool = False) -> None:
        self._news.extend(Notify(entry, watcher, None, error, ambient) for watcher in entry.watchers)

    def _not_found(self, entry: CacheEntry, reason: str) -> ResourceNotFound:
        return ResourceNotFound(entry.kind.short_name, entry.name, f"{reason} (node {self.node.id!r})")


def _detail(problems: list[ResourceError]) -> str:
    """The NACK text: every bad resource with its reason, within bounds."""
    parts: list[str] = []
    size = 0
    for index, problem in enumerate(problems):
        text = str(problem)
        if len(text) > _MAX_REASON:
            text = text[:_MAX_REASON] + "..."
        if size + len(text) > _MAX_DETAIL:
            parts.append(f"and {len(problems) - index} more")
            break
        parts.append(text)
        size += len(text)
    return "; ".join(parts)
