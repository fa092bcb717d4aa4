"""Types of ``ext/_ttheader.py``, compiled or not; its docstrings are there."""

from collections.abc import Mapping
from typing import Final

MAGIC: Final[bytes]
MOST: Final[int]

class HeaderError(ValueError): ...
class TooLarge(ValueError): ...

class Header:
    seqid: int
    flags: int
    protocol: int
    framed: bool
    transforms: tuple[int, ...]
    plain: bool
    def __init__(
        self,
        seqid: int,
        flags: int = 0,
        protocol: int = 0,
        framed: bool = False,
        transforms: tuple[int, ...] = (),
        ints: Mapping[int, str] | None = None,
        strings: Mapping[str, str] | None = None,
        token: str | None = None,
        plain: bool = False,
    ) -> None: ...
    @property
    def message(self) -> int: ...
    @property
    def ints(self) -> Mapping[int, str]: ...
    @property
    def strings(self) -> Mapping[str, str]: ...
    @property
    def token(self) -> str | None: ...
    @property
    def metainfo(self) -> bool: ...
    def value(self, number: int) -> str: ...
    def timeout(self) -> int: ...

def text(data: bytes) -> str: ...
def octets(value: str) -> bytes: ...
def read(frame: bytes, start: int, most: int, entries: int) -> Header: ...
def info(
    protocol: int, ints: Mapping[int, str], strings: Mapping[str, str] | None, token: str | None
) -> bytes: ...
def frame(info: bytes, flags: int, seqid: int, framed: bool, message: bytes) -> bytes: ...
def answer(came: Header, kind: int, message: bytes) -> bytes: ...
def answer_ints(kind: int, framed: bool) -> dict[int, str]: ...

class Template:
    def __init__(
        self, protocol: int, flags: int, framed: bool, ints: Mapping[int, str], strings: Mapping[str, str]
    ) -> None: ...
    def plain(self, seqid: int, milliseconds: int, message: bytes) -> bytes: ...
    def carrying(
        self,
        seqid: int,
        milliseconds: int,
        message: bytes,
        log: str | None,
        strings: Mapping[str, str],
        token: str | None,
    ) -> bytes: ...
