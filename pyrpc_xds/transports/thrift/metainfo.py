"""Kitex's metainfo: attachments as keys of a header, and back.

===========================  ==========================================================================
key on the wire              meaning
===========================  ==========================================================================
``RPC_TRANSIT_name``         transient: for the server called
``RPC_PERSIST_name``         persistent: to the end of the chain
``RPC_TRANSIT_UPSTREAM_x``   was transient one hop before; Kitex calls it stale, and it is left out here
``name`` (in an answer)      backward
===========================  ==========================================================================

Names travel as they are given: ours are lower-case, as routes match them, and ``GetValue(ctx, "name")`` of Go finds
them. A name that comes in another spelling is lower-case for routes and :func:`~pyrpc_xds.incoming_attachments`, and
goes on in the spelling that it came in, so ``GetPersistentValue(ctx, "NAME")`` behind us finds what was set before
us. ``traceparent``, ``tracestate`` and ``baggage`` travel as both (:data:`pyrpc_xds.attachments.TELEMETRY`): Kitex
with its OpenTelemetry suite reads and replaces the transient ones, Kitex without drops them and passes the others on.

Over Apache's THeader every attachment has its own name, as proxies match it there; persistent ones have the key
``RPC_PERSIST_name`` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...attachments import TELEMETRY, add_copies, checked
from ...errors import UsageError
from .header import Header

TRANSIT = "RPC_TRANSIT_"
PERSIST = "RPC_PERSIST_"
STALE = "RPC_TRANSIT_UPSTREAM_"

_TOKEN = "gdpr-token"
LOG_ID = "log-id"


class Arrived(NamedTuple):
    """What came with a call.

    :ivar values: everything, by lower-case names.
    :ivar persistent: the part that goes on over every transport.
    :ivar spelled: all that is persistent, in its own spelling, what cannot travel in HTTP headers included.
    """

    values: Mapping[str, str]
    persistent: Mapping[str, str]
    spelled: Mapping[str, str]


NOTHING = Arrived({}, {}, {})
"""No metainfo has come."""


def arrived(header: Header) -> Arrived:
    """Read the metainfo of a request. Empty values are none, as in Kitex."""
    values: dict[str, str] = {}
    persistent: dict[str, str] = {}
    spelled: dict[str, str] = {}
    transient: dict[str, str] = {}
    copies: dict[str, str] = {}
    for key, value in header.strings.items():
        if not value:
            continue
        if key.startswith(PERSIST):
            name = key[len(PERSIST) :]
            low = name.lower()
            if low in TELEMETRY:
                copies[low] = value
            elif name:
                spelled[name] = values[low] = value
                if travels(low, value):
                    persistent[low] = value
        elif key.startswith(TRANSIT):
            if not key.startswith(STALE) and key != TRANSIT:
                transient[key[len(TRANSIT) :].lower()] = value
        elif header.plain or key in TELEMETRY:  # without a prefix, by programs that know nothing of Kitex
            transient.setdefault(key.lower(), value)
    if copies:
        add_copies(transient, copies)
    values.update(transient)
    if header.token:
        values.setdefault(_TOKEN, header.token)
    if log_id := header.value(2):
        values.setdefault(LOG_ID, log_id)
    return Arrived(values, persistent, spelled)


def travels(name: str, value: str) -> bool:
    """Whether every transport can carry it."""
    try:
        checked({name: value})
    except UsageError:
        return False
    return True


def carried(
    attachments: Mapping[str, str],
    persistent: frozenset[str],
    passed_on: Mapping[str, str],
    strings: Mapping[str, str],
    plain: bool = False,
) -> tuple[dict[str, str], str | None]:
    """The strings and the token of a request's header that carry attachments.

    :param persistent: names among them that go to the end of the chain.
    :param passed_on: persistent metainfo of the call being served, in its spelling.
    :param strings: that the header has besides.
    :param plain: see :class:`.header.Header`.
    """
    strings = dict(strings)
    token = None
    spelling = {}
    for name, value in passed_on.items():
        low = name.lower()
        if low in persistent:
            spelling[low] = name
        elif not travels(low, value):
            # Attachments could not carry it; it goes on all the same.
            strings[PERSIST + name] = value
    for name, value in attachments.items():
        if not value:
            continue
        if name in TELEMETRY and not plain:
            strings[TRANSIT + name] = strings[PERSIST + name] = value
        elif name in persistent:
            strings[PERSIST + spelling.get(name, name)] = value
        elif name == _TOKEN and not plain:
            token = value
        elif not plain:
            strings[TRANSIT + name] = value
        if plain:
            strings[name] = value
    return strings, token
