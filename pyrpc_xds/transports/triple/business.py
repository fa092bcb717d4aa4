"""Business errors as they come: an answer of the service, in a status that gRPC's numbers cannot say.

grpcio's own calls know nothing of them. :class:`BusinessAware` and its asyncio twins stand around a call and
raise :class:`.errors.TripleBusinessError` where grpcio raises its error for one, and
:class:`.errors.TripleDeadlineExceeded` for a deadline; everything else is the call's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import grpc
import grpc.aio

from ...errors import Code
from ...incoming_deadline import incoming_deadline, whose
from . import status
from .errors import TripleBusinessError, TripleDeadlineExceeded

# A dubbo-go handler that gives up at its deadline says so as any other error, before the caller's own deadline
# is noticed here (3.3.0): the text is Go's context.DeadlineExceeded.
_GO_DEADLINE = "context deadline exceeded"


def surfaced(error: Any, until: float | None = None) -> Any:
    """What to raise in place of grpcio's error: itself, unless it is a business error or a deadline.

    :param until: the deadline that the call has inherited.
    """
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if isinstance(error, TripleDeadlineExceeded):
            return error
        return TripleDeadlineExceeded(f"{error.details()}{whose(until)}", error)
    if code is not grpc.StatusCode.UNKNOWN:
        return error
    told = status.of(error.trailing_metadata())
    if told is None or not Code.UNAUTHENTICATED < told[0] < 1 << 31:
        return error
    number, message = told
    message = error.details() or message
    if message == _GO_DEADLINE:
        return TripleDeadlineExceeded(f"the server's deadline passed: {message}{whose(until)}", error)
    return TripleBusinessError(number, message, error)


class _Aware:
    """Around a call of grpcio: its errors are :func:`surfaced`, the rest is the call's own."""

    __slots__ = ("__weakref__", "_call", "_until")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._until = incoming_deadline()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __repr__(self) -> str:
        return repr(self._call)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """As :meth:`grpc.Future.add_done_callback`, and :meth:`grpc.aio.Call.add_done_callback`."""
        self._call.add_done_callback(lambda _: fn(self))


class BusinessAware(_Aware):
    """Around a future or stream of grpcio: a :class:`grpc.Call`, :class:`grpc.Future` and response iterator."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise surfaced(error, self._until) from None

    next = __next__

    def result(self, timeout: float | None = None) -> Any:
        """As :meth:`grpc.Future.result`."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise surfaced(error, self._until) from None

    def exception(self, timeout: float | None = None) -> Any:
        """As :meth:`grpc.Future.exception`."""
        error = self._call.exception(timeout)
        return surfaced(error, self._until) if isinstance(error, grpc.RpcError) else error


class _Unary(_Aware):
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._call.__await__())
        except grpc.aio.AioRpcError as error:
            raise surfaced(error, self._until) from None


class _Stream(_Aware):
    __slots__ = ("_responses",)

    def __init__(self, call: Any) -> None:
        super().__init__(call)
        self._responses: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        # grpc.aio has one iterator for all who ask.
        if self._responses is None:
            self._responses = self._each()
        return self._responses

    async def _each(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise surfaced(error, self._until) from None

    async def read(self) -> Any:
        """As :meth:`grpc.aio.UnaryStreamCall.read`."""
        try:
            return await self._call.read()
        except asyncio.CancelledError:
            self._call.cancel()  # as of write()
            raise
        except grpc.aio.AioRpcError as error:
            raise surfaced(error, self._until) from None


class _UnaryUnary(_Unary):
    __slots__ = ()


class _Requests(_Aware):
    __slots__ = ()

    async def write(self, request: Any) -> None:
        """As :meth:`grpc.aio.StreamStreamCall.write`."""
        try:
            await self._call.write(request)
        except asyncio.CancelledError:
            # grpc.aio (1.85.1) does so too, but not at every moment, and the call would run on for good.
            self._call.cancel()
            raise


class _StreamUnary(_Requests, _Unary):
    __slots__ = ()


class _UnaryStream(_Stream):
    __slots__ = ()


class _StreamStream(_Requests, _Stream):
    __slots__ = ()


#: What stands around a call of grpc.aio, by the kind of its method.
AIO: dict[str, Callable[[Any], Any]] = {
    "unary_unary": _UnaryUnary,
    "unary_stream": _UnaryStream,
    "stream_unary": _StreamUnary,
    "stream_stream": _StreamStream,
}

# By registration: what is not here is passed on.
_INTERFACES: Any = (
    (grpc.Call, BusinessAware),
    (grpc.Future, BusinessAware),
    (grpc.aio.UnaryUnaryCall, _UnaryUnary),
    (grpc.aio.UnaryStreamCall, _UnaryStream),
    (grpc.aio.StreamUnaryCall, _StreamUnary),
    (grpc.aio.StreamStreamCall, _StreamStream),
)
for _interface, _class in _INTERFACES:
    _interface.register(_class)
