"""Dubbo's ``timeout``: how long a unary call may take whose caller does not say.

Streams have none, as in dubbo-go. The mesh's own timeout (that of the route) counts besides: the shorter of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def timed(channel: Any, timeout: float | None, by_method: Mapping[str, float]) -> Any:
    """A channel with timeouts; itself where there are none."""
    return channel if timeout is None and not by_method else TimedChannel(channel, timeout, by_method)


class TimedChannel:
    """What a stub asks for its methods: a channel whose unary methods have timeouts.

    :param channel: of grpc or grpc.aio.
    :param timeout: seconds; ``None``: no limit.
    :param by_method: the same by method name, where it differs.
    """

    def __init__(self, channel: Any, timeout: float | None, by_method: Mapping[str, float]) -> None:
        self._channel = channel
        self._timeout = timeout
        self._by_method = by_method

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Any:
        """As :meth:`grpc.Channel.unary_unary`."""
        method = self._channel.unary_unary(path, *arguments, **options)
        timeout = self._by_method.get(path.rpartition("/")[2], self._timeout)
        return method if timeout is None else Timed(method, timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class Timed:
    """A unary method with a timeout for calls that come without one.

    :param method: a :class:`grpc.UnaryUnaryMultiCallable` or its twin of grpc.aio.
    """

    __slots__ = ("_method", "_timeout")

    def __init__(self, method: Any, timeout: float) -> None:
        self._method = method
        self._timeout = timeout

    def __call__(self, request: Any, timeout: float | None = None, *arguments: Any, **options: Any) -> Any:
        """Call it."""
        seconds = self._timeout if timeout is None else timeout
        if arguments:
            return self._method(request, seconds, *arguments, **options)
        return self._method(request, timeout=seconds, **options)  # the only way that grpc.aio takes it

    def with_call(self, request: Any, timeout: float | None = None, *arguments: Any, **options: Any) -> Any:
        """As :meth:`grpc.UnaryUnaryMultiCallable.with_call`."""
        seconds = self._timeout if timeout is None else timeout
        return self._method.with_call(request, seconds, *arguments, **options)

    def future(self, request: Any, timeout: float | None = None, *arguments: Any, **options: Any) -> Any:
        """As :meth:`grpc.UnaryUnaryMultiCallable.future`."""
        seconds = self._timeout if timeout is None else timeout
        return self._method.future(request, seconds, *arguments, **options)
