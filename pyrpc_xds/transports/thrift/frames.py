"""Whole frames out of the bytes of one connection, and the message in a frame with a header. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._scan import ScanError
from . import theader, ttheader
from .codec import codec_for
from .errors import ThriftProtocolError, refused
from .foreign import HEAD, hint
from .goodbye import CONTROL, is_goodbye
from .header import BINARY_ID, COMPACT_ID, Header
from .inbox import Inbox
from .limits import Limits
from .wire import Wire


class Frames:
    """Collects bytes until a frame is whole. Memory grows with what has arrived, never with what is announced."""

    __slots__ = ("_limit", "buffer", "piece")

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.frame + limits.header
        # What is held. Nothing is copied where each frame comes alone: it is the piece.
        self.piece = b""
        self.buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether bytes of a frame are held."""
        return bool(self.piece or self.buffer)

    @property
    def head(self) -> bytes:
        """The first bytes of what is held."""
        return bytes((self.buffer or self.piece)[:HEAD])

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self.piece:
            self.buffer += self.piece
            self.piece = b""
        if self.buffer:
            self.buffer += data
        else:
            self.piece = data

    def next(self) -> tuple[bytes, int] | None:
        """The next frame: the bytes, and where in them it begins (its length left out); ``None``: it is not whole.

        :raises ThriftProtocolError: it announces more bytes than the limit, or none.
        """
        buffer: bytes | bytearray = self.piece or self.buffer
        have = len(buffer)
        if have < 4:
            return None
        size = int.from_bytes(buffer[:4], "big")
        if not 12 <= size <= self._limit:
            text = f"a frame of {size} bytes is announced; the limit is {self._limit}"
            raise ThriftProtocolError(text + hint(self.head))
        if have < size + 4:
            return None
        if self.piece:
            if have == size + 4:
                frame, self.piece = self.piece, b""
                return frame, 4
            self.buffer += self.piece
            self.piece = b""
        frame = bytes(self.buffer[4 : size + 4])
        del self.buffer[: size + 4]
        return frame, 0


class Opener:
    """Takes the message out of frames with headers.

    :ivar codec: of the messages.
    :ivar header: of the frame opened last.
    """

    __slots__ = ("_apache", "_limits", "_protocol", "codec", "header")

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.codec = codec_for(wire, limits)
        self.header: Header | None = None
        self._limits = limits
        self._apache = wire.header == "theader"
        self._protocol = COMPACT_ID if wire.compact else BINARY_ID

    def open(self, frame: bytes, start: int, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int]:
        """The message in a frame, which ``codec.scanner`` has passed then.

        :returns: the bytes and where in them it begins.
        :raises ThriftProtocolError: the header or the message is refused.
        """
        limits = self._limits
        worth = 0
        if self._apache:
            header, frame, start, worth = theader.decode(frame, start, limits)
        else:
            header, start = ttheader.decode(frame, start, limits)
        if header.protocol != self._protocol:
            raise ThriftProtocolError(f"the header says protocol {header.protocol}, not {self._protocol}")
        if len(frame) - start > limits.frame:
            raise ThriftProtocolError(f"a message of {len(frame) - start} bytes; the limit is {limits.frame}")
        try:
            self.codec.scanner.whole(frame, start, schemas, worth)
        except ScanError as error:
            raise refused(error.kind, error.offset) from None
        self.header = header
        return frame, start


class HeaderInbox(Opener):
    """:class:`.inbox.Inbox` for a transport with headers.

    :ivar ended: the peer has said goodbye (:mod:`.goodbye`): there is no message in that.
    """

    __slots__ = ("_frames", "_most", "ended")

    def __init__(self, wire: Wire, limits: Limits) -> None:
        super().__init__(wire, limits)
        self._most = limits.frame + limits.header
        self._frames = Frames(limits)
        self.ended = False

    @property
    def pending(self) -> bool:
        """See :attr:`.inbox.Inbox.pending`."""
        return self._frames.pending

    @property
    def head(self) -> bytes:
        """See :attr:`.inbox.Inbox.head`."""
        return self._frames.head

    def take(self, data: bytes, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        """See :meth:`.inbox.Inbox.take`."""
        if int.from_bytes(data[:4], "big") == len(data) - 4 and 16 <= len(data) <= self._most:
            frames = self._frames
            if data[8:12] != CONTROL and not (frames.piece or frames.buffer):
                return self.open(data, 4, schemas)
        self._frames.feed(data)
        return self.next(schemas)

    def feed(self, data: bytes) -> None:
        """See :meth:`.inbox.Inbox.feed`."""
        self._frames.feed(data)

    def next(self, schemas: Mapping[bytes, Any] | None) -> tuple[bytes, int] | None:
        """See :meth:`.inbox.Inbox.next`."""
        while (frame := self._frames.next()) is not None:
            if not is_goodbye(*frame):
                return self.open(*frame, schemas)
            self.ended = True
        return None


def inbox_for(wire: Wire, limits: Limits) -> Inbox | HeaderInbox:
    """An inbox, with its codec, for one connection of the given form."""
    return HeaderInbox(wire, limits) if wire.header else Inbox(codec_for(wire, limits), limits)


def frame_of(wire: Wire, header: Header, message: bytes) -> bytes:
    """The bytes of one frame.

    :raises HeaderTooLarge: the header does not fit.
    """
    return theader.encode(header, message) if wire.header == "theader" else ttheader.encode(header, message)
