"""grpc-status-details-bin: the status that gRPC's number cannot say.

dubbo-go answers any ordinary error, and its business errors, with status 17, which gRPC does not have: grpcio
shows UNKNOWN. The number itself is in the trailer, as a ``google.rpc.Status``. grpcio cannot send 17 either:
a server of ours sends UNKNOWN with the same trailer, and dubbo-go believes the trailer.

Its three fields are read here, and two written: the message type itself would be one more dependency.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .protobuf_wire import BYTES, VARINT, field, fields, varint

TRAILER = "grpc-status-details-bin"

_CODE, _MESSAGE, _DETAILS = 1, 2, 3
# google.protobuf.Any.
_TYPE_URL, _VALUE = 1, 2


def encode(code: int, message: str) -> bytes:
    """A ``google.rpc.Status`` without details.

    :param code: not negative.
    """
    return varint(_CODE << 3 | VARINT) + varint(code) + field(_MESSAGE, message.encode("utf-8", "replace"))


def decode(data: bytes) -> tuple[int, str] | None:
    """Code and message of a ``google.rpc.Status``; ``None``: it is none."""
    code, message = 0, ""
    try:
        for number, kind, value in fields(data):
            if number == _CODE and kind == VARINT:
                code = value
            elif number == _MESSAGE and kind == BYTES:
                message = value.decode("utf-8")
    except (ValueError, IndexError):
        return None
    return code, message


def details(data: bytes) -> list[tuple[str, bytes]]:
    """Type URL and bytes of the details of a ``google.rpc.Status``; none where it is none."""
    found: list[tuple[str, bytes]] = []
    try:
        for number, kind, packed in fields(data):
            if number == _DETAILS and kind == BYTES:
                parts = {part: value for part, wire, value in fields(packed) if wire == BYTES}
                found.append((parts.get(_TYPE_URL, b"").decode("utf-8"), parts.get(_VALUE, b"")))
    except (ValueError, IndexError):
        return []
    return found


def of(trailing_metadata: Iterable[tuple[str, Any]] | None) -> tuple[int, str] | None:
    """Code and message in a call's trailers; ``None``: there are none."""
    for name, value in trailing_metadata or ():
        if name == TRAILER and isinstance(value, bytes):
            return decode(value)
    return None
