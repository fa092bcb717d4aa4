"""Whole messages out of the bytes of one connection, scanned. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._scan import ScanError
from .codec import Codec
from .errors import ThriftProtocolError, refused
from .foreign import HEAD, hint
from .limits import Limits


class Inbox:
    """Collects bytes until a message is whole. Memory grows with what has arrived, never with what is
    announced.

    After :meth:`next` has returned a message, ``codec.scanner`` holds its header until the next call.
    """

    __slots__ = ("_buffer", "_framed", "_limit", "_piece", "codec")

    # What only a transport with headers has.
    header: None = None
    ended = False

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self._framed = codec.framed
        self._limit = limits.frame
        # Framed: everything not yet returned. Unframed: `_buffer` has been scanned, `_piece` has not.
        self._buffer = bytearray()
        self._piece = b""

    @property
    def pending(self) -> bool:
        """Whether bytes of a message are held: its beginning, or what came after the one returned."""
        return bool(self._buffer or self._piece)

    @property
    def head(self) -> bytes:
        """The first bytes of what is held."""
        return bytes((self._buffer or self._piece)[:HEAD])

    def take(self, data: bytes, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        """:meth:`feed` and :meth:`next` at once; quick where ``data`` is one whole message and nothing is held."""
        if not (self._buffer or self._piece):
            try:
                if self._framed:
                    if self.codec.scanner.frame(data, schemas):
                        return data, 4
                else:
                    used = self.codec.scanner.feed(data, schemas)
                    if used >= 0:
                        self._piece = data[used:]
                        return data, 0
                    self._buffer += data
                    return None
            except ScanError as error:
                raise refused(error.kind, error.offset, data) from None
        self.feed(data)
        return self.next(schemas)

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self._framed:
            if self._buffer or self._piece:
                if self._piece:
                    self._buffer += self._piece
                    self._piece = b""
                self._buffer += data
            else:
                self._piece = data
        else:
            self._piece = self._piece + data if self._piece else data

    def next(self, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        """The next message: the bytes and where in them it begins; ``None``: it is not whole yet.

        :param schemas: see :meth:`Scanner.feed`.
        :raises ThriftProtocolError: the bytes are refused; the connection is lost then.
        """
        try:
            return self._next_framed(schemas) if self._framed else self._next_unframed(schemas)
        except ScanError as error:
            raise refused(error.kind, error.offset) from None

    def _next_framed(self, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        buffer: bytes | bytearray = self._piece or self._buffer
        have = len(buffer)
        if have < 4:
            return None
        size = int.from_bytes(buffer[:4], "big")
        if not 0 < size <= self._limit:
            what = f"{size} bytes" if size < 2**31 else "negative size"
            limit = self._limit
            raise ThriftProtocolError(
                f"a frame of {what} is announced; the limit is {limit}{hint(self.head)}"
            )
        if have < size + 4:
            return None
        if self._piece and have == size + 4:
            frame, self._piece = self._piece, b""
            self.codec.scanner.whole(frame, 4, schemas)
            return frame, 4
        if self._piece:
            self._buffer += self._piece
            self._piece = b""
        frame = bytes(self._buffer[4 : size + 4])
        del self._buffer[: size + 4]
        self.codec.scanner.whole(frame, 0, schemas)
        return frame, 0

    def _next_unframed(self, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        piece = self._piece
        if not piece:
            return None
        used = self.codec.scanner.feed(piece, schemas)
        if used < 0:
            self._buffer += piece
            self._piece = b""
            return None
        self._piece = piece[used:]
        if self._buffer:
            self._buffer += piece[:used]
            piece = bytes(self._buffer)
            self._buffer = bytearray()
        return piece, 0
