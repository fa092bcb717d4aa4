"""Messages that the caller has compressed."""

from __future__ import annotations

import zlib

import grpc

# Of zlib, by grpc-encoding.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


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
