"""What the scan must know of the IDL: the types of values that thriftpy2 decodes without looking at the wire, and what
its objects take.

thriftpy2's binary decoder takes a string key or value of a map for whatever the IDL says; its compact decoder
does so for every element of a list or set. Such a message passes a scan of its structure and is then read out
of step, so for methods that can be tricked this way the scan compares types with the IDL's.

An empty struct is one byte on the wire, and an object with all its fields in memory: 80 bytes of one field, 1,600 of
forty. An empty list is as small. So for methods that can be sent many of them the scan adds up what they take.
"""

from __future__ import annotations

import sys
from typing import Any

from thriftpy2.thrift import TType

_CONTAINERS = (TType.LIST, TType.SET)
# Of which an empty one is larger in memory than on the wire, by far.
_LARGE = (TType.STRUCT, TType.LIST, TType.SET, TType.MAP)


# Of a struct; ``None`` is the key of what an object of it takes.
Node = dict[int | None, Any]


def struct_node(cls: Any, seen: dict[Any, Node] | None = None) -> Node:
    """The scan's node of a struct: field id -> ``(type, node)``; recursive types are recursive dicts."""
    seen = {} if seen is None else seen
    node = seen.get(cls)
    if node is None:
        node = seen[cls] = {None: _size(cls)}
        for fid, field in cls.thrift_spec.items():
            node[fid] = (_type(field[0]), _node(field[0], field[2] if len(field) > 3 else None, seen))
    return node


def must_compare(cls: Any, compact: bool) -> bool:
    """Whether a value of ``cls`` can hold something that the decoder reads by the IDL's type alone, or any number of
    structs and containers.
    """
    seen: dict[Any, Node] = {}
    struct_node(cls, seen)
    fields = [field for node in seen.values() for fid, field in node.items() if fid is not None]
    if any(_can_trick(kind, node, compact) for kind, node in fields):
        return True
    # In a tree there is one field less than structs. Else one stands in two places, or in itself.
    return len([kind for kind, _ in fields if kind == TType.STRUCT]) >= len(seen)


def _can_trick(kind: int, node: tuple[Any, ...], compact: bool) -> bool:
    if kind == TType.MAP:
        return compact or node[0] != TType.STRING or node[2] != TType.STRING
    return kind in _CONTAINERS and (compact or node[0] in _LARGE)


def _size(cls: Any) -> int:
    """Bytes of an object none of whose fields is set: CPython has up to 29 of them in an array, more in a dict."""
    fields = len(cls.thrift_spec)
    return 72 + 8 * fields if fields < 30 else sys.getsizeof(vars(cls()))


def _type(ttype: int) -> int:
    return TType.STRING if ttype == TType.BINARY else ttype


def _node(ttype: int, spec: Any, seen: dict[Any, Node]) -> Any:
    if ttype == TType.STRUCT:
        return struct_node(spec, seen)
    if ttype in _CONTAINERS:
        return _pair(spec, seen)
    if ttype == TType.MAP:
        return _pair(spec[0], seen) + _pair(spec[1], seen)
    return None


def _pair(spec: Any, seen: dict[Any, Node]) -> tuple[int, Any]:
    ttype, inner = spec if isinstance(spec, tuple) else (spec, None)
    return _type(ttype), _node(ttype, inner, seen)
