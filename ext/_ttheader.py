"""The header before a Thrift message, and the bytes of TTHeader's, Kitex's transport with headers.

A header that has come is checked to its end at once, every length of it; what is in it is made into text where
somebody asks. One that is to be sent is made of parts that are encoded once for each method.

Layout (big-endian), from cloudwego/gopkg ``protocol/ttheader``: length of what follows (4), magic 0x1000 (2),
flags (2), sequence id (4), size of the header in words of 4 bytes (2); then the header: protocol id (1), number
of transforms (1) and their ids, info blocks, zeros to a whole word; then the payload.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

MAGIC = b"\x10\x00"
# Kitex counts the bytes of a header in 16 bits: 0x4000 words are none to it.
MOST = 65_532

_PADDING = 0x00
_STRINGS = 0x01
_INTS = 0x10
_TOKEN = 0x11

_COMPACT = 2
_TRANSPORT_TYPE = 1
_LOG = 2
_TIMEOUT = 12
_MESSAGE_TYPE = 22
_SERVICE = b"isn"

_prefix = Struct(">IHHIH").pack


class HeaderError(ValueError):
    """The bytes are no frame of TTHeader, or exceed a limit."""


class TooLarge(ValueError):
    """What is to travel does not fit."""


class Header:
    """The header of one frame, of TTHeader or of Apache's THeader.

    :ivar seqid: of the frame; equal to that of the message where both ends keep to the rules.
    :ivar flags: 1: answers may come in any order; and others.
    :ivar protocol: 0: binary; 2: compact.
    :ivar framed: four bytes of length stand before the message (TTHeader).
    :ivar transforms: applied to the payload, in this order (THeader); 1: zlib.
    :ivar ints: values by Kitex's numbers (TTHeader).
    :ivar strings: values by name.
    :ivar token: the ACL token (TTHeader), which has a block of its own.
    :ivar plain: names are attachments as they stand (THeader); otherwise metainfo has prefixes.
    :ivar message: where in the frame the message begins, of a header that :func:`read` has made.
    """

    def __init__(
        self,
        seqid: int,
        flags: int = 0,
        protocol: int = 0,
        framed: bool = False,
        transforms: Any = (),
        ints: Any = None,
        strings: Any = None,
        token: Any = None,
        plain: bool = False,
    ) -> None:
        self.seqid = seqid
        self.flags = flags
        self.protocol = protocol
        self.framed = framed
        self.transforms = transforms
        self.kept_ints = {} if ints is None else ints
        self.kept_strings = {} if strings is None else strings
        self.kept_token = token
        self.plain = plain
        self.message = 0
        # The info blocks, checked, where they have not been read yet.
        self.raw: Any = None
        self.named = False

    @property
    def ints(self) -> Any:
        """See the class."""
        self.parse()
        return self.kept_ints

    @property
    def strings(self) -> Any:
        """See the class."""
        self.parse()
        return self.kept_strings

    @property
    def token(self) -> Any:
        """See the class."""
        self.parse()
        return self.kept_token

    @property
    def metainfo(self) -> bool:
        """Whether there may be any: a string besides the service's name, a token or a log id."""
        if self.raw is not None:
            return self.named
        return bool(self.kept_strings or self.kept_token or self.kept_ints.get(_LOG))

    def value(self, number: int) -> str:
        """The value of an int key; empty: there is none."""
        raw = self.raw
        if raw is None:
            found = self.kept_ints.get(number)
            return "" if found is None else found
        pos = 0
        end = len(raw)
        start = stop = 0
        while pos < end:
            kind = raw[pos]
            pos = pos + 1
            if kind == _PADDING:
                continue
            if kind == _TOKEN:
                pos = pos + 2 + (raw[pos] << 8 | raw[pos + 1])
                continue
            count = raw[pos] << 8 | raw[pos + 1]
            pos = pos + 2
            while count > 0:
                count = count - 1
                if kind == _INTS:
                    key = raw[pos] << 8 | raw[pos + 1]
                    pos = pos + 2
                    size = raw[pos] << 8 | raw[pos + 1]
                    if key == number:
                        start = pos + 2
                        stop = start + size
                else:
                    pos = pos + 2 + (raw[pos] << 8 | raw[pos + 1])
                    size = raw[pos] << 8 | raw[pos + 1]
                pos = pos + 2 + size
        return text(raw[start:stop])

    def timeout(self) -> int:
        """Milliseconds that the client waits; 0: it does not say. What is no number of up to twelve digits, which are
        31 years, counts as none, as in Kitex.
        """
        value = self.value(_TIMEOUT)
        if value and len(value) <= 12 and value.isascii() and value.isdigit():
            return int(value)
        return 0

    def parse(self) -> None:
        """Read what :func:`read` has checked, the first time. Two threads may do it at once: they find the same."""
        raw = self.raw
        if raw is None:
            return
        ints = {}
        strings = {}
        token = None
        pos = 0
        end = len(raw)
        while pos < end:
            kind = raw[pos]
            pos = pos + 1
            if kind == _PADDING:
                continue
            if kind == _TOKEN:
                size = raw[pos] << 8 | raw[pos + 1]
                token = text(raw[pos + 2 : pos + 2 + size])
                pos = pos + 2 + size
                continue
            count = raw[pos] << 8 | raw[pos + 1]
            pos = pos + 2
            while count > 0:
                count = count - 1
                key = raw[pos] << 8 | raw[pos + 1]
                pos = pos + 2
                start = pos
                if kind == _STRINGS:
                    pos = pos + key
                size = raw[pos] << 8 | raw[pos + 1]
                pos = pos + 2
                if kind == _STRINGS:
                    strings[text(raw[start : start + key])] = text(raw[pos : pos + size])
                else:
                    ints[key] = text(raw[pos : pos + size])
                pos = pos + size
        self.kept_ints = ints
        self.kept_strings = strings
        self.kept_token = token
        # Last: a thread that sees it gone finds the others.
        self.raw = None

    # Fields can be set, so that two which are equal need not stay so.
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Header) and parts(self) == parts(other)

    def __repr__(self) -> str:
        return (
            f"Header(seqid={self.seqid!r}, flags={self.flags!r}, protocol={self.protocol!r}, "
            f"framed={self.framed!r}, transforms={self.transforms!r}, ints={self.ints!r}, "
            f"strings={self.strings!r}, token={self.token!r}, plain={self.plain!r})"
        )


