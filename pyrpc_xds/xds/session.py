"""The ADS protocol, state of the world, without I/O.

Inputs are methods (:meth:`Session.subscribe`, :meth:`~Session.received`, ...); outputs are taken after every
input, with :meth:`~Session.next_notification` until there is no more and then :meth:`~Session.requests`. The
caller owns the socket and the clock. Not thread-safe: one owner.

Of each resource type the requests are kept by :mod:`.subscription`, what the responses bring by :mod:`.resources`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from operator import itemgetter

from ..bootstrap import Node
from ..errors import StreamError
from .cache import CacheEntry, ResourceCache, ResourceState
from .decode.envelope import DiscoveryRequest, DiscoveryResponse
from .news import News, Notify
from .resources import TypeResources, not_found
from .subscription import TypeSubscription
from .timers import RESOURCE_TIMEOUT, TRANSIENT_RESOURCE_TIMEOUT, ResourceTimers
from .types import TYPES, ResourceType
from .watch import Watcher

_log = logging.getLogger("pyrpc_xds.xds")

_UNKNOWN = (ResourceState.REQUESTED, ResourceState.TIMEOUT)


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
        self._news = News()
        self._types: dict[str, tuple[TypeSubscription, TypeResources]] = {}
        for type_url, kind in types.items():
            entries = self.cache.of(kind)
            resources = TypeResources(
                kind,
                entries,
                self._news,
                node_id=node.id,
                drop_on_error=fail_on_data_errors,
                breathe=breathe,
            )
            self._types[type_url] = (TypeSubscription(kind, entries), resources)
        usual = TRANSIENT_RESOURCE_TIMEOUT if timer_is_transient else RESOURCE_TIMEOUT
        self._timers = ResourceTimers(resource_timeout or usual)
        self._late = ResourceState.TIMEOUT if timer_is_transient else ResourceState.DOES_NOT_EXIST
        # As long as a stream.
        self._open = False
        self._node_sent = False
        self._answered = False
        self._outbox: list[DiscoveryRequest] = []

    # ---- what the application wants

    def subscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Watch a resource. What is known about it is told at once; subscribing again does nothing.

        :param name: not empty (that would be a wildcard, which Istio's grpc generator does not serve).
        """
        if not name:
            raise ValueError(f"{kind}: the name of a resource cannot be empty")
        subscription, resources = self._types[kind.type_url]
        entry = resources.entries.get(name)
        if entry is None:
            subscription.touched = True
            # Revived where the server was not told yet: it would see no change and send nothing again.
            entry = resources.leaving.pop(name, None)
            if entry is None:
                entry = CacheEntry(kind, name)
            else:
                self._timers.resume(entry)
            resources.entries[name] = entry
        if entry.watched_by(watcher):
            return
        entry.watchers.append(watcher)
        if resources.whole is not None and entry.state is ResourceState.REQUESTED:
            resources.from_whole(entry, subscription.version)
        else:
            self._news.known(entry, watcher)

    def unsubscribe(self, kind: ResourceType, name: str, watcher: Watcher) -> None:
        """Stop watching; news that are not delivered yet are dropped. Unknown watchers are ignored."""
        subscription, resources = self._types[kind.type_url]
        entry = resources.entries.get(name)
        if entry is None or not entry.watched_by(watcher):
            return
        entry.watchers = [known for known in entry.watchers if known is not watcher]
        if entry.watchers:
            return
        subscription.touched = True
        resources.leave(entry, told=subscription.sent is not None and kind.wildcard_name is None)

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
        for subscription, _ in self._types.values():
            self._timers.start(subscription.taken(), now)

    def received(self, response: DiscoveryResponse, now: float) -> None:
        """A response came. It is answered with exactly one ACK or NACK in :meth:`requests`.

        An unknown type gets neither, nor does a type that this stream has not asked for: an answer without
        names would be a wildcard subscription.
        """
        known = self._types.get(response.type_url)
        if known is None or known[0].sent is None:
            _log.warning("ADS: ignored a response of type %r, which was not asked for", response.type_url)
            return
        subscription, resources = known
        if subscription.owed:
            self._outbox.append(self._request(subscription, resources))
        problems = resources.received(response, now, first=not subscription.answered)
        subscription.received(response, problems)
        self._answered = True
        if problems:
            _log.warning("ADS: refused version %r: %s", response.version, subscription.refusal)

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
                self._news.failed(entry, error, ambient=True)
            elif entry.state in _UNKNOWN:
                self._news.failed(entry, error)

    def switched(self) -> None:
        """Another control plane is next: its versions are others. What is held stays."""
        for subscription, _ in self._types.values():
            subscription.version = ""

    def _reset_stream(self) -> None:
        for subscription, resources in self._types.values():
            resources.left()
            subscription.reset()
        self._timers.stop()
        for entry in self.cache:
            entry.first_ask = False

    # ---- what time does

    def next_timer(self) -> float | None:
        """When :meth:`expire` has something to do, on the caller's clock; ``None``: never."""
        return self._timers.next()

    def expire(self, now: float) -> None:
        """Resources whose time has run out do not exist (or, with ``timer_is_transient``, are late)."""
        for entry in self._timers.expired(now):
            entry.updated = now
            entry.state = self._late
            entry.error = not_found(entry, "the control plane did not send it in time", self.node.id)
            self._news.failed(entry, entry.error)

    # ---- what comes out

    def next_notification(self) -> Notify | None:
        """The next news to deliver; ``None``: no more. Delivering may make more."""
        return self._news.next()

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
        due: list[tuple[bool, TypeSubscription, TypeResources]] = []
        if self._open:
            for subscription, resources in self._types.values():
                if not subscription.touched and not subscription.owed:
                    continue  # at rest a turn costs the same whatever is watched
                asks = subscription.asks()
                if subscription.owed or asks:
                    due.append((not asks, subscription, resources))
        due.sort(key=itemgetter(0))
        requests += [self._request(subscription, resources) for _, subscription, resources in due]
        return tuple(requests)

    def question(self) -> DiscoveryRequest | None:
        """The first request of a stream to see whether another server answers; ``None``: nothing is watched."""
        for subscription, _ in self._types.values():
            if subscription.entries:
                return subscription.question(self.node)
        return None

    def _request(self, subscription: TypeSubscription, resources: TypeResources) -> DiscoveryRequest:
        request = subscription.request(None if self._node_sent else self.node)
        self._node_sent = True
        resources.left()
        return request
