"""The serializations of values without IDL, by the names that Dubbo has for them.

=====================  ===============================================================================
name                   where Dubbo has it
=====================  ===============================================================================
``gson``, ``jackson``  JSON text. Dubbo Java, with ``org.apache.dubbo.extensions:dubbo-serialization-gson``
``msgpack``            MessagePack. dubbo-go
``protobuf``           messages with their length before them, as Dubbo's extensions for Java have it
=====================  ===============================================================================

Hessian2, Dubbo's default, and fastjson2, which is a binary form of its own (JSONB), are refused by name: no
well-kept Python library reads them safely (docs/triple.md). A class that a peer names is never loaded: values are
what JSON has.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ....errors import missing_extra
from .. import json_messages
from ..protobuf_wire import read_varint, varint

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Unsupported(Exception):
    """A serialization that is not here; the text says which, and what to use instead."""


class Serialization(NamedTuple):
    """How values are written and read.

    :param dumps: the bytes of a value; raises TypeError or ValueError where it cannot be written.
    :param loads: the value of bytes, given the class that is expected, or ``None``; raises ValueError.
    """

    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes, Any], Any]


def _plain(value: Any) -> Any:
    """For values that neither JSON nor MessagePack has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be written: it is no JSON value and no dataclass")


def _json_dumps(value: Any) -> bytes:
    if json_messages.is_message(value):
        return json_messages.dump(value)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return text.encode()


def _finite(text: str) -> float:
    """For numbers that JSON does not have, or a double: protobuf's JSON has no such value without IDL either."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number of JSON")
    return number


def _json_loads(data: bytes, kind: Any) -> Any:
    if is_message_class(kind):
        return json_messages.parse(kind, data)
    try:
        value = json.loads(data.decode(), parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(data):
            # Half of a pair is a str that nothing can encode: it is refused here, as protobuf refuses it.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _msgpack() -> Serialization:
    try:
        import msgpack
    except ImportError as error:
        raise missing_extra("msgpack", "msgpack", "the serialization msgpack") from error

    def loads(data: bytes, _kind: Any) -> Any:
        try:
            # TypeError: a list or a map is the key of a map.
            return msgpack.unpackb(data, strict_map_key=False)
        except (msgpack.UnpackException, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"no MessagePack: {error!r}") from None

    return Serialization(lambda value: bytes(msgpack.packb(value, default=_plain)), loads)


def _protobuf_dumps(value: Any) -> bytes:
    if not json_messages.is_message(value):
        raise TypeError(f"{type(value).__name__} is no message of protobuf's")
    data: bytes = value.SerializeToString()
    return varint(len(data)) + data


def _protobuf_loads(data: bytes, kind: Any) -> Any:
    if not is_message_class(kind):
        raise ValueError("a message of protobuf's came: annotate the parameter with its class")
    try:
        length, at = read_varint(data, 0)
    except IndexError:
        raise ValueError("the message ends within its length") from None
    if len(data) - at != length:
        raise ValueError(f"a message of {length} bytes was promised, {len(data) - at} came")
    try:
        return kind.FromString(data[at:])
    except Exception as error:  # protobuf's DecodeError; its class is not imported here
        raise ValueError(str(error)) from None


def is_message_class(kind: Any) -> bool:
    """Whether it is the class of a message of protobuf's."""
    return isinstance(kind, type) and hasattr(kind, "DESCRIPTOR")


JSON = Serialization(_json_dumps, _json_loads)
_KNOWN: dict[str, Callable[[], Serialization]] = {
    **dict.fromkeys(("gson", "jackson", "fastjson", "json"), lambda: JSON),
    "msgpack": _msgpack,
    "protobuf": lambda: Serialization(_protobuf_dumps, _protobuf_loads),
}
_REFUSED = {
    "hessian4": "Hessian2, Dubbo's default,",
    "hessian2": "Hessian2, Dubbo's default,",
    "fastjson2": "fastjson2, which is binary (JSONB),",
}


def named(name: str) -> Serialization:
    """The serialization of a name.

    :raises Unsupported: there is none.
    :raises ConfigError: its library is not installed.
    """
    made = _KNOWN.get(name)
    if made is not None:
        return made()
    if name in _REFUSED:
        raise Unsupported(
            f"{_REFUSED[name]} is not supported: no well-kept Python library reads it safely. Set serialization to "
            "gson (Dubbo Java, with org.apache.dubbo.extensions:dubbo-serialization-gson) or to msgpack (dubbo-go), or "
            "describe the interface in protobuf"
        )
    raise Unsupported(
        f"the serialization {name[:40]!r} is not supported: gson, jackson, msgpack and protobuf are"
    )


def java_type(value: Any) -> str:
    """The type of a value in Java's names, where the caller does not say it."""
    if isinstance(value, bool):
        return "boolean"
    for kind, name in _JAVA_TYPES:
        if isinstance(value, kind):
            return name
    return "java.lang.Object"


_JAVA_TYPES: tuple[tuple[Any, str], ...] = (
    (int, "long"),
    (float, "double"),
    (str, "java.lang.String"),
    (bytes, "[B"),
    (list | tuple, "java.util.List"),
    (dict, "java.util.Map"),
    (set | frozenset, "java.util.Set"),
)
