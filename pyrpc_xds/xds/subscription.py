"""What the requests of one resource type say: names, version, nonce, ACK or NACK. Sans-IO.

The version lasts as long as the session, all else as long as a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..bootstrap import Node
from ..errors import ResourceError
from .cache import CacheEntry
from .decode.envelope import DiscoveryRequest, DiscoveryResponse
from .types import ResourceType

_MAX_REASON = 500
_MAX_DETAIL = 16_000


class TypeSubscription:
    """One resource type's part in the state of the world.

    :param entries: what is wanted, live.
    :ivar version: the last accepted one.
    :ivar nonce: of the last response, refused ones included.
    :ivar sent: names of the last request; ``None``: none on this stream.
    :ivar touched: since then names have come or gone, perhaps the same ones.
    :ivar answered: a response has come on this stream.
    :ivar owed: a response is not answered yet; ``refusal`` says what is wrong with it.
    :ivar unsent: names asked for whose request the transport has not taken yet.
    """

    def __init__(self, kind: ResourceType, entries: Mapping[str, CacheEntry]) -> None:
        self.kind = kind
        self.entries = entries
        self.version = ""
        self.unsent: dict[str, None] = {}
        self.reset()

    def reset(self) -> None:
        """The stream is new, or gone."""
        self.nonce = ""
        self.sent: tuple[str, ...] | None = None
        self.touched = True
        self.answered = self.owed = False
        self.refusal = ""
        self.unsent.clear()

    def received(self, response: DiscoveryResponse, problems: Sequence[ResourceError]) -> None:
        """The next request acknowledges ``response``, or refuses it for ``problems``."""
        self.nonce = response.nonce
        self.answered = self.owed = True
        self.refusal = _detail(problems)
        if not problems:
            self.version = response.version

    def asks(self) -> bool:
        """Whether the next request asks for other names than the last one."""
        self.touched = False
        if self.kind.wildcard_name is not None:
            return bool(self.entries) and self.sent is None
        names = tuple(self.entries)
        return names != self.sent and set(names) != set(self.sent or ())

    def request(self, node: Node | None) -> DiscoveryRequest:
        """The next request, which answers the response that is owed an answer.

        :param node: who asks, for the first request of a stream.
        """
        first = self.sent is None
        before = set(self.sent or ())
        version = self.version
        for name, entry in self.entries.items():
            if name not in before:
                self.unsent[name] = None
                entry.first_ask = first
                if first and entry.model is None:
                    # "I have this version" would be untrue, and a server may then send nothing.
                    version = ""
        self.sent = self._names()
        request = DiscoveryRequest(
            type_url=self.kind.type_url,
            names=self.sent,
            version=version,
            nonce=self.nonce,
            error=self.refusal if self.owed else "",
            node=node,
        )
        self.owed = False
        self.refusal = ""
        return request

    def question(self, node: Node) -> DiscoveryRequest:
        """The first request of another stream, which changes nothing here."""
        return DiscoveryRequest(self.kind.type_url, self._names(), node=node)

    def taken(self) -> Iterator[CacheEntry]:
        """The transport has taken every request so far: what they have asked for since the last time."""
        for name in self.unsent:
            if entry := self.entries.get(name):
                yield entry
        self.unsent.clear()

    def _names(self) -> tuple[str, ...]:
        return () if self.kind.wildcard_name is not None else tuple(self.entries)


def _detail(problems: Sequence[ResourceError]) -> str:
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