def parts(header: Header) -> Any:
    """All that two headers are compared by."""
    return (
        header.seqid,
        header.flags,
        header.protocol,
        header.framed,
        header.transforms,
        header.ints,
        header.strings,
        header.token,
        header.plain,
    )


def text(data: bytes) -> str:
    """A key or value as it came. Go's strings are any bytes: what is not UTF-8 survives being passed on."""
    return data.decode("utf-8", "surrogateescape")


def octets(value: str) -> bytes:
    """The bytes of a key or value."""
    return value.encode("utf-8", "surrogateescape")


def read(frame: bytes, start: int, most: int, entries: int) -> Header:
    """The header of a frame, checked.

    :param start: where the magic is; the frame ends where ``frame`` does.
    :param most: bytes of a header.
    :param entries: keys in it.
    :raises HeaderError: a length goes beyond the header, an info block is not known, there are too many entries,
        or the message has a length of its own which is not what is left of the frame. Of two equal keys the last
        one counts, as in Kitex.
    """
    end = len(frame)
    if end - start < 12 or frame[start] != 0x10 or frame[start + 1] != 0x00:
        raise HeaderError("header: no TTHeader at byte 0")
    size = (frame[start + 8] << 8 | frame[start + 9]) * 4
    begin = start + 10
    stop = begin + size
    if size < 2 or size > most or stop > end:
        rest = end - begin
        raise HeaderError(
            f"header: it announces {size} bytes; the limit is {most}, the frame's rest {rest} at byte 8"
        )
    if frame[begin + 1]:
        raise HeaderError(f"header: transforms, which TTHeader does not have at byte {begin + 1 - start}")
    seqid = frame[start + 4] << 24 | frame[start + 5] << 16 | frame[start + 6] << 8 | frame[start + 7]
    if seqid >= 0x80000000:
        seqid = seqid - 0x100000000
    header = Header(seqid, frame[start + 2] << 8 | frame[start + 3], frame[begin])
    pos = begin + 2
    left = entries
    any_block = False
    while pos < stop:
        kind = frame[pos]
        pos = pos + 1
        if kind == _PADDING:
            continue
        any_block = True
        if kind == _TOKEN:
            pos = passed(frame, pos, stop, start)
            header.named = True
            continue
        if kind not in (_STRINGS, _INTS):
            raise HeaderError(f"header: unknown info block {kind:#04x} at byte {pos - 1 - start}")
        if stop - pos < 2:
            raise HeaderError(f"header: an info block without its count at byte {pos - start}")
        count = frame[pos] << 8 | frame[pos + 1]
        pos = pos + 2
        left = left - count
        if left < 0:
            raise HeaderError(f"header: more than {entries} entries at byte {pos - start}")
        while count > 0:
            count = count - 1
            if kind == _STRINGS:
                key = pos + 2
                pos = passed(frame, pos, stop, start)
                if pos - key != 3 or not frame.startswith(_SERVICE, key):
                    header.named = True
            else:
                if stop - pos < 2:
                    raise HeaderError(f"header: an int key goes beyond the header at byte {pos - start}")
                if (frame[pos] << 8 | frame[pos + 1]) == _LOG:
                    header.named = True
                pos = pos + 2
            pos = passed(frame, pos, stop, start)
    if any_block:
        # Not the frame, which may be large: a header is kept for longer.
        header.raw = frame[begin + 2 : stop]
    lead = 0
    if stop < end:
        lead = frame[stop]
    if lead == (0x82 if header.protocol == _COMPACT else 0x80):
        header.message = stop
        return header
    # It has a length of its own, which is told by the first byte as Kitex does it.
    inner = int.from_bytes(frame[stop : stop + 4], "big")
    rest = end - stop - 4
    if inner != rest:
        raise HeaderError(f"the payload announces {inner} bytes, but {rest} follow, or it is not Thrift")
    header.framed = True
    header.message = stop + 4
    return header


