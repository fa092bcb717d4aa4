"""The deadline of the call that is being served, which the calls made for it inherit.

A handler's own calls, over any transport, end at the latest when the call that it serves does: nobody waits for
what comes after. So it is in grpc-go and gRPC Java (the deadline of the incoming ``Context``) and in Kitex
(``server.WithEnableContextTimeout``); grpcio itself passes no deadline on.

It lives in a :mod:`contextvars` variable, as attachments do: tasks that a handler starts inherit it, threads that
it starts do not. Work that goes on after the answer is made in a block of :func:`detached`::

    async def SayHello(self, request, context):
        with pyrpc_xds.detached():
            self._background.add(asyncio.create_task(audit.record(request)))
        return HelloReply(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from .errors import DeadlineExceeded

# Clock time (time.monotonic); None: no call is served here, its caller did not say, or the block is detached.
_until: ContextVar[float | None] = ContextVar("pyrpc_xds_incoming_deadline", default=None)

incoming_deadline = _until.get
"""The deadline, of :func:`time.monotonic`, for transports; ``None``: there is none. Read by every call."""

# grpc's timers count in milliseconds, from a clock of their own.
_TOLERANCE = 0.02
_WHOSE = "; the deadline is that of the call being served, whose caller waits no longer"


def time_remaining() -> float | None:
    """Seconds that the caller of the call being served still waits, over whichever transport, never below 0.

    ``None``: no call is served here, its caller did not say, or this is a block of :func:`detached`.
    """
    until = _until.get()
    return None if until is None else max(until - monotonic(), 0.0)


@contextmanager
def detached() -> Iterator[None]:
    """Calls of the block, and of the tasks started in it, may take longer than the call that is being served.

    Attachments and OpenTelemetry's context stay as they are (as with Go's ``context.WithoutCancel``).
    """
    token = _until.set(None)
    try:
        yield
    finally:
        _until.reset(token)


@contextmanager
def inherited(until: float | None) -> Iterator[None]:
    """The context of a handler, for the servers of transports.

    :param until: of :func:`time.monotonic`; ``None``: no deadline, whatever the context around has.
    """
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def inherit(until: float | None) -> None:
    """As :func:`inherited`, to the end of the current context."""
    if until is not None or _until.get() is not None:
        _until.set(until)


def within(timeout: float | None) -> float | None:
    """The shorter of a call's own timeout and what is left of the call being served; seconds, ``None``: no limit.

    :raises DeadlineExceeded: nothing is left. The call is not to be sent.
    """
    until = _until.get()
    if until is None:
        return timeout
    left = until - monotonic()
    if left <= 0:
        raise DeadlineExceeded("not sent")
    return left if timeout is None or left < timeout else timeout


def whose(until: float | None) -> str:
    """For the text of a call's DEADLINE_EXCEEDED: says so where the deadline was not the call's own.

    :param until: the inherited deadline as it was when the call was made.
    """
    return _WHOSE if until is not None and monotonic() >= until - _TOLERANCE else ""
