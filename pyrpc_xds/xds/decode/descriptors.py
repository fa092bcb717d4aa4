"""Classes of the messages that are read here, made of no more than is read.

The generated modules of Envoy's API are eighty, with four hundred classes: to import them would take nearly as long as
all else that a client imports. Here the text of what is read becomes descriptors, in a pool of our own: the application
may have generated code for the same files, of any version. protoc does not make them, because its output is tied to a
release of protobuf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from .envoy_api import ENVOY_API

_Statements: TypeAlias = Iterator[list[str]]

# Of FieldDescriptorProto. Whether another type is a message or an enum is found out by the pool.
_OPTIONAL, _REPEATED = 1, 3
_SCALARS = {"double": 1, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}

_pool = DescriptorPool()
_files: list[str] = []
# By full name. The pool would let go of a class that nobody holds, and make it again for the next message of its kind.
_classes: dict[str, Any] = {}


def declare(text: str) -> None:
    """Make the messages of ``text`` known to :func:`message_class`.

    :param text: packages in the language of .proto files (proto3), each behind those whose messages it has. What is
        understood of it: messages, enums, oneofs, maps by strings, and fields without options; numbers up to 127.
    """
    for part in text.split("package ")[1:]:
        package, _, body = part.partition(";")
        # A package may be declared in parts, each where it is read.
        name = f"{package}.{len(_files)}.proto"
        _pool.AddSerializedFile(_file(name, package, body))
        _files.append(name)
        _hold(_pool.FindFileByName(name).message_types_by_name.values())


def _hold(messages: Iterable[Descriptor]) -> None:
    for message in messages:
        _classes[message.full_name] = GetMessageClass(message)
        _hold(message.nested_types)


def message_class(name: str) -> Any:
    """The class of a declared message.

    :param name: its full name.
    :raises KeyError: it is not declared.
    """
    return _classes[name]


# What follows writes google/protobuf/descriptor.proto's messages, whose own generated module alone takes longer to
# import than all of this takes.


def _bytes(number: int, value: bytes) -> bytes:
    length, key = len(value), bytearray((number << 3 | 2,))
    while length > 0x7F:
        key.append(length & 0x7F | 0x80)
        length >>= 7
    key.append(length)
    return bytes(key) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _number(number: int, value: int) -> bytes:
    return bytes((number << 3, value))


def _file(name: str, package: str, body: str) -> bytes:
    statements = (
        words for each in body.replace("{", "{;").replace("}", "};").split(";") if (words := each.split())
    )
    parts = [_text(1, name), _text(2, package), _text(12, "proto3"), *(_text(3, file) for file in _files)]
    for kind, of, _ in statements:
        parts.append(_message(4, of, statements) if kind == "message" else _enum(5, of, statements))
    return b"".join(parts)


def _message(number: int, name: str, statements: _Statements) -> bytes:
    parts = [_text(1, name)]
    oneofs = 0
    place = b""  # of the fields that follow in a oneof
    for words in statements:
        match words:
            case ["}"] if place:
                place = b""
            case ["}"]:
                break
            case ["message", inner, "{"]:
                parts.append(_message(3, inner, statements))
            case ["enum", inner, "{"]:
                parts.append(_enum(4, inner, statements))
            case ["oneof", inner, "{"]:
                parts.append(_bytes(8, _text(1, inner)))
                place = _number(9, oneofs)
                oneofs += 1
            case ["map<string,", kind, field, "=", at]:
                entry = field.title().replace("_", "") + "Entry"
                key, value = _field("key", "1", "string"), _field("value", "2", kind.removesuffix(">"))
                is_map = _bytes(7, _number(7, 1))
                parts.append(_bytes(3, _text(1, entry) + key + value + is_map))
                parts.append(_field(field, at, entry, _REPEATED))
            case ["repeated", kind, field, "=", at]:
                parts.append(_field(field, at, kind, _REPEATED))
            case [kind, field, "=", at]:
                parts.append(_field(field, at, kind, place=place))
            case _:
                raise ValueError(f"{name}: {' '.join(words)!r} is not understood")
    return _bytes(number, b"".join(parts))


def _field(name: str, at: str, kind: str, label: int = _OPTIONAL, place: bytes = b"") -> bytes:
    scalar = _SCALARS.get(kind)
    of = _text(6, kind) if scalar is None else _number(5, scalar)
    return _bytes(2, _text(1, name) + _number(3, int(at)) + _number(4, label) + of + place)


def _enum(number: int, name: str, statements: _Statements) -> bytes:
    parts = [_text(1, name)]
    for words in statements:
        if words == ["}"]:
            break
        value, _, at = words
        parts.append(_bytes(2, _text(1, value) + _number(2, int(at))))
    return _bytes(number, b"".join(parts))


declare(ENVOY_API)
