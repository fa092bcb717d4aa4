"""Attachments: the key-value pairs that travel with a call and that routes match on.

Dubbo calls them attachments, Kitex metainfo, gRPC metadata. Set here they apply to every call made in the
current context (thread or asyncio task), over every transport::

    with pyrpc_xds.attachments({"user": "admin"}):
        stub.SayHello(request)

They live in a :mod:`contextvars` variable: new tasks inherit them, other threads do not.

How far they go:

* transient ones (the default) go with the calls of the block, and no further than the servers called;
* persistent ones are passed on by every server of this package, over every transport, to the end of the chain;
* what OpenTelemetry propagates (``traceparent``, ``baggage``) is added where the application has a context of it:
  a lane rule may match the header ``baggage``, and no service needs to know.
"""

from __future__ import annotations

import logging
import re
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from time import monotonic

from .errors import UsageError
from .frozen import frozen

# The names that HTTP/2 and gRPC allow (and so every other transport does): no upper case, no controls.
_NAME = re.compile(r"[0-9a-z_.-]+\Z")
_VALUE = re.compile(r"[\x20-\x7e]*\Z")
_RESERVED = ("grpc-", ":")
# What HTTP/2 and gRPC write themselves, or forbid (RFC 9113 8.2.2).
_TRANSPORT = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)

_NONE: Mapping[str, str] = {}

_log = logging.getLogger("pyrpc_xds")
# Seconds between warnings of what cannot travel.
_COMPLAIN_EVERY = 10.0


@frozen
class _Carried:
    """What one context carries. Replaced, never changed: a call that has read it keeps what it read.

    :ivar outgoing: goes with calls, transient and persistent.
    :ivar persistent: the names of ``outgoing`` that go on to the end of the chain.
    :ivar incoming: came with the call that is being served.
    """

    outgoing: Mapping[str, str]
    persistent: frozenset[str]
    incoming: Mapping[str, str]


_NOTHING = _Carried(_NONE, frozenset(), _NONE)
_current: ContextVar[_Carried] = ContextVar("pyrpc_xds_attachments", default=_NOTHING)


