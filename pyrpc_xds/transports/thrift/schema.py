"""What the scan must know of the IDL: the types of values that thriftpy2 decodes without looking at the wire.

thriftpy2's binary decoder takes a string key or value of a map for whatever the IDL says; its compact decoder
does so for every element of a list or set. Such a message passes a scan of its structure and is then read out
of step, so for methods that can be tricked this way the scan compares types with the IDL's.
"""

from __future__ import annotations

from typing import Any

from thriftpy2.thrift import TType

_CONTAINERS = (TType.LIST, TType.SET)


def struct_node(cls: Any, seen: dict[Any, dict[int, Any]] | None = None) -> dict[int, Any]:
    """The scan's node of a struct: field id -> ``(type, node)``; recursive types are recursive dicts."""
    seen = {} if seen is None else seen
    node = seen.get(cls)
    if node is None:
        node = seen[cls] = {}
        for fid, field in cls.thrift_spec.items():
            node[fid] = (_type(field[0]), _node(field[0], field[2] if len(field) > 3 else None, seen))
    return node


def must_compare(cls: Any, compact: bool) -> bool:
    """Whether a value of ``cls`` can hold something that the decoder reads by the IDL's type alone."""
    seen: dict[Any, dict[int, Any]] = {}
    struct_node(cls, seen)
    todo = [field for node in seen.values() for field in node.values()]
    while todo:
        kind, node = todo.pop()
        if kind == TType.MAP:
            if compact or node[0] != TType.STRING or node[2] != TType.STRING:
                return True
        elif kind in _CONTAINERS:
            if compact:
                return True
            todo.append(node)
    return False


def _type(ttype: int) -> int:
    return TType.STRING if ttype == TType.BINARY else ttype


def _node(ttype: int, spec: Any, seen: dict[Any, dict[int, Any]]) -> Any:
    if ttype == TType.STRUCT:
        return struct_node(spec, seen)
    if ttype in _CONTAINERS:
        return _pair(spec, seen)
    if ttype == TType.MAP:
        return _pair(spec[0], seen) + _pair(spec[1], seen)
    return None


def _pair(spec: Any, seen: dict[Any, dict[int, Any]]) -> tuple[int, Any]:
    ttype, inner = spec if isinstance(spec, tuple) else (spec, None)
    return _type(ttype), _node(ttype, inner, seen)
