"""Functions as the methods of a service without IDL."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from ....errors import ConfigError, UsageError
from . import serializations, wrapper

_Function = Callable[..., Any]


class _Refused(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


class _Json(bytes):
    """A body that is JSON, from an HTTP port."""


class _Body:
    """The deserializer: everything is read where the context can be told what is wrong."""

    def __call__(self, data: bytes) -> bytes:
        return data

    def from_json(self, data: bytes) -> bytes:
        """For :mod:`..http.calls`."""
        return _Json(data)


class _Method:
    """A function, and what its arguments are."""

    def __init__(self, name: str, function: _Function) -> None:
        self.name = name
        self.function = function
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError):
            raise UsageError(f"{name}: {function!r} is no function whose parameters are known") from None
        try:
            hints = typing.get_type_hints(function)
        except Exception:  # annotations may name anything, and nothing here needs them
            hints = {}
        self._kinds = [hints.get(each) for each in self._signature.parameters]
        self._count = len(self._signature.parameters)

    def arguments(self, data: bytes) -> tuple[tuple[Any, ...], Callable[[Any], bytes]]:
        """The arguments of a request, and how its response is written.

        :raises _Refused: it is none.
        """
        answer: Callable[[Any], bytes]
        try:
            if isinstance(data, _Json):
                found, answer = self._of_json(data), serializations.JSON.dumps
            else:
                found, answer = self._of_wrapper(data)
        except (serializations.Unsupported, ConfigError) as error:
            raise _Refused(grpc.StatusCode.UNIMPLEMENTED, f"{self.name}: {error}") from None
        except ValueError as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{self.name}: {error}") from None
        try:
            self._signature.bind(*found)
        except TypeError as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{self.name}: {error}") from None
        return found, answer

    def _of_wrapper(self, data: bytes) -> tuple[tuple[Any, ...], Callable[[Any], bytes]]:
        request = wrapper.decode(data)
        used = serializations.named(request.serialization)
        kinds = [*self._kinds, *[None] * len(request.data)]
        found = tuple(used.loads(each, kind) for each, kind in zip(request.data, kinds, strict=False))

        def answer(result: Any) -> bytes:
            return wrapper.encode(
                request.serialization, [used.dumps(result)], [serializations.java_type(result)]
            )

        return found, answer

    def _of_json(self, data: bytes) -> tuple[Any, ...]:
        """As Dubbo Java (3.3): an array of the arguments, or the only argument, which is no array."""
        if not data and not self._count:
            return ()
        value = serializations.JSON.loads(data, None)
        if not isinstance(value, list):
            if self._count > 1:
                raise ValueError("arguments are a JSON array")
            return (value,) if self._count else ()
        if self._count == 1 and serializations.is_message_class(self._kinds[0]):
            value = [serializations.JSON.loads(json.dumps(each).encode(), self._kinds[0]) for each in value]
        return tuple(value)


def _written(answer: Callable[[Any], bytes], name: str, result: Any) -> bytes:
    try:
        return answer(result)
    except (TypeError, ValueError) as error:
        raise _Refused(grpc.StatusCode.INTERNAL, f"{name}: its result: {error}") from None


def _sync(method: _Method) -> _Function:
    def call(data: bytes, context: Any) -> Any:
        try:
            found, answer = method.arguments(data)
            return _written(answer, method.name, method.function(*found))
        except _Refused as refused:
            return context.abort(refused.code, refused.text)

    return call


def _coroutine(method: _Method) -> _Function:
    async def call(data: bytes, context: Any) -> Any:
        try:
            found, answer = method.arguments(data)
            return _written(answer, method.name, await method.function(*found))
        except _Refused as refused:
            return await context.abort(refused.code, refused.text)

    return call


def of(service: str, methods: Mapping[str, _Function], *, asyncio: bool) -> dict[str, Any]:
    """The handlers of a service's methods.

    :param asyncio: coroutine functions are allowed.
    :raises UsageError: a method is no function, or one for the other kind of servers.
    """
    found = {}
    for name, function in methods.items():
        method = _Method(f"{service}/{name}", function)
        if inspect.iscoroutinefunction(function):
            if not asyncio:
                raise UsageError(
                    f"{method.name} is a coroutine function: xds.triple.aio_server() serves those"
                )
            behavior = _coroutine(method)
        else:
            behavior = _sync(method)
        found[name] = grpc.unary_unary_rpc_method_handler(behavior, _Body())
    return found
