"""Apache Thrift's THeader (magic 0x0FFF): bytes of one frame and back. No I/O.

Layout, from Apache Thrift's ``doc/specs/HeaderFormat.md``: the first 14 bytes are those of TTHeader; the header is
of varints: protocol id, number of transforms, their ids, then info blocks; zeros to a whole word; then the payload,
with the transforms applied in order.
"""

from __future__ import annotations

import zlib
from struct import Struct

from ..._scan import FREE
from .errors import ThriftProtocolError
from .header import Header, malformed, octets, text, too_large
from .limits import Limits

MAGIC = b"\x0f\xff"
ZLIB = 1

_KEY_VALUE = 1
# How many bytes one counts for that came compressed: what is often sent compresses as well as that.
_WORTH = 8
# As much as TTHeader's, and as our servers and clients read by default (Limits.header); the format has room for
# four times that.
MOST = 65_532

_prefix = Struct(">IHHIH").pack


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(header: Header, message: bytes) -> bytes:
    """One frame.

    :raises HeaderTooLarge: the header has more than 65,532 bytes.
    """
    parts = [
        _varint(header.protocol),
        _varint(len(header.transforms)),
        *(_varint(each) for each in header.transforms),
    ]
    if header.strings:
        parts.append(_varint(_KEY_VALUE) + _varint(len(header.strings)))
        for key, value in header.strings.items():
            for data in (octets(key), octets(value)):
                parts.append(_varint(len(data)))
                parts.append(data)
    size = sum(map(len, parts))
    if size > MOST:
        raise too_large(f"the header would have {size} bytes; THeader has room for {MOST}", header.strings)
    parts.append(bytes(-size % 4))
    words = (size + 3) // 4
    if header.transforms:
        message = zlib.compress(message)
    prefix = _prefix(
        10 + words * 4 + len(message), 0x0FFF, header.flags & 0xFFFF, header.seqid & 0xFFFFFFFF, words
    )
    return b"".join((prefix, *parts, message))


def decode(frame: bytes, start: int, limits: Limits) -> tuple[Header, bytes, int, int]:
    """The header of a frame, and the message: the bytes, where in them it begins, and how many it counts for at most
    (:meth:`Scanner.whole`).

    :param start: where the magic is; the frame ends where ``frame`` does.
    :raises ThriftProtocolError: a length goes beyond the header, a transform is not known, or what a transform
        makes of the payload is above the limit on messages. What follows an unknown info block is ignored, as in
        Apache Thrift.
    """
    end = len(frame)
    if end - start < 12 or frame[start : start + 2] != MAGIC:
        raise malformed("no THeader", 0)
    flags = int.from_bytes(frame[start + 2 : start + 4], "big")
    seqid = int.from_bytes(frame[start + 4 : start + 8], "big", signed=True)
    size = int.from_bytes(frame[start + 8 : start + 10], "big") * 4
    begin = start + 10
    stop = begin + size
    if not 2 <= size <= limits.header or stop > end:
        raise malformed(
            f"it announces {size} bytes; the limit is {limits.header}, the frame's rest {end - begin}", 8
        )
    protocol, pos = _number(frame, begin, stop, start)
    count, pos = _number(frame, pos, stop, start)
    if count > 1:
        raise malformed(f"{count} transforms; zlib is the only one known", pos - start)
    transforms = []
    for _ in range(count):
        each, pos = _number(frame, pos, stop, start)
        if each != ZLIB:
            raise malformed(f"unknown transform {each}", pos - start)
        transforms.append(each)
    strings: dict[str, str] = {}
    left = limits.header_entries
    while pos < stop:
        kind, pos = _number(frame, pos, stop, start)
        if kind != _KEY_VALUE:
            break
        count, pos = _number(frame, pos, stop, start)
        left -= count
        if left < 0:
            raise malformed(f"more than {limits.header_entries} entries", pos - start)
        for _ in range(count):
            key, pos = _data(frame, pos, stop, start)
            value, pos = _data(frame, pos, stop, start)
            strings[text(key)] = text(value)
    header = Header(seqid, flags, protocol, transforms=tuple(transforms), strings=strings, plain=True)
    if not transforms:
        return header, frame, stop, 0
    packed = frame[stop:]
    return header, _inflate(packed, limits), 0, max(1, len(packed) * _WORTH)


def _number(frame: bytes, pos: int, stop: int, start: int) -> tuple[int, int]:
    number = shift = 0
    while pos < stop and shift < 35:
        byte = frame[pos]
        pos += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, pos
        shift += 7
    raise malformed("a number goes beyond the header or is too long", pos - start)


def _data(frame: bytes, pos: int, stop: int, start: int) -> tuple[bytes, int]:
    size, pos = _number(frame, pos, stop, start)
    if size > stop - pos:
        raise malformed("a key or value goes beyond the header", pos - start)
    return frame[pos : pos + size], pos + size


def _inflate(data: bytes, limits: Limits) -> bytes:
    # A byte may become a thousand.
    most = min(limits.frame, FREE + len(data) * limits.inflation)
    inflater = zlib.decompressobj()
    try:
        message = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise ThriftProtocolError(f"the payload is not zlib's: {error}") from None
    if len(message) > most:
        raise ThriftProtocolError(
            f"the payload of {len(data)} bytes inflates to more than {most} bytes, the limit (Limits.inflation, frame)",
            ThriftProtocolError.SIZE_LIMIT,
        )
    if not inflater.eof or inflater.unused_data:
        raise ThriftProtocolError("the payload is not one whole zlib stream")
    return message
