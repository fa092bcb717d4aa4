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


def of(metadata: Iterable[tuple[str, str | bytes]] | None, left: float | None) -> float | None:
    """The seconds that Dubbo's headers leave a call, where that is less than ``left``; ``None``: it is not.

    Dubbo Java's counts beside grpc-timeout. dubbo-go's counts where there is none: it is the reference's default,
    sent even when the call has a deadline of its own, later or sooner, which grpc-timeout then tells (3.3.0).

    Values that are no durations are attachments of those names, and none of ours. Nor is 0, which means no limit
    in Dubbo.

    :param left: seconds that grpc-timeout leaves; ``None``: there is none.
    """
    shortest = left
    for name, value in metadata or ():
        seconds = None
        if name == DUBBO_GO and left is None:
            seconds = duration(value)
        elif name == DUBBO_JAVA and isinstance(value, str) and _MILLISECONDS.match(value):
            seconds = int(value) / 1000
        if seconds and (shortest is None or seconds < shortest):
            shortest = seconds
    return None if shortest == left else shortest


def duration(text: str | bytes) -> float | None:
    """A Go duration in seconds; ``None``: it is none."""
    if not isinstance(text, str) or not _DURATION.match(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
