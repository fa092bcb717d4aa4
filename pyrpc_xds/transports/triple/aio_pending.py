"""Calls of asyncio that have not begun yet, and those that an interceptor answered.

grpc.aio returns call objects at once. A call that must first wait, or pass interceptors, is begun by a
task, and one of these stands in for grpc.aio's object until then; afterwards it passes everything on to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from .errors import TripleError

_CANCELLED = "Locally cancelled by application!"
_FINISHED = "RPC already finished."


class PendingAioCall(grpc.aio.Call):
    """What the four kinds have in common.

    Cancelling it, or what awaits its response, cancels the task; dropping it does too, as with grpc.aio's
    own.

    :param begun: resolves to grpc.aio's call.
    :param timeout: seconds that the call may take.
    """

    def __init__(self, begun: asyncio.Future[Any], timeout: float | None) -> None:
        self._task = begun
        self._deadline = None if timeout is None else time.monotonic() + timeout
        # Read here, or asyncio would log the error of a call that nobody waits for.
        begun.add_done_callback(_retrieve)

    def __del__(self) -> None:
        if not self._task.done() and not self._task.get_loop().is_closed():
            self._task.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._call() if self._task.done() else 'waiting'!r}>"

    def _call(self) -> Any:
        """grpc.aio's call if it has begun, else ``None``."""
        task = self._task
        return task.result() if task.done() and not task.cancelled() and task.exception() is None else None

    def cancel(self) -> bool:
        """Cancel; True unless it was over already."""
        if not self._task.done():
            return self._task.cancel()
        call = self._call()
        return bool(call is not None and call.cancel())

    def cancelled(self) -> bool:
        """Whether it was cancelled here."""
        call = self._call()
        return self._task.cancelled() if call is None else bool(call.cancelled())

    def done(self) -> bool:
        """Whether it is over, however it ended."""
        call = self._call()
        return self._task.done() if call is None else bool(call.done())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback`` with this when it is over."""

        def begun(_: Any) -> None:
            call = self._call()
            if call is None:
                callback(self)
            else:
                call.add_done_callback(lambda _: callback(self))

        if self._task.done():
            begun(None)
        else:
            self._task.add_done_callback(begun)

    def time_remaining(self) -> float | None:
        """Seconds to the deadline; ``None``: no deadline."""
        call = self._call()
        if call is not None:
            remaining: float | None = call.time_remaining()
            return remaining
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    async def _ask(self, name: str, cancelled: Any) -> Any:
        try:
            # Shielded: who only asks for the status does not cancel the call by going away.
            call = await asyncio.shield(self._task)
        except TripleError as error:
            return getattr(error, name)()
        except grpc.aio.AioRpcError as error:  # from an interceptor
            return getattr(error, name)()
        except asyncio.CancelledError:
            if self._task.cancelled():
                return cancelled
            raise
        return await getattr(call, name)()

    async def initial_metadata(self) -> Any:
        """The server's initial metadata."""
        return await self._ask("initial_metadata", grpc.aio.Metadata())

    async def trailing_metadata(self) -> Any:
        """The server's trailing metadata."""
        return await self._ask("trailing_metadata", grpc.aio.Metadata())

    async def code(self) -> grpc.StatusCode:
        """The status code."""
        code: grpc.StatusCode = await self._ask("code", grpc.StatusCode.CANCELLED)
        return code

    async def details(self) -> str:
        """The status details."""
        return str(await self._ask("details", _CANCELLED))

    async def debug_error_string(self) -> str:
        """grpcio's description of the error."""
        return str(await self._ask("debug_error_string", _CANCELLED))

    async def _begun(self) -> Any:
        """grpc.aio's call. Who is cancelled while waiting for it cancels it, though it may have begun just now."""
        try:
            return await self._task
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def wait_for_connection(self) -> None:
        """Wait until an endpoint is connected.

        :raises grpc.aio.AioRpcError: the call failed first.
        """
        call = await self._begun()
        await call.wait_for_connection()


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


class _UnaryResponse(PendingAioCall):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        call = await self._begun()
        return await call


class _StreamResponse(PendingAioCall):
    _iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._responses()
        return self._iterator

    async def _responses(self) -> AsyncIterator[Any]:
        async for response in await self._begun():
            yield response

    async def read(self) -> Any:
        """The next response, or :data:`grpc.aio.EOF`."""
        call = await self._begun()
        return await call.read()


class _StreamRequest(PendingAioCall):
    # Between write() and the iterator that interceptors are given; None: grpc.aio's own write() is used.
    _requests: RequestQueue | None = None

    async def write(self, request: Any) -> None:
        """Send one request."""
        call = await self._begun()
        if self._requests is None:
            await call.write(request)
        else:
            await self._requests.put(call, request)

    async def done_writing(self) -> None:
        """Send no more requests."""
        call = await self._begun()
        if self._requests is None:
            await call.done_writing()
        else:
            await self._requests.put(call, RequestQueue.END)


class PendingUnaryUnary(_UnaryResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]
    """A unary call that has not begun."""


class PendingUnaryStream(_StreamResponse, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """A call with a response stream that has not begun."""


class PendingStreamUnary(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """A call with a request stream that has not begun."""


class PendingStreamStream(
    _StreamRequest,
    _StreamResponse,
    grpc.aio.StreamStreamCall,  # type: ignore[type-arg]
):
    """A call with both streams that has not begun."""


class RequestQueue:
    """The requests that a caller writes, as the iterator that stream interceptors expect; holds one at
    most.
    """

    END = object()

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(1)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (request := await self._queue.get()) is not self.END:
            yield request

    async def put(self, call: Any, request: Any) -> None:
        """Hand over one request.

        :raises asyncio.InvalidStateError: the call is over, and nobody will take it.
        """
        over = asyncio.ensure_future(call.code())
        put = asyncio.ensure_future(self._queue.put(request))
        try:
            await asyncio.wait({over, put}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            put.cancel()
        if not put.done() or put.cancelled():
            raise asyncio.InvalidStateError(_FINISHED)


class Answered:
    """Base of the calls that an interceptor answered itself."""

    def cancel(self) -> bool:
        """False: it is over."""
        return False

    def cancelled(self) -> bool:
        """False: it succeeded."""
        return False

    def done(self) -> bool:
        """True: it is over."""
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback`` with this, now."""
        callback(self)

    def time_remaining(self) -> float | None:
        """None: it is over."""
        return None

    async def initial_metadata(self) -> Any:
        """Nothing: no server was asked."""
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> Any:
        """Nothing: no server was asked."""
        return grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        """OK."""
        return grpc.StatusCode.OK

    async def details(self) -> str:
        """Empty."""
        return ""

    async def debug_error_string(self) -> str:
        """Empty."""
        return ""

    async def wait_for_connection(self) -> None:
        """Returns at once."""


class AnsweredUnary(Answered, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]
    """The response that an interceptor returned in place of a call."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __await__(self) -> Generator[Any, None, Any]:
        async def response() -> Any:
            return self._response

        return response().__await__()


class AnsweredStream(Answered, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """The response iterator that an interceptor returned in place of a call."""

    def __init__(self, responses: Any) -> None:
        self._responses: AsyncIterator[Any] = aiter(responses)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses

    async def read(self) -> Any:
        """The next response, or :data:`grpc.aio.EOF`."""
        return await anext(self._responses, grpc.aio.EOF)  # type: ignore[attr-defined]