def checked(values: Mapping[str, str]) -> dict[str, str]:
    """``values`` with lower-case names, as they travel.

    :raises UsageError: a name or value cannot travel as a header (which also stops header injection).
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"attachments {reprlib.repr(values)}: it is a mapping, such as {{'user': 'admin'}}")
    result = {}
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(f"attachment {name!r}: names and values are str, got {type(value).__name__}")
        key = name.lower()
        if not _NAME.match(key) or key.startswith(_RESERVED):
            raise UsageError(
                f"attachment name {name!r} cannot travel: letters, digits and _.- only, not starting with grpc-"
            )
        if key in _TRANSPORT:
            raise UsageError(f"attachment name {name!r} cannot travel: the transport writes it")
        if not _VALUE.match(value):
            raise UsageError(
                f"value of attachment {name!r} cannot travel: printable ASCII only "
                "(encode it, for example with urllib.parse.quote)"
            )
        result[key] = value
    return result


@contextmanager
def attachments(values: Mapping[str, str], *, persistent: bool = False) -> Iterator[Mapping[str, str]]:
    """Attach ``values`` to every call in the ``with`` block, on top of those already set.

    :param values: names are case-insensitive; values are printable ASCII.
    :param persistent: servers pass them on with the calls that they make in turn (Kitex's persistent metainfo).
    :raises UsageError: a name or value cannot travel as a header.
    """
    carried = _current.get()
    new = checked(values)
    merged = {**carried.outgoing, **new}
    lasting = carried.persistent | new.keys() if persistent else carried.persistent - new.keys()
    token = _current.set(replace(carried, outgoing=merged, persistent=frozenset(lasting)))
    try:
        yield merged
    finally:
        _current.reset(token)


def current_attachments() -> Mapping[str, str]:
    """What goes with a call made now; lower-case names. Do not change the mapping.

    What OpenTelemetry's propagators inject is in it, under the names that they use; attachments of the same name win.
    """
    outgoing = _current.get().outgoing
    # A context of OpenTelemetry's can only be there where its API has been imported.
    otel = sys.modules.get("opentelemetry.context")
    if otel is not None and otel.get_current():
        injected = _injected()
        if injected:
            return {**injected, **outgoing}
    return outgoing


def _injected() -> dict[str, str]:
    """What the current context of OpenTelemetry has, by lower-case names; what cannot travel is left out."""
    from opentelemetry import propagate

    injected: dict[str, str] = {}
    try:
        propagate.inject(injected)
    except Exception as error:
        # Baggage that is not text; what other propagators had written by then counts.
        _complain("what cannot be written of OpenTelemetry's context is not sent: %s", type(error).__name__)
    injected = {name.lower(): value for name, value in injected.items()}
    odd = [name for name, value in injected.items() if not _VALUE.match(value)]
    if odd:
        _complain("not sent, as it is not printable ASCII: %s of OpenTelemetry's context", ", ".join(odd))
        for name in odd:
            del injected[name]
    return injected


def persistent_attachments() -> frozenset[str]:
    """The names among :func:`current_attachments` that go on to the end of the chain. For transports."""
    return _current.get().persistent


def incoming_attachments() -> Mapping[str, str]:
    """What came with the call that is being served, over whichever transport; empty outside of handlers."""
    return _current.get().incoming


@contextmanager
def serving(incoming: Mapping[str, str], persistent: Mapping[str, str] = _NONE) -> Iterator[None]:
    """The context of a handler, for the servers of transports.

    Nothing of the context around it goes on: what the handler's own calls carry is ``persistent`` and what
    OpenTelemetry extracts from ``incoming``.

    :param incoming: everything that came, lower-case names, persistent ones included.
    :param persistent: the part that goes on with the handler's own calls.
    """
    token = _current.set(_Carried(persistent, frozenset(persistent), incoming))
    leave = _propagated(incoming)
    try:
        yield
    finally:
        if leave is not None:
            leave()
        _current.reset(token)


def served(incoming: Mapping[str, str], persistent: Mapping[str, str] = _NONE) -> None:
    """As :func:`serving`, to the end of the current context.

    For servers whose every call has a :class:`contextvars.Context` of its own, which ends with the call: there
    is nothing to go back to, and a stream that is dropped half-way is closed in some other context.
    """
    if incoming or _current.get() is not _NOTHING:
        _current.set(_Carried(persistent, frozenset(persistent), incoming) if incoming else _NOTHING)
    _propagated(incoming)


TELEMETRY = frozenset({"traceparent", "tracestate", "baggage"})
"""What W3C propagates. Where a transport tells transient from persistent, they travel as both: hops that speak
OpenTelemetry replace the transient ones, hops that do not drop them and pass the persistent copies on."""


def add_copies(values: dict[str, str], copies: Mapping[str, str]) -> None:
    """Add to what came as transient the persistent copies that are not older than it.

    A hop that speaks OpenTelemetry and has read what was sent to it goes on in the same trace, and what it sends
    is all that counts: baggage which it dropped stays dropped. One that begins a trace of its own has read nothing:
    a hop before it knows no OpenTelemetry, and the copy of the baggage is the newest there is.

    :param copies: by names of :data:`TELEMETRY`.
    """
    if "traceparent" not in values:
        for name, value in copies.items():
            values.setdefault(name, value)
    elif "baggage" in copies:
        # version-trace-parent-flags
        traces = [each.get("traceparent", "").partition("-")[2][:32] for each in (values, copies)]
        if not traces[0] or traces[0] != traces[1]:
            values.setdefault("baggage", copies["baggage"])


# What a carrier must have before OpenTelemetry is looked at: W3C trace context and baggage, B3, Jaeger.
_PROPAGATED = ("traceparent", "baggage", "b3", "x-b3-traceid", "uber-trace-id")


def _propagated(incoming: Mapping[str, str]) -> Callable[[], None] | None:
    """Make the context that the caller propagated the current one; returns how to leave it."""
    otel = sys.modules.get("opentelemetry.context")
    propagated = incoming and any(name in incoming for name in _PROPAGATED)
    if not propagated and (otel is None or not otel.get_current()):
        return None
    from opentelemetry import context, propagate

    # Into an empty context: the one around belongs to whoever started the server.
    try:
        extracted = propagate.extract(incoming, context.Context())
    except Exception as error:
        extracted = context.Context()
        _complain(
            "what came and cannot be read is no part of OpenTelemetry's context: %s", type(error).__name__
        )
        with suppress(Exception):
            extracted = propagate.extract(
                {name: value for name, value in incoming.items() if _VALUE.match(value)}, extracted
            )
    token = context.attach(extracted)
    return lambda: context.detach(token)


def _complain(text: str, *args: object) -> None:
    """A warning, without values, which may be secret; once in a while, as every call may give cause for it."""
    now = monotonic()
    if now >= _Quiet.until:
        # Two threads at once may give one each.
        _Quiet.until = now + _COMPLAIN_EVERY
        _log.warning(text, *args)


class _Quiet:
    until = 0.0
