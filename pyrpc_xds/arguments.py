"""Arguments of the public functions, checked where they come in: an error names argument, value and an example."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .errors import UsageError
from .frozen import frozen


@frozen
class Kind:
    """What an argument may be.

    :param words: for people, such as ``seconds above 0``.
    :param example: as a program writes it.
    :param holds: whether a value is one.
    :param optional: ``None`` is as good as not given.
    """

    words: str
    example: str
    holds: Callable[[Any], bool]
    optional: bool = True


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def _options(value: Any) -> bool:
    if not isinstance(value, Sequence):
        return isinstance(value, Iterable)  # which may be there to be read once
    return all(isinstance(each, Sequence) and len(each) == 2 and isinstance(each[0], str) for each in value)


TARGET = Kind(
    "a str like xds:///HOST:PORT, HOST:PORT or direct:///IP:PORT",
    "'xds:///greeter.default.svc.cluster.local:9090'",
    lambda value: isinstance(value, str),
    optional=False,
)
TEXT = Kind("a str", "'name'", lambda value: isinstance(value, str))
SECONDS = Kind("a number of seconds above 0", "1.5", lambda value: _number(value) and value > 0)
GRACE = Kind("a number of seconds, 0 or more", "30", lambda value: _number(value) and value >= 0)
COUNT = Kind("an int of 1 or more", "32", _count)
TEXTS = Kind("a mapping of str to str", "{'version': 'v1'}", _texts)
FLAG = Kind("a bool", "True", lambda value: isinstance(value, bool))
MIDDLEWARE = Kind(
    "a sequence of callables",
    "[timed]",
    lambda value: isinstance(value, Sequence) and all(callable(each) for each in value),
)
OPTIONS = Kind("pairs of a str and a value", "[('grpc.max_send_message_length', 1048576)]", _options)


def object_of(kind: type, example: str) -> Kind:
    """An instance of ``kind``."""
    return Kind(f"a {kind.__name__}", example, lambda value: isinstance(value, kind))


def all_having(words: str, example: str, *methods: str) -> Kind:
    """A sequence of objects that have one of ``methods`` at least."""
    return Kind(
        words,
        example,
        lambda value: (
            isinstance(value, Sequence)
            and all(any(callable(getattr(each, name, None)) for name in methods) for each in value)
        ),
    )


def is_async(function: Any) -> bool:
    """Whether what a call of it gives is to be awaited, or iterated with ``async for``.

    Objects whose ``__call__`` is such count. Those of :mod:`unittest.mock` count where they are ``AsyncMock``: of
    the others :mod:`inspect` says so as well, for the flags of their code are mocks, and true.
    """
    for each in (function, type(function).__call__):
        flags = getattr(getattr(each, "__code__", None), "co_flags", 0)
        if isinstance(flags, int) and (inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)):
            return True
    return False


def require(where: str, kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> None:
    """Check arguments.

    :param where: the function, as a program writes it, such as ``xds.thrift.client``.
    :param kinds: of each argument.
    :param given: its values, such as ``locals()``.
    :raises UsageError: one of them is not what it must be.
    """
    for name, kind in kinds.items():
        value = given[name]
        if not kind.holds(value) and not (value is None and kind.optional):
            raise UsageError(
                f"{where}: {name}={reprlib.repr(value)} is not {kind.words}; such as {name}={kind.example}"
            )
