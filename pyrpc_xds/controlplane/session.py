"""The state of one ADS stream, state of the world, without any input or output of its own.

Rules (Envoy's xDS protocol, and gRFC A27 for what proxyless clients expect):

- A request without nonce, or the first of its type, subscribes. One with the nonce of the last response
  acknowledges it, or refuses it when it carries an error; its names are the new subscription either way.
  One with any other nonce is stale and ignored: the client will answer the newer response too.
- Listeners and clusters are sent whole, because one that is left out counts as deleted. Routes and
  endpoints are sent as far as they are new or have changed.
- What has not changed for this stream is not sent again.
- After a change the types go out in the order clusters, endpoints, listeners, routes, so that nothing
  refers to what the client has not heard of.
- While a response of a type is neither acknowledged nor refused, no other of that type is sent; the newest
  state is, afterwards. A slow client therefore holds one response of a type and no queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .names import NodeView
from .wire import CLUSTER, ENDPOINT, LISTENER, ROUTE

PUSH_ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
SHORT_NAMES = {LISTENER: "LDS", ROUTE: "RDS", CLUSTER: "CDS", ENDPOINT: "EDS"}
_WHOLE = frozenset({LISTENER, CLUSTER})


class Source(Protocol):
    """Where resources come from: :class:`~pyrpc_xds.controlplane.snapshot.Snapshot`."""

    @property
    def version(self) -> str:
        """What responses carry as their version."""

    def resources(self, type_url: str, node: NodeView, name: str) -> Mapping[str, bytes]:
        """The encoded resources that a subscribed name stands for."""

    def every_name(self, type_url: str, node: NodeView) -> tuple[str, ...]:
        """The names that an empty subscription stands for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A DiscoveryRequest without its node. ``error`` is the text of a refusal (NACK)."""

    type_url: str
    names: tuple[str, ...] = ()
    nonce: str = ""
    version: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A DiscoveryResponse: encoded resources by name."""

    type_url: str
    version: str
    nonce: str
    resources: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How one resource type stands on one stream.

    :param subscribed: the names subscribed to; none means all, where the type has that.
    :param version_sent: version of the last response; ``version_acked`` of the last accepted one.
    :param sent: number of responses; ``acked`` and ``nacked`` of the answers to them.
    :param error: the text of the last refusal, empty once a later response is accepted.
    """

    subscribed: tuple[str, ...]
    version_sent: str
    version_acked: str
    sent: int
    acked: int
    nacked: int
    error: str


@dataclass(slots=True)
class _Subscription:
    names: tuple[str, ...] = ()
    everything: bool = False
    # What the client was last sent, by resource name: compared by identity first, so equal bytes cost little.
    delivered: dict[str, bytes] = field(default_factory=dict)
    nonce: str = ""
    awaiting: bool = False
    dirty: bool = False
    version_sent: str = ""
    version_acked: str = ""
    sent: int = 0
    acked: int = 0
    nacked: int = 0
    error: str = ""


class Session:
    """One stream of one node.

    :param node: what the node is allowed to depend on.
    :param source: the state at the time the stream opens.

    Not safe for several threads at once: the caller serialises :meth:`receive` and :meth:`update`.
    """

    def __init__(self, node: NodeView, source: Source) -> None:
        self.node = node
        self._source = source
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = 0

    def receive(self, request: Request) -> list[Response]:
        """What to send in answer to a request: one response or none."""
        if request.type_url not in SHORT_NAMES:
            return []
        subscription = self._subscriptions.get(request.type_url)
        fresh = subscription is None or not request.nonce
        if subscription is None:
            subscription = self._subscriptions[request.type_url] = _Subscription()
        if fresh:
            subscription.delivered.clear()
            # An empty first request is for everything; names once given, an empty one is for nothing.
            subscription.everything = not request.names and not subscription.names
        elif request.nonce != subscription.nonce:
            return []
        else:
            self._answered(subscription, request)
        added = not set(request.names) <= set(subscription.names)
        if request.names:
            subscription.everything = False
        subscription.names = tuple(dict.fromkeys(request.names))
        if fresh:
            subscription.awaiting = False
            return self._respond(request.type_url, subscription, asked=True)
        if added or subscription.dirty:
            return self._respond(request.type_url, subscription, asked=added)
        self._forget_unsubscribed(request.type_url, subscription)
        return []

    @staticmethod
    def _answered(subscription: _Subscription, request: Request) -> None:
        if not subscription.awaiting:
            return  # a change of names under an answered nonce
        subscription.awaiting = False
        if request.error is None:
            subscription.acked += 1
            subscription.version_acked = subscription.version_sent
            subscription.error = ""
        else:
            subscription.nacked += 1
            subscription.error = request.error

    def update(self, source: Source) -> list[Response]:
        """What to send after a change, in order."""
        self._source = source
        responses: list[Response] = []
        for type_url in PUSH_ORDER:
            subscription = self._subscriptions.get(type_url)
            if subscription is not None:
                responses.extend(self._respond(type_url, subscription, asked=False))
        return responses

    def _wanted(self, type_url: str, subscription: _Subscription) -> dict[str, bytes]:
        names = subscription.names
        if subscription.everything:
            names = self._source.every_name(type_url, self.node)
        wanted: dict[str, bytes] = {}
        for name in names:
            wanted.update(self._source.resources(type_url, self.node, name))
        return wanted

    def _respond(self, type_url: str, subscription: _Subscription, *, asked: bool) -> list[Response]:
        if subscription.awaiting:
            subscription.dirty = True
            return []
        subscription.dirty = False
        wanted = self._wanted(type_url, subscription)
        delivered = subscription.delivered
        changed = {name: value for name, value in wanted.items() if delivered.get(name) != value}
        gone = type_url in _WHOLE and any(name not in wanted for name in delivered)
        subscription.delivered = wanted
        # A question is answered even if there is nothing: the client then need not wait for a timer.
        asked = asked and (type_url in _WHOLE or bool(subscription.names))
        if not changed and not gone and not asked:
            return []
        self._nonces += 1
        subscription.nonce = f"{self._source.version}-{self._nonces}"
        subscription.version_sent = self._source.version
        subscription.awaiting = True
        subscription.sent += 1
        resources = wanted if type_url in _WHOLE else changed
        return [Response(type_url, self._source.version, subscription.nonce, resources)]

    def _forget_unsubscribed(self, type_url: str, subscription: _Subscription) -> None:
        """Forget what was delivered under names no longer subscribed: the client has dropped it too."""
        if len(subscription.delivered) > len(subscription.names) and not subscription.everything:
            kept: dict[str, bytes] = {}
            for name in subscription.names:
                for key in self._source.resources(type_url, self.node, name):
                    if key in subscription.delivered:
                        kept[key] = subscription.delivered[key]
            subscription.delivered = kept

    def status(self) -> dict[str, TypeStatus]:
        """How each subscribed type stands, by short name (LDS, RDS, CDS, EDS)."""
        return {
            SHORT_NAMES[type_url]: TypeStatus(
                subscribed=state.names,
                version_sent=state.version_sent,
                version_acked=state.version_acked,
                sent=state.sent,
                acked=state.acked,
                nacked=state.nacked,
                error=state.error,
            )
            for type_url, state in self._subscriptions.items()
        }
