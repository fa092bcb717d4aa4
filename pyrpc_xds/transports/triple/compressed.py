"""Messages that a peer has compressed, where nobody below has inflated them: nghttp2 never does.

Nor does grpcio 1.85.1 with about one in 20,000 gzipped answers where calls run beside each other, although header and
flag say gzip (seen on the wire, and without this package too). dubbo-go compresses every answer to a client that takes
it, so its callers meet that. The call has run, and must not be made again: its answer is there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import grpc

# Of zlib, by grpc-encoding.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
# No protobuf message begins so: it would be a field of wire type 7, which there is not.
_GZIP = b"\x1f\x8b\x08"
_MOST_BYTES = 64 << 20
# The head of a frame; nothing here looks at its length.
_COMPRESSED = b"\x01" + bytes(4)


class Unreadable(Exception):
    """A message that cannot be had; the status that the call ends with."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details
        super().__init__(details)


def inflated(framed: bytes, encoding: str, most: int) -> bytes:
    """The message in a frame of gRPC's that says it is compressed: a byte of flags, four of its length, the data.

    :param encoding: the call's grpc-encoding.
    :param most: bytes that it may inflate to.
    :raises Unreadable: the encoding is not known, the data is not of it, or there is more of it.
    """
    bits = _WINDOW_BITS.get(encoding, 0)
    if framed[0] != 1 or not bits:
        raise Unreadable(
            grpc.StatusCode.UNIMPLEMENTED, f"requests in grpc-encoding {encoding} are not understood"
        )
    unpack = zlib.decompressobj(bits)
    try:
        message = unpack.decompress(framed[5:], most + 1)
    except zlib.error as error:
        raise Unreadable(grpc.StatusCode.INTERNAL, f"the request does not decompress: {error}") from None
    if len(message) > most:
        raise Unreadable(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a request is larger than {most} bytes")
    if not unpack.eof:
        raise Unreadable(grpc.StatusCode.INTERNAL, "a compressed request is cut short")
    return message


def decompressing(deserializer: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The deserializer, given what it can read where it refuses what is still gzipped.

    What comes to more than 64 MiB stays refused.
    """

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception as refusal:
            if data[:3] != _GZIP:
                raise
            try:
                whole = inflated(_COMPRESSED + data, "gzip", _MOST_BYTES)
            except Unreadable:
                raise refusal from None
        return deserializer(whole)

    return deserialize
