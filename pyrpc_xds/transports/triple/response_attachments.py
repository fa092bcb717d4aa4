"""Attachments that come back with an answer: trailers in Triple.

HTTP/2 knows lower-case names only. Dubbo Java tells the caller how the names were written in the trailer
``tri-header-convert``: URL-encoded JSON, lower-case name to original (3.3.4).
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from ...attachments import checked
from .metadata import attachments_in

CONVERT = "tri-header-convert"

# What a peer may make us parse: one flat object (nesting can be deeper than Python's stack).
_LONGEST = 16 * 1024
_FLAT = re.compile(r"\s*\{[^\[\]{}]*\}\s*\Z")


def response_attachments(trailing_metadata: Iterable[tuple[str, Any]] | None) -> Mapping[str, str]:
    """The attachments in the trailers of a call, under the names that the server gave them.

    Several values of one name are joined by ``,``; what the transport wrote itself is left out::

        user, call = stub.SayHello.with_call(request)
        response_attachments(call.trailing_metadata())

    :param trailing_metadata: of a :class:`grpc.Call` (asyncio: ``await call.trailing_metadata()``).
    """
    pairs = tuple(trailing_metadata or ())
    found = attachments_in(pairs)
    originals = _originals(next((value for name, value in pairs if name == CONVERT), ""))
    return {originals.get(name, name): value for name, value in found.items()}


def added(trailing_metadata: Iterable[tuple[str, Any]] | None, values: Mapping[str, str]) -> tuple[Any, ...]:
    """Trailers with ``values`` in them, in place of those of the same names.

    :raises UsageError: a name or value cannot travel.
    """
    new = checked(values)
    before = tuple(trailing_metadata or ())
    originals = _originals(next((value for name, value in before if name == CONVERT), ""))
    originals = {name: original for name, original in originals.items() if name not in new}
    originals.update((name.lower(), name) for name in values if name.lower() != name)
    kept = [pair for pair in before if pair[0] not in new and pair[0] != CONVERT]
    if originals:
        kept.append((CONVERT, urllib.parse.quote(json.dumps(originals, separators=(",", ":")))))
    return (*kept, *new.items())


def _originals(text: Any) -> dict[str, str]:
    """Lower-case name to original; whatever does not say so is ignored."""
    if not isinstance(text, str) or not text or len(text) > _LONGEST:
        return {}
    decoded = urllib.parse.unquote_plus(text)
    if not _FLAT.match(decoded):
        return {}
    try:
        names = json.loads(decoded)
    except ValueError:
        return {}
    return {
        name: original
        for name, original in names.items()
        if isinstance(original, str) and original.lower() == name
    }
