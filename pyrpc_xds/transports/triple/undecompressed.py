"""Answers that grpcio hands over as they came.

grpcio 1.85.1 leaves about one in 20,000 gzipped answers compressed where calls run beside each other, although header
and flag say gzip (seen on the wire, and without this package too). dubbo-go compresses every answer to a client that
takes it, so its callers meet that. The call has run, and must not be made again: its answer is there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

# No protobuf message begins so: it would be a field of wire type 7, which there is not.
_GZIP = b"\x1f\x8b\x08"
_GZIP_WINDOW_BITS = 31
_MOST_BYTES = 64 << 20


def decompressing(deserializer: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The deserializer, given what it can read where it refuses what is still gzipped.

    What comes to more than 64 MiB stays refused.
    """

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception:
            if data[:3] != _GZIP:
                raise
            whole = _inflated(data)
            if whole is None:
                raise
        return deserializer(whole)

    return deserialize


def _inflated(data: bytes) -> bytes | None:
    unpack = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        whole = unpack.decompress(data, _MOST_BYTES)
    except zlib.error:
        return None
    return whole if unpack.eof else None
