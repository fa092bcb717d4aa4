"""The spans of one request, put together from what every process wrote."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TraceParent:
    """W3C's ``traceparent`` of a caller that wants its request traced."""

    trace: str
    span: str

    @classmethod
    def new(cls) -> TraceParent:
        """One of random ids."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.span}-01"


@dataclass(frozen=True, slots=True)
class Trace:
    """One traced request.

    :ivar spans: as :func:`examples.bookinfo.tracing.as_dict` writes them.
    :ivar expected: how many there must be.
    """

    parent: TraceParent
    headers: Mapping[str, str]
    spans: tuple[Mapping[str, Any], ...]
    expected: int
    failures: tuple[str, ...]

    calls = 1

    @property
    def passed(self) -> bool:
        """Whether the spans are one tree, all of them, and none failed."""
        reached = list(self.walk())
        complete = len(reached) == len(self.spans) == self.expected
        return (
            complete
            and len(self.roots()) == 1
            and not self.failures
            and not any(s["failed"] for s in reached)
        )

    def roots(self) -> list[Mapping[str, Any]]:
        """The spans that the caller's own span is the parent of."""
        return self.children(self.parent.span)

    def children(self, parent: str) -> list[Mapping[str, Any]]:
        """The spans under one, the first first."""
        return sorted(
            (span for span in self.spans if span["parent"] == parent), key=lambda span: span["start"]
        )

    def walk(self) -> Iterator[Mapping[str, Any]]:
        """Every span that is reached from the caller's, each once."""
        waiting = self.roots()
        while waiting:
            span = waiting.pop(0)
            yield span
            waiting = self.children(span["span"]) + waiting

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "trace": self.parent.trace,
            "headers": dict(self.headers),
            "spans": [dict(span) for span in self.spans],
            "failures": list(self.failures),
            "passed": self.passed,
        }
