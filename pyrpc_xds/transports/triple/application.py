"""The application's name, which Dubbo Java sends with every call and shows to the other side (3.3.4)."""

from __future__ import annotations

from typing import Any

from ...attachments import checked

HEADER = "tri-consumer-appname"


def headers(name: str) -> tuple[tuple[str, str], ...]:
    """The metadata that says it; none for an empty name.

    :raises UsageError: it cannot travel as a header.
    """
    return tuple(checked({HEADER: name}).items()) if name else ()


def calling_application(context: Any) -> str:
    """The name of the application that a call comes from, as it says itself; empty: it does not.

    It is no proof of who calls.

    :param context: what the handler was given, or :class:`grpc.HandlerCallDetails` in an interceptor.
    """
    metadata = context.invocation_metadata
    pairs = metadata() if callable(metadata) else metadata
    return next((str(value) for name, value in pairs or () if name == HEADER), "")
