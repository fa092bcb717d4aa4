"""A server of TTHeader by hand, which answers, or does not, what a test says."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyrpc_xds.transports.thrift.codec import REPLY, codec_for
from pyrpc_xds.transports.thrift.limits import Limits
from pyrpc_xds.transports.thrift.wire import Wire
from tests.interop.peers.ttheader_bytes import Frame, pack, unpack
from tests.unit.transports.thrift.peers import idl, listening


def frames(sock: socket.socket) -> Iterator[Frame]:
    """The requests of a client, as they come."""
    buffer = b""
    while True:
        while len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[:4], "big"):
            data = sock.recv(65536)
            if not data:
                return
            buffer += data
        size = 4 + int.from_bytes(buffer[:4], "big")
        yield unpack(buffer[:size])
        buffer = buffer[size:]


def reply(
    seqid: int, text: str, message_seqid: int | None = None, strings: Mapping[str, str] | None = None
) -> bytes:
    """The answer to ``ping``.

    :param message_seqid: of the message, where the frame has another.
    :param strings: of the header.
    """
    codec = codec_for(Wire(framed=False), Limits())
    result = idl.Everything.ping_result(success=text)
    message = codec.encode("ping", REPLY, seqid if message_seqid is None else message_seqid, result)
    return pack(Frame(message, seqid=seqid, strings=strings or {}))


def failing(serve: Callable[[socket.socket], None]) -> Any:
    """:func:`listening`, for a server to which the client may close connections."""

    def guarded(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(sock)

    return listening(guarded)
