"""TTHeader, Kitex's transport with headers: bytes of one frame and back. No I/O.

Layout (big-endian), from cloudwego/gopkg ``protocol/ttheader``: length of what follows (4), magic 0x1000 (2),
flags (2), sequence id (4), size of the header in words of 4 bytes (2); then the header: protocol id (1), number
of transforms (1) and their ids, info blocks, zeros to a whole word; then the payload.
"""

from __future__ import annotations

from struct import Struct

from .errors import ThriftProtocolError
from .header import COMPACT_ID, Header, HeaderTooLarge, malformed, octets, text
from .limits import Limits

MAGIC = b"\x10\x00"

_PADDING = 0x00
_STRINGS = 0x01
_INTS = 0x10
_TOKEN = 0x11

# Kitex counts the bytes of a header in 16 bits: 0x4000 words are none to it.
MOST = 65_532

_prefix = Struct(">IHHIH").pack
_block = Struct(">BH").pack
_short = Struct(">H").pack
_two_shorts = Struct(">HH").pack
_shorts = Struct(">H").unpack_from


def encode(header: Header, message: bytes) -> bytes:
    """One frame.

    :param message: of Thrift, without a length; one is put before it where the header says so.
    :raises HeaderTooLarge: the header has more than 65,532 bytes, or a key or value more than 65,535.
    """
    parts = [bytes((header.protocol, 0))]
    size = 2
    try:
        if header.ints:
            parts.append(_block(_INTS, len(header.ints)))
            for number, value in header.ints.items():
                data = octets(value)
                parts.append(_two_shorts(number, len(data)))
                parts.append(data)
        if header.strings:
            parts.append(_block(_STRINGS, len(header.strings)))
            for key, value in header.strings.items():
                name, data = octets(key), octets(value)
                parts.append(_short(len(name)))
                parts.append(name)
                parts.append(_short(len(data)))
                parts.append(data)
        if header.token is not None:
            data = octets(header.token)
            parts.append(_block(_TOKEN, len(data)))
            parts.append(data)
    except Exception as error:
        raise HeaderTooLarge(f"a key, a value or their number does not fit in 16 bits: {error}") from None
    size = sum(map(len, parts))
    if size > MOST:
        raise HeaderTooLarge(f"the header would have {size} bytes; TTHeader has room for {MOST}")
    pad = -size % 4
    parts.append(bytes(pad))
    words = (size + pad) // 4
    if header.framed:
        parts.append(len(message).to_bytes(4, "big"))
    payload = len(message) + (4 if header.framed else 0)
    prefix = _prefix(
        10 + words * 4 + payload, 0x1000, header.flags & 0xFFFF, header.seqid & 0xFFFFFFFF, words
    )
    return b"".join((prefix, *parts, message))


def decode(frame: bytes, start: int, limits: Limits) -> tuple[Header, int]:
    """The header of a frame, and where in ``frame`` the message begins.

    :param start: where the magic is; the frame ends where ``frame`` does.
    :raises ThriftProtocolError: a length goes beyond the header, an info block is not known, or there are too many
        entries. Of two equal keys the last one counts, as in Kitex.
    """
    end = len(frame)
    if end - start < 12 or frame[start : start + 2] != MAGIC:
        raise malformed("no TTHeader", 0)
    flags = int.from_bytes(frame[start + 2 : start + 4], "big")
    seqid = int.from_bytes(frame[start + 4 : start + 8], "big", signed=True)
    size = int.from_bytes(frame[start + 8 : start + 10], "big") * 4
    begin = start + 10
    stop = begin + size
    if not 2 <= size <= limits.header or stop > end:
        raise malformed(
            f"it announces {size} bytes; the limit is {limits.header}, the frame's rest {end - begin}", 8
        )
    if frame[begin + 1]:
        raise malformed("transforms, which TTHeader does not have", begin + 1 - start)
    header = Header(seqid, flags, frame[begin])
    pos = begin + 2
    left = limits.header_entries
    ints: dict[int, str] = {}
    strings: dict[str, str] = {}
    while pos < stop:
        kind = frame[pos]
        pos += 1
        if kind == _PADDING:
            continue
        if kind == _TOKEN:
            data, pos = _data(frame, pos, stop, start)
            header.token = text(data)
            continue
        if kind not in (_STRINGS, _INTS):
            raise malformed(f"unknown info block {kind:#04x}", pos - 1 - start)
        if stop - pos < 2:
            raise malformed("an info block without its count", pos - start)
        count: int = _shorts(frame, pos)[0]
        pos += 2
        left -= count
        if left < 0:
            raise malformed(f"more than {limits.header_entries} entries", pos - start)
        for _ in range(count):
            if kind == _STRINGS:
                data, pos = _data(frame, pos, stop, start)
                value, pos = _data(frame, pos, stop, start)
                strings[text(data)] = text(value)
            else:
                if stop - pos < 2:
                    raise malformed("an int key goes beyond the header", pos - start)
                key: int = _shorts(frame, pos)[0]
                value, pos = _data(frame, pos + 2, stop, start)
                ints[key] = text(value)
    header.ints, header.strings = ints, strings
    return header, message_start(header, frame, stop)


def _data(frame: bytes, pos: int, stop: int, start: int) -> tuple[bytes, int]:
    if stop - pos < 2:
        raise malformed("a length goes beyond the header", pos - start)
    end: int = pos + 2 + _shorts(frame, pos)[0]
    if end > stop:
        raise malformed("a key or value goes beyond the header", pos - start)
    return frame[pos + 2 : end], end


def message_start(header: Header, frame: bytes, pos: int) -> int:
    """Where the message begins, behind its own length if it has one, which is told by the first bytes as Kitex does
    it.

    :raises ThriftProtocolError: it has one, and that is not what is left of the frame.
    """
    lead = frame[pos] if pos < len(frame) else 0
    if lead == (0x82 if header.protocol == COMPACT_ID else 0x80):
        return pos
    inner = int.from_bytes(frame[pos : pos + 4], "big")
    if inner != len(frame) - pos - 4:
        raise ThriftProtocolError(
            f"the payload announces {inner} bytes, but {len(frame) - pos - 4} follow, or it is not Thrift"
        )
    header.framed = True
    return pos + 4