def passed(frame: bytes, pos: int, stop: int, start: int) -> int:
    """Where the key or value ends that begins, with its length, at ``pos``."""
    if stop - pos < 2:
        raise HeaderError(f"header: a length goes beyond the header at byte {pos - start}")
    after = pos + 2 + (frame[pos] << 8 | frame[pos + 1])
    if after > stop:
        raise HeaderError(f"header: a key or value goes beyond the header at byte {pos - start}")
    return after


def put_short(out: bytearray, number: int) -> None:
    """Two bytes."""
    if number < 0 or number > 0xFFFF:
        raise TooLarge(f"a key, a value or their number does not fit in 16 bits: {number}")
    out.append(number >> 8)
    out.append(number & 0xFF)


def put_text(out: bytearray, value: str) -> None:
    """A key or value, with its length."""
    data = octets(value)
    put_short(out, len(data))
    out += data


def put_strings(out: bytearray, strings: Any) -> None:
    """The block of names, if there are any."""
    if strings:
        out.append(_STRINGS)
        put_short(out, len(strings))
        for key, value in strings.items():
            put_text(out, key)
            put_text(out, value)


def finished(out: bytearray, token: Any) -> bytes:
    """The header's bytes, with what stands at their end."""
    if token is not None:
        out.append(_TOKEN)
        put_text(out, token)
    size = len(out)
    if size > MOST:
        raise TooLarge(f"the header would have {size} bytes; TTHeader has room for {MOST}")
    while size & 3:
        out.append(0)
        size = size + 1
    return bytes(out)


