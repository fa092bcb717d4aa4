"""TripleRequestWrapper and TripleResponseWrapper (``idl/triple_wrapper.proto``).

Dubbo Java (3.3) reads them with a parser of its own, which takes these three fields and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..protobuf_wire import BYTES, field, fields

_SERIALIZATION, _DATA, _TYPE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A request, whose arguments are ``data`` and ``types``; or a response, which has one of each.

    :param serialization: what the data are written with, in Dubbo's name for it.
    :param types: as Java names them, such as ``java.lang.String``.
    """

    serialization: str
    data: tuple[bytes, ...]
    types: tuple[str, ...] = ()


def encode(serialization: str, data: Iterable[bytes], types: Iterable[str]) -> bytes:
    """The bytes of a wrapper."""
    parts = [field(_SERIALIZATION, serialization.encode())]
    parts += [field(_DATA, each) for each in data]
    parts += [field(_TYPE, each.encode()) for each in types]
    return b"".join(parts)


def decode(message: bytes) -> Wrapper:
    """The wrapper that a message is.

    :raises ValueError: it is none.
    """
    serialization = ""
    data: list[bytes] = []
    types: list[str] = []
    try:
        for number, kind, value in fields(message):
            if kind != BYTES:
                raise ValueError(f"field {number} has another type")
            if number == _SERIALIZATION:
                serialization = value.decode("utf-8")
            elif number == _DATA:
                data.append(bytes(value))
            elif number == _TYPE:
                types.append(value.decode("utf-8"))
    except IndexError:
        raise ValueError("the message ends within a field") from None
    if not serialization:
        raise ValueError("the message is no wrapper of Dubbo's: it names no serialization")
    return Wrapper(serialization, tuple(data), tuple(types))
