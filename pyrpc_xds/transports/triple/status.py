"""grpc-status-details-bin: the status that gRPC's number cannot say.

dubbo-go answers any ordinary error, and its business errors, with status 17, which gRPC does not have: grpcio
shows UNKNOWN. The number itself is in the trailer, as a ``google.rpc.Status``. grpcio cannot send 17 either:
a server of ours sends UNKNOWN with the same trailer, and dubbo-go believes the trailer.

Its three fields are read here, and two written: the message type itself would be one more dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

TRAILER = "grpc-status-details-bin"

_CODE, _MESSAGE, _DETAILS = 1, 2, 3
# google.protobuf.Any.
_TYPE_URL, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def encode(code: int, message: str) -> bytes:
    """A ``google.rpc.Status`` without details.

    :param code: not negative.
    """
    text = message.encode("utf-8", "replace")
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def decode(data: bytes) -> tuple[int, str] | None:
    """Code and message of a ``google.rpc.Status``; ``None``: it is none."""
    code, message = 0, ""
    try:
        for field, kind, value in _fields(data):
            if field == _CODE and kind == _VARINT:
                code = value
            elif field == _MESSAGE and kind == _BYTES:
                message = value.decode("utf-8")
    except (ValueError, IndexError):
        return None
    return code, message


def details(data: bytes) -> list[tuple[str, bytes]]:
    """Type URL and bytes of the details of a ``google.rpc.Status``; none where it is none."""
    found: list[tuple[str, bytes]] = []
    try:
        for field, kind, packed in _fields(data):
            if field == _DETAILS and kind == _BYTES:
                parts = {number: value for number, wire, value in _fields(packed) if wire == _BYTES}
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


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, value); values of fixed size are passed over.

    :raises ValueError: that is no message; :raises IndexError: it ends too soon.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield field, kind, value
        elif kind == _BYTES:
            size, at = _read_varint(data, at)
            if at + size > len(data):
                raise ValueError("the message ends within a field")
            yield field, kind, data[at : at + size]
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number of more than ten bytes")
