"""One limit of calls at a time (``maximum_concurrent_rpcs``) for all ports of a server, those of HTTP included.

Who serves gRPC counts gRPC's calls; whoever serves others asks it::

    grpcio, sync       counts its own              CountedByGrpcio shares grpcio's count
    grpcio, asyncio    its count is out of reach   CountingInterceptor counts in a Counted
    nghttp2            has a Counted

Refusals are immediate: none waits for a thread, which those within the limit may all have.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol

import grpc
import grpc.aio

# As grpcio words it.
EXCEEDED = "Concurrent RPC limit exceeded!"


class Concurrency(Protocol):
    """The calls that run, of as many as may. Any thread."""

    def admit(self) -> bool:
        """Count a call; False: it is one too many."""

    def dismiss(self, _: Any = None) -> None:
        """A call that was admitted is over."""


class Counted:
    """A :class:`Concurrency` of its own.

    :param most: calls that may run at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running = 0

    def admit(self) -> bool:
        """As :meth:`Concurrency.admit`."""
        with self._lock:
            if self._running >= self._most:
                return False
            self._running += 1
            return True

    def dismiss(self, _: Any = None) -> None:
        """As :meth:`Concurrency.dismiss`."""
        with self._lock:
            self._running -= 1


class CountedByGrpcio:
    """The :class:`Concurrency` of a :class:`grpc.Server`, for calls that others serve: each takes one of the places
    that grpcio has for its own.

    Under grpcio's lock, which it holds for as long as an interceptor looks for a handler.

    :param server: made by :func:`grpc.server` with ``maximum_concurrent_rpcs``.
    """

    def __init__(self, server: Any) -> None:
        self._state = server._state

    def admit(self) -> bool:
        """As :meth:`Concurrency.admit`."""
        state = self._state
        with state.lock:
            if state.active_rpc_count >= state.maximum_concurrent_rpcs:
                return False
            state.maximum_concurrent_rpcs -= 1
            return True

    def dismiss(self, _: Any = None) -> None:
        """As :meth:`Concurrency.dismiss`."""
        with self._state.lock:
            self._state.maximum_concurrent_rpcs += 1


class CountingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor of a :class:`grpc.aio.Server` whose calls are counted here."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Count a call until its task ends, which is the one that looks for the handler and runs it."""
        task = asyncio.current_task()
        if task is None or not self._concurrency.admit():
            return _REFUSAL
        task.add_done_callback(self._concurrency.dismiss)
        return await continuation(handler_call_details)


async def _refuse(requests: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, EXCEEDED)


# A kind that waits for no request, whatever the caller's is.
_REFUSAL = grpc.stream_unary_rpc_method_handler(_refuse)
