"""Dubbo's own timeout headers, beside grpc-timeout, which grpcio reads itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: dubbo-go's: a duration as Go writes it (``3s``, ``1m30s``, ``250ms``).
DUBBO_GO = "timeout"
#: Dubbo Java's: milliseconds.
DUBBO_JAVA = "tri-service-timeout"

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|us|\u00b5s|ns|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern}){{1,6}}\Z")
_MILLISECONDS = re.compile(r"[0-9]{1,12}\Z")


def of(metadata: Iterable[tuple[str, str | bytes]] | None) -> float | None:
    """The shortest of Dubbo's timeouts in seconds; ``None``: there is none.

    Values that are no durations are attachments of those names, and none of ours. Nor is 0, which means no limit
    in Dubbo.
    """
    shortest: float | None = None
    for name, value in metadata or ():
        seconds = None
        if name == DUBBO_GO:
            seconds = duration(value)
        elif name == DUBBO_JAVA and isinstance(value, str) and _MILLISECONDS.match(value):
            seconds = int(value) / 1000
        if seconds and (shortest is None or seconds < shortest):
            shortest = seconds
    return shortest


def duration(text: str | bytes) -> float | None:
    """A Go duration in seconds; ``None``: it is none."""
    if not isinstance(text, str) or not _DURATION.match(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
