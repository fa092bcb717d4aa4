"""Which requests the entrance dyes: by a header, or a share of all.

A lane is the member ``env`` of the OpenTelemetry baggage: set once, here, and read by routes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests with this header go into this lane."""

    header: str
    value: str
    lane: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        """``uid=100:dev``.

        :raises ValueError: the text has another form.
        """
        match, found, lane = text.rpartition(":")
        header, equals, value = match.partition("=")
        if not (found and equals and header and value and lane):
            raise ValueError(f"{text!r} is not HEADER=VALUE:LANE")
        return cls(header, value, lane)


@dataclass(frozen=True, slots=True)
class Dye:
    """What a request was dyed with.

    :ivar reason: for people: the rule that matched.
    """

    lane: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dyeing:
    """The entrance's rules; the first that matches counts, and the percentage comes after them.

    :ivar percent: of the requests that no rule matches, from 0 to 100, go into ``percent_lane``.
    """

    rules: tuple[Rule, ...]
    percent: float = 0.0
    percent_lane: str = "dev"

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise ValueError(f"percent={self.percent!r}: from 0 to 100")

    def dye(self, headers: Mapping[str, str] | Message, draw: float) -> Dye | None:
        """The dye of one request; ``None``: it stays in the base lane.

        :param draw: from 0 to below 1, drawn evenly.
        """
        for rule in self.rules:
            if headers.get(rule.header) == rule.value:
                return Dye(rule.lane, f"header {rule.header}: {rule.value}")
        if draw * 100 < self.percent:
            return Dye(self.percent_lane, f"{self.percent:g} % of all")
        return None
