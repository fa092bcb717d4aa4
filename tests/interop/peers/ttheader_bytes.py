"""TTHeader by hand: the bytes of a frame and back, for tests that must not take our own word for it.

The layout is that of Kitex (cloudwego/gopkg, protocol/ttheader): length, magic 0x1000, flags, sequence id, size of
the header in words, protocol id, transforms, info blocks, padding, payload.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.interop.peers.echo import to_binary

MAGIC = 0x1000
STRINGS, INTS, ACL_TOKEN = 0x01, 0x10, 0x11
CALL, REPLY, EXCEPTION = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    :ivar payload: the Thrift message, with four bytes of length before it where it is framed within.
    :ivar token: the ACL token, a block of its own.
    """

    payload: bytes
    seqid: int = 1
    flags: int = 0
    protocol: int = 0
    ints: Mapping[int, str] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def pack(frame: Frame) -> bytes:
    """The bytes of a frame."""
    header = bytes((frame.protocol, 0))
    if frame.ints:
        header += struct.pack(">BH", INTS, len(frame.ints))
        header += b"".join(struct.pack(">H", key) + _text(value) for key, value in frame.ints.items())
    if frame.strings:
        header += struct.pack(">BH", STRINGS, len(frame.strings))
        header += b"".join(_text(key) + _text(value) for key, value in frame.strings.items())
    if frame.token is not None:
        header += bytes((ACL_TOKEN,)) + _text(frame.token)
    header += bytes(-len(header) % 4)
    head = struct.pack(">HHIH", MAGIC, frame.flags, frame.seqid, len(header) // 4)
    body = head + header + frame.payload
    return struct.pack(">I", len(body)) + body


def unpack(data: bytes) -> Frame:
    """The frame of its bytes, length included. Raises AssertionError or struct.error if it is not one."""
    length, magic, flags, seqid, words = struct.unpack_from(">IHHIH", data)
    assert length == len(data) - 4, (length, len(data))
    assert magic == MAGIC, hex(magic)
    start, end = 14, 14 + words * 4
    assert end <= len(data)
    protocol, transforms = data[start : start + 2]
    assert transforms == 0
    at = start + 2
    ints: dict[int, str] = {}
    strings: dict[str, str] = {}
    token = None

    def number() -> int:
        nonlocal at
        (value,) = struct.unpack_from(">H", data, at)
        at += 2
        assert at <= end
        return int(value)

    def text() -> str:
        nonlocal at
        size = number()
        at += size
        assert at <= end
        return data[at - size : at].decode()

    while at < end:
        block = data[at]
        at += 1
        if block == INTS:
            for _ in range(number()):
                key = number()
                ints[key] = text()
        elif block == STRINGS:
            for _ in range(number()):
                name = text()
                strings[name] = text()
        elif block == ACL_TOKEN:
            token = text()
        else:
            assert block == 0, f"info block {block}"
    return Frame(data[end:], seqid, flags, protocol, ints, strings, token)


def message(method: str, kind: int, seqid: int, value: Any) -> bytes:
    """A strict binary message, without a frame."""
    name = method.encode()
    head = struct.pack(">HBBI", 0x8001, 0, kind, len(name)) + name + struct.pack(">I", seqid)
    return head + to_binary(value)


def parts(data: bytes) -> tuple[str, int, int, bytes]:
    """The name, kind, sequence id and struct of a strict binary message."""
    version, _, kind, size = struct.unpack_from(">HBBI", data)
    assert version == 0x8001, data[:8]
    (seqid,) = struct.unpack_from(">I", data, 8 + size)
    return data[8 : 8 + size].decode(), kind, seqid, data[12 + size :]


def framed(data: bytes) -> bytes:
    """With four bytes of length before it."""
    return struct.pack(">I", len(data)) + data


def receive(sock: socket.socket) -> bytes:
    """One frame with its length."""
    head = sock.recv(4, socket.MSG_WAITALL)
    return head + sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 4 else b""


def connected(address: str) -> socket.socket:
    """A socket to close."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(address: str, frame: Frame) -> Frame:
    """Send a frame by hand and read the answer."""
    with connected(address) as sock:
        sock.sendall(pack(frame))
        return unpack(receive(sock))
