"""Limits on what a peer may send, and on what a client or a server may hold. Every one is finite."""

from __future__ import annotations

import math
import sys
import threading
from dataclasses import dataclass, field

from ...errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one message, checked before thriftpy2 sees it.

    :ivar frame: bytes of a message (Apache Thrift's and Kitex's default).
    :ivar depth: nesting of structs and containers, the outermost struct included (Apache Thrift's
        TConfiguration).
    :ivar elements: elements of all containers together; a map entry counts twice.
    :ivar expansion: what a message may take once thriftpy2 has decoded it, as a multiple of its bytes and on top of
        1 MiB; the text of strings is left out. Numbers and strings take 40 times their bytes at most, structs
        with fields set and lists 5 to 60 times; an empty struct is one byte and an object of 80 to some thousand.
        Of structs that are keys of a map, which take time, the square of their number counts. To be raised where
        an IDL has lists of structs with very many fields of which few are set.
    :ivar inflation: what a message may have that came compressed (THeader's zlib), as a multiple of the bytes that
        came and on top of 1 MiB. For ``expansion`` it counts for 8 times those bytes at most.
    :ivar header: bytes of the header of TTHeader or THeader, on top of ``frame`` (what fits in Kitex's 16 bits).
    :ivar header_entries: keys in one header.
    :raises UsageError: one of them is no int in its bounds; the text names those.
    """

    frame: int = 16_384_000
    depth: int = 64
    elements: int = 1_000_000
    expansion: int = 64
    inflation: int = 32
    header: int = 65_532
    header_entries: int = 2048

    def __post_init__(self) -> None:
        sizes = _ints(1, self.frame, self.depth) and _ints(0, self.elements)
        if not sizes or self.frame >= 2**31 or self.depth > 500:
            raise UsageError("Limits: ints: frame: 1 to 2**31-1 bytes; depth: 1 to 500; elements: 0 or more")
        if not _ints(1, self.expansion, self.inflation) or max(self.expansion, self.inflation) >= 2**31:
            raise UsageError("Limits: expansion, inflation: ints, 1 to 2**31-1")
        if not (_ints(1, self.header) and _ints(0, self.header_entries)) or self.header > 262_140:
            raise UsageError("Limits: ints: header: 1 to 262140 bytes; header_entries: 0 or more")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of a client, per endpoint. Times are in seconds; ``math.inf``: no limit.

    :ivar connections: open at a time; a call waits for a free one until its deadline.
    :ivar idle: kept open between calls.
    :ivar idle_time: an idle connection is not used after it (Kitex's MaxIdleTimeout).
    :ivar connect_timeout: for one endpoint, within the deadline of the call.
    :ivar call_timeout: of a call that has neither a deadline of the caller nor a timeout of the route.
    :ivar multiplexed: connections that many calls share at a time, told apart by sequence id (TTHeader only; where
        the framing is learned, of those endpoints that take TTHeader); 0: a connection carries one call at a time.
    :raises UsageError: one of them is no number in its bounds; the text names those.
    """

    connections: int = 256
    idle: int = 64
    idle_time: float = 30.0
    connect_timeout: float = 5.0
    call_timeout: float = 60.0
    multiplexed: int = 0

    def __post_init__(self) -> None:
        if not (_ints(1, self.connections) and _ints(0, self.idle, self.multiplexed)):
            raise UsageError(
                "PoolLimits: connections: an int of 1 or more; idle, multiplexed: ints of 0 or more"
            )
        if not _times(self.idle_time, self.connect_timeout, self.call_timeout):
            raise UsageError("PoolLimits: idle_time, connect_timeout, call_timeout: seconds above 0")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of a server. Times are in seconds; ``math.inf``: no limit.

    :ivar message: on what clients send.
    :ivar connections: open at a time; more are closed as they come.
    :ivar handshake_timeout: from accepting a connection to its first byte.
    :ivar frame_timeout: from the first byte of a message to its last, both ways.
    :ivar idle_timeout: between messages.
    :ivar in_flight: calls of one connection that run at a time, where its client takes answers in any order.
    :ivar backlog: of the listening socket.
    :raises UsageError: one of them is no number in its bounds; the text names those.
    """

    message: Limits = field(default_factory=Limits)
    connections: int = 4096
    handshake_timeout: float = 10.0
    frame_timeout: float = 30.0
    idle_timeout: float = 300.0
    in_flight: int = 256
    backlog: int = 1024

    def __post_init__(self) -> None:
        if not isinstance(self.message, Limits):
            raise UsageError(f"ServerLimits: message: Limits(...), not {self.message!r}")
        if not _ints(1, self.connections, self.in_flight, self.backlog):
            raise UsageError("ServerLimits: connections, in_flight, backlog: ints of 1 or more")
        if not _times(self.handshake_timeout, self.frame_timeout, self.idle_timeout):
            raise UsageError("ServerLimits: handshake_timeout, frame_timeout, idle_timeout: seconds above 0")


def _ints(least: int, *given: object) -> bool:
    return all(isinstance(each, int) and least <= each <= sys.maxsize for each in given)


def _times(*given: object) -> bool:
    return all(isinstance(each, int | float) and each > 0 for each in given)


def grace_period(seconds: float) -> float:
    """Seconds for which a server that stops may wait, no more than threads can.

    :raises UsageError: it is no number. Below 0 there is no time left.
    """
    if not isinstance(seconds, int | float) or math.isnan(seconds):
        raise UsageError(f"a server's grace and drain are seconds, math.inf: no limit; not {seconds!r}")
    return min(seconds, threading.TIMEOUT_MAX / 2)