def info(protocol: int, ints: Any, strings: Any, token: Any) -> bytes:
    """All of a header that stands behind its size.

    :raises TooLarge: it has more than 65,532 bytes, or a key or value more than 65,535.
    """
    out = bytearray()
    out.append(protocol)
    out.append(0)
    if ints:
        out.append(_INTS)
        put_short(out, len(ints))
        for number, value in ints.items():
            put_short(out, number)
            put_text(out, value)
    put_strings(out, strings)
    return finished(out, token)


def frame(info: bytes, flags: int, seqid: int, framed: bool, message: bytes) -> bytes:
    """One frame.

    :param info: see :func:`info`.
    :param framed: a length is put before the message.
    """
    size = len(info)
    payload = len(message)
    if not framed:
        return (
            _prefix(10 + size + payload, 0x1000, flags & 0xFFFF, seqid & 0xFFFFFFFF, size >> 2)
            + info
            + message
        )
    return b"".join(
        (
            _prefix(14 + size + payload, 0x1000, flags & 0xFFFF, seqid & 0xFFFFFFFF, size >> 2),
            info,
            payload.to_bytes(4, "big"),
            message,
        )
    )


def answer(came: Header, kind: int, message: bytes) -> bytes:
    """The frame that answers a request and carries nothing but the answer.

    :param came: the header of the request.
    :param kind: of message: 2 or 3.
    """
    return frame(_answers[kind, came.framed, came.protocol], 0, came.seqid, came.framed, message)


def answer_ints(kind: int, framed: bool) -> Any:
    """The int keys of an answer."""
    return {_MESSAGE_TYPE: str(kind), _TRANSPORT_TYPE: "framed" if framed else "unframed"}


_answers = {
    (kind, framed, protocol): info(protocol, answer_ints(kind, framed), None, None)
    for kind in (2, 3)
    for framed in (False, True)
    for protocol in (0, _COMPACT)
}


class Template:
    """The headers of a client's requests to one method, of which nothing changes but the timeout and metainfo.

    For any thread at any time.

    :param ints: values by number, all but the timeout's and the log id's.
    :param strings: values by name, where a call adds none.
    """

    def __init__(self, protocol: int, flags: int, framed: bool, ints: Any, strings: Any) -> None:
        self.flags = flags
        self.framed = framed
        self.strings = strings
        self.protocol = protocol
        self.count = len(ints)
        out = bytearray()
        for number, value in ints.items():
            put_short(out, number)
            put_text(out, value)
        self.fixed = bytes(out)
        # The last one, and for which timeout it was.
        self.last: Any = (-1, b"")

    def plain(self, seqid: int, milliseconds: int, message: bytes) -> bytes:
        """The frame of a request that carries no metainfo.

        :param milliseconds: that the caller waits.
        """
        last = self.last
        if last[0] != milliseconds:
            last = (milliseconds, self.info(milliseconds, None, self.strings, None))
            self.last = last
        return frame(last[1], self.flags, seqid, self.framed, message)

    def carrying(
        self, seqid: int, milliseconds: int, message: bytes, log: Any, strings: Any, token: Any
    ) -> bytes:
        """The frame of a request with metainfo.

        :param log: the log id, if there is one.
        :param strings: in place of the template's.
        :raises TooLarge: see :func:`info`.
        """
        made = self.info(milliseconds, log, strings, token)
        return frame(made, self.flags, seqid, self.framed, message)

    def info(self, milliseconds: int, log: Any, strings: Any, token: Any) -> bytes:
        """See :func:`info`."""
        out = bytearray()
        out.append(self.protocol)
        out.append(0)
        out.append(_INTS)
        put_short(out, self.count + (2 if log else 1))
        out += self.fixed
        put_short(out, _TIMEOUT)
        put_text(out, str(milliseconds))
        if log:
            put_short(out, _LOG)
            put_text(out, log)
        put_strings(out, strings)
        return finished(out, token)
