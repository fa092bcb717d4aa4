"""Attachments: the key-value pairs that travel with a call and that routes match on.

Dubbo calls them attachments, Kitex metainfo, gRPC metadata. Set here they apply to every call made in the
current context (thread or asyncio task), over every transport::

    with pyrpc_xds.attachments({"user": "admin"}):
        stub.SayHello(request)

They live in a :mod:`contextvars` variable: new tasks inherit them, other threads do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import UsageError

# The names that HTTP/2 and gRPC allow (and so every other transport does): no upper case, no controls.
_NAME = re.compile(r"[0-9a-z_.-]+\Z")
_VALUE = re.compile(r"[\x20-\x7e]*\Z")
_RESERVED = ("grpc-", ":")

# The mapping is replaced, never changed: a call that has read it keeps what it read.
_current: ContextVar[Mapping[str, str]] = ContextVar("pyrpc_xds_attachments")
_NONE: Mapping[str, str] = {}


def checked(values: Mapping[str, str]) -> dict[str, str]:
    """``values`` with lower-case names, as they travel.

    :raises UsageError: a name or value cannot travel as a header (which also stops header injection).
    """
    result = {}
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise UsageError(f"attachment {name!r}: names and values are str, got {type(value).__name__}")
        key = name.lower()
        if not _NAME.match(key) or key.startswith(_RESERVED):
            raise UsageError(
                f"attachment name {name!r} cannot travel: letters, digits and _.- only, not starting with grpc-"
            )
        if not _VALUE.match(value):
            raise UsageError(
                f"value of attachment {name!r} cannot travel: printable ASCII only "
                "(encode it, for example with urllib.parse.quote)"
            )
        result[key] = value
    return result


@contextmanager
def attachments(values: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Attach ``values`` to every call in the ``with`` block, on top of those already set.

    :param values: names are case-insensitive; values are printable ASCII.
    :raises UsageError: a name or value cannot travel as a header.
    """
    merged = {**_current.get(_NONE), **checked(values)}
    token = _current.set(merged)
    try:
        yield merged
    finally:
        _current.reset(token)


def current_attachments() -> Mapping[str, str]:
    """The attachments of the current context; lower-case names. Do not change the mapping."""
    return _current.get(_NONE)
