"""Bytes of messages: encode one, and decode one that the scan has passed. No I/O.

A codec is owned by one connection and used by one call at a time.
"""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace
from typing import Any

from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.protocol.compact import TCompactProtocol, write_varint
from thriftpy2.transport import TCyBufferedTransport, TCyFramedTransport

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


def _nothing() -> None:
    return None


class BinaryCodec:
    """thriftpy2's compiled binary protocol, over its compiled transports.

    Not over ``TCyMemoryBuffer``: that returns stale heap where bytes are missing, the buffered transport
    raises (RELIABILITY: the scan is the first guard, this is the second).
    """

    compact = False

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.framed = wire.framed
        self.scanner = Scanner(BINARY, limits.frame, limits.depth, limits.elements)
        self._wire = wire
        self._depth = limits.depth
        # What the transports take for their socket.
        self._chunks: list[bytes] = []
        self._sink = SimpleNamespace(write=self._chunks.append, flush=_nothing)
        self._source = SimpleNamespace(read=BytesIO().read)
        self._fresh_writer()
        self._fresh_reader()

    def _fresh_writer(self) -> None:
        self._out = (TCyFramedTransport if self.framed else TCyBufferedTransport)(self._sink)
        self._writer = TCyBinaryProtocol(self._out, strict_write=self._wire.strict, max_depth=self._depth)

    def _fresh_reader(self) -> None:
        self._in = TCyBufferedTransport(self._source)
        self._reader = TCyBinaryProtocol(
            self._in,
            decode_response=self._wire.decode_response,
            strict_decode=self._wire.strict_decode,
            max_depth=self._depth,
        )

    def encode(self, name: str, kind: int, seqid: int, struct: Any) -> bytes:
        """One message, with its frame where there is one.

        :raises TDecodeException: a value is not of the IDL's type.
        """
        chunks = self._chunks
        try:
            self._writer.write_message_begin(name, kind, seqid)
            self._writer.write_struct(struct)
            self._out.flush()
        except BaseException:
            chunks.clear()
            self._fresh_writer()
            raise
        if len(chunks) == 1:
            data = chunks.pop()
        else:
            data = b"".join(chunks)
            chunks.clear()
        if len(data) > _KEEP:
            self._fresh_writer()
        return data

    def decode(self, struct: Any, data: bytes, start: int, end: int) -> None:
        """Fill ``struct`` from bytes that :attr:`scanner` has passed.

        :raises ThriftProtocolError: a value cannot be made, such as a map with lists for keys.
        """
        self._source.read = BytesIO(data[start:end]).read
        try:
            self._reader.read_struct(struct)
        except Exception as error:
            self._fresh_reader()
            raise ThriftProtocolError(f"{type(struct).__name__} cannot be decoded: {error!r}") from error
        # Values that the scan passed and the schema does not know have been skipped by now: nothing is left
        # over.
        if end - start > _KEEP:
            self._fresh_reader()


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


class CompactCodec:
    """thriftpy2's compact protocol, which it has in pure Python only."""

    compact = True

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.framed = wire.framed
        self.scanner = Scanner(COMPACT, limits.frame, limits.depth, limits.elements)
        self._wire = wire

    def encode(self, name: str, kind: int, seqid: int, struct: Any) -> bytes:
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
        writer.write_struct(struct)
        data = out.getvalue()
        return (len(data) - 4).to_bytes(4, "big") + data[4:] if self.framed else data

    def decode(self, struct: Any, data: bytes, start: int, end: int) -> None:
        """See :meth:`BinaryCodec.decode`."""
        reader = TCompactProtocol(
            _Reader(data, start, end),
            decode_response=self._wire.decode_response,
            strict_decode=self._wire.strict_decode,
        )
        try:
            reader.read_struct(struct)
        except Exception as error:
            raise ThriftProtocolError(f"{type(struct).__name__} cannot be decoded: {error!r}") from error


Codec = BinaryCodec | CompactCodec


def codec_for(wire: Wire, limits: Limits) -> Codec:
    """A codec for one connection of the given form."""
    return CompactCodec(wire, limits) if wire.compact else BinaryCodec(wire, limits)
