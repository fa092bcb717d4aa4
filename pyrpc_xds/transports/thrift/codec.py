"""Bytes of messages: encode one, and decode one that the scan has passed. No I/O.

A codec is owned by one connection and used by one call at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.protocol.compact import TCompactProtocol, write_varint
from thriftpy2.protocol.exc import TProtocolException
from thriftpy2.transport import TCyMemoryBuffer

from ..._scan import BINARY, COMPACT, Scanner
from .errors import ThriftProtocolError
from .limits import Limits
from .wire import Wire

CALL = 1
REPLY = 2
EXCEPTION = 3
ONEWAY = 4

# thriftpy2's buffers keep the size of the largest message; one above this is not worth holding on to.
_KEEP = 65536
_AFTER = b"\0"

_Head = tuple[Callable[..., bytes], bytes, int]


class BinaryCodec:
    """thriftpy2's compiled binary protocol over its memory buffer, the fastest of its ways.

    That buffer returns stale heap where bytes are missing. The scan is the first guard against it. The second: a
    byte is put after the message, and where it is not the one left over, the decoder has read out of step and
    what it made is dropped.

    :ivar wire: the form of the connection.
    """

    compact = False

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.framed = wire.framed and not wire.header
        self.scanner = Scanner(BINARY, limits.frame, limits.depth, limits.elements, limits.expansion)
        self.wire = wire
        self._depth = limits.depth
        # Everything before the arguments of a message, by kind and name: its packer, its bytes, and its length.
        self._heads: tuple[dict[str, _Head], ...] = ({}, {}, {}, {}, {})
        self._fresh()

    def _fresh(self) -> None:
        self._out = TCyMemoryBuffer()
        self._write = TCyBinaryProtocol(self._out, max_depth=self._depth).write_struct
        self._in = TCyMemoryBuffer()
        self._read = TCyBinaryProtocol(
            self._in,
            decode_response=self.wire.decode_response,
            strict_decode=self.wire.strict_decode,
            max_depth=self._depth,
        ).read_struct

    def _head(self, name: str, kind: int) -> _Head:
        label = name.encode()
        size = len(label).to_bytes(4, "big")
        head = bytes((128, 1, 0, kind)) + size + label if self.wire.strict else size + label + bytes((kind,))
        return struct.Struct(f">{'i' if self.framed else ''}{len(head)}si").pack, head, len(head) + 4

    def encode(self, name: str, kind: int, seqid: int, value: Any, of_idl: bool = True) -> bytes:
        """One message, with its frame where there is one.

        :param value: the struct of arguments or of the result.
        :param of_idl: the name is a method's, of which there are so many; not one that a client has made up, of
            which nothing may be kept.
        :raises Exception: a part of it is not of the IDL's type; see :meth:`.answer.Attempt.unsent`.
        """
        out = self._out
        out.clean()
        self._write(value)
        body: bytes = out.getvalue()
        made = self._heads[kind].get(name)
        if made is None:
            made = self._head(name, kind)
            if of_idl:
                self._heads[kind][name] = made
        pack, head, length = made
        if len(body) > _KEEP:
            self._fresh()
        if self.framed:
            return pack(length + len(body), head, seqid) + body
        return pack(head, seqid) + body

    def decode(self, value: Any, data: bytes, start: int, end: int) -> None:
        """Fill the struct ``value`` from bytes that :attr:`scanner` has passed.

        :raises ThriftProtocolError: a part cannot be made, such as a map with lists for keys.
        """
        source = self._in
        source.setvalue(data[start:end] + _AFTER)
        try:
            self._read(value)
        except Exception as error:
            raise ThriftProtocolError(f"{type(value).__name__} cannot be decoded: {error!r}") from error
        if source.getvalue() != _AFTER:
            raise ThriftProtocolError(f"{type(value).__name__} was decoded out of step")
        if end - start > _KEEP:
            self._fresh()


class _Reader:
    """A transport for the pure Python protocol: exactly the scanned bytes."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._pos = start
        self._end = end

    def read(self, size: int) -> bytes:
        pos = self._pos
        if size < 0 or size > self._end - pos:
            raise EOFError("read beyond the message")
        self._pos = pos + size
        return self._data[pos : pos + size]

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return self._end - self._pos


class CompactCodec:
    """thriftpy2's compact protocol, which it has in pure Python only."""

    compact = True

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.framed = wire.framed and not wire.header
        self.scanner = Scanner(COMPACT, limits.frame, limits.depth, limits.elements, limits.expansion)
        self.wire = wire

    def encode(self, name: str, kind: int, seqid: int, value: Any, of_idl: bool = True) -> bytes:
        """See :meth:`BinaryCodec.encode`."""
        out = BytesIO()
        if self.framed:
            out.write(b"\0\0\0\0")
        writer = TCompactProtocol(out)
        label = name.encode()
        out.write(bytes((0x82, 1 | kind << 5)))
        write_varint(out, seqid & 0xFFFFFFFF)
        write_varint(out, len(label))
        out.write(label)
        try:
            writer.write_struct(value)
        except TProtocolException as error:
            # thriftpy2's for a number that is too large; its binary protocol says this.
            raise OverflowError(str(error)) from None
        data = out.getvalue()
        return (len(data) - 4).to_bytes(4, "big") + data[4:] if self.framed else data

    def decode(self, value: Any, data: bytes, start: int, end: int) -> None:
        """See :meth:`BinaryCodec.decode`."""
        source = _Reader(data, start, end)
        reader = TCompactProtocol(
            source,
            decode_response=self.wire.decode_response,
            strict_decode=self.wire.strict_decode,
        )
        try:
            reader.read_struct(value)
        except Exception as error:
            raise ThriftProtocolError(f"{type(value).__name__} cannot be decoded: {error!r}") from error
        if source.left:
            raise ThriftProtocolError(f"{type(value).__name__} was decoded out of step")


Codec = BinaryCodec | CompactCodec


def codec_for(wire: Wire, limits: Limits) -> Codec:
    """A codec for one connection of the given form."""
    return CompactCodec(wire, limits) if wire.compact else BinaryCodec(wire, limits)
