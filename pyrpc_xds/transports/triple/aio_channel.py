"""AioTripleChannel: a :class:`grpc.aio.Channel` whose calls are routed by xDS, each to an endpoint of its
own.

The asyncio twin of :mod:`.channel`. A call whose configuration and connection are at hand is grpc.aio's own
call object; one that has to wait is a :mod:`.aio_pending` object, and the event loop never blocks.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from ...errors import CallError, DeadlineExceeded, PyrpcXdsError
from ...resilience.deadline import shorter
from . import aio_pending as pending
from .aio_connection import AioConnection
from .aio_interceptors import checked, interceptors_of
from .aio_multicallables import MULTICALLABLES
from .business import AIO
from .connection import Connection, Drained
from .errors import ChannelClosed, TripleError
from .metadata import Metadata, Pairs
from .method import REFUSALS, Closed, Method, opener
from .options import Options
from .start import Configure, Connect, Course, Explain, Pause, Start, Started
from .target import Targets
from .weak_sets import members

_PENDING = {
    "unary_unary": pending.PendingUnaryUnary,
    "unary_stream": pending.PendingUnaryStream,
    "stream_unary": pending.PendingStreamUnary,
    "stream_stream": pending.PendingStreamStream,
}
_SLICE_SECONDS = 0.2
_READY = grpc.ChannelConnectivity.READY


async def run_async(start: Start) -> Started:
    """Carry out the steps of a call's beginning without blocking the event loop."""
    loop = asyncio.get_running_loop()
    course = Course(start)
    while (step := course.next()) is not None:
        try:
            match step:
                case Configure(seconds):
                    course.answer = await start.target.router.wait_async(seconds)
                case Connect(connection, seconds):
                    channel = connection.on_loop(loop)
                    course.answer = channel if (ready := await channel.connect(seconds)) else ready
                case Explain(connection, seconds):
                    course.answer = await connection.on_loop(loop).reason(seconds)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
        except (CallError, Drained) as raised:
            course.error = raised
    return course.started  # type: ignore[no-any-return]


class AioTripleChannel(grpc.aio.Channel):
    """A channel to a target of the mesh, for asyncio. Made by :meth:`.transport.TripleTransport.aio_channel`.

    Calls may be made on any event loop, and on several: each has connections of its own.

    Its connectivity is that of its configuration, and it may be dropped, as with
    :class:`.channel.TripleChannel`.
    """

    def __init__(
        self,
        targets: Targets,
        name: str,
        options: Options,
        compression: Any,
        interceptors: Sequence[Any],
        metadata: Pairs = (),
    ) -> None:
        # As grpc.aio wants it: it would make one of the pairs for every call.
        self._metadata: Any = grpc.aio.Metadata(*metadata)
        self._interceptors = checked(interceptors)
        self._targets = targets
        self._target = targets.open(name, options, compression)
        # Read by every call; replaced by Closed when the channel is closed.
        self._router: Any = self._target.router
        self._failed = False
        self._closed = False
        # Closed, and past the grace that running calls were given.
        self._ended = False
        self._running: weakref.WeakSet[Any] = weakref.WeakSet()
        self._forget = targets.when_dropped(self, self._target)

    def __repr__(self) -> str:
        return f"<AioTripleChannel {self._target.name}{' closed' if self._closed else ''}>"

    def _multicallable(
        self, kind: str, path: Any, serializer: Any, deserializer: Any, registered: Any
    ) -> Any:
        authority = self._target.authority
        method = Method(kind, path, serializer, deserializer, registered, authority, self._metadata)
        return MULTICALLABLES[kind](self, method, interceptors_of(kind, self._interceptors))

    unary_unary = opener("unary_unary")
    unary_stream = opener("unary_stream")
    stream_unary = opener("stream_unary")
    stream_stream = opener("stream_stream")

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state now: SHUTDOWN, READY (configured), TRANSIENT_FAILURE (no such target) or CONNECTING."""
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if self._target.router.snapshot is not None:
            return _READY
        if self._failed:
            return grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return grpc.ChannelConnectivity.CONNECTING

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state is another."""
        while self.get_state() is last_observed_state:
            if last_observed_state in (_READY, grpc.ChannelConnectivity.SHUTDOWN):
                await asyncio.sleep(_SLICE_SECONDS)
                continue
            try:
                await self._target.router.wait_async(_SLICE_SECONDS)
            except DeadlineExceeded:
                self._failed = False
            except PyrpcXdsError:
                self._failed = True
                await asyncio.sleep(_SLICE_SECONDS)

    async def channel_ready(self) -> None:
        """Return once the target is configured.

        :raises ChannelClosed: the channel is closed.
        """
        while (state := self.get_state(True)) is not _READY:
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                raise self._closed_error()
            await self.wait_for_state_change(state)

    def _closed_error(self) -> ChannelClosed:
        return ChannelClosed(f"the channel to {self._target.name} is closed")

    def _shut(self) -> bool:
        if self._closed:
            return False
        self._closed = True
        self._forget.detach()
        self._router = Closed(self._closed_error())
        return True

    async def close(self, grace: float | None = None) -> None:
        """Close the channel: new calls raise :class:`ChannelClosed`. Calling it again does nothing.

        :param grace: seconds that running calls have before they are cancelled; ``None``: none.
        """
        if not self._shut():
            return
        calls = [call for call in members(self._running) if not call.done()]
        if calls and grace:
            await asyncio.wait([asyncio.ensure_future(_over(call)) for call in calls], timeout=grace)
        self._ended = True
        for call in calls:
            call.cancel()
        if self._targets.leave(self._target):
            await self._target.connector.aclose()
            self._target.router.close()

    def close_soon(self) -> None:
        """Close without waiting, from any thread: when the client closes."""
        self._ended = True
        if self._shut():
            self._targets.release(self._target)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    # The hot path of every call.
    def _begin(
        self, method: Method, timeout: float | None, metadata: Metadata | None, rest: tuple[Any, ...]
    ) -> Any:
        credentials, wait_for_ready, compression, requests = rest
        target = self._target
        try:
            timeout, metadata, headers, picked = method.decided(
                self._router, target.name, timeout, metadata, wait_for_ready
            )
        except TripleError as error:
            return self._failed_call(method, error)
        except TypeError as error:
            raise method.refused(error, timeout) from None
        if picked is not None:
            destination, _, endpoint = picked
            connection: Connection = endpoint.connection
            channel = connection.loops.get(asyncio.get_running_loop())
            if channel is not None and channel.ready():
                if connection.failing:
                    connection.failing = False
                    endpoint.succeeded()
                try:
                    seconds = shorter(destination, timeout)
                    call = _called(channel, method, requests, seconds, metadata, credentials, compression)
                except REFUSALS as error:
                    raise method.refused(error, timeout) from None
                self._running.add(call)
                return call
        start = Start(target, method, timeout, metadata, headers, bool(wait_for_ready), picked, self._over)
        return self._later(method, self._started(start, credentials, compression, requests), timeout)

    def _over(self) -> bool:
        return self._ended

    async def _started(self, start: Start, credentials: Any, compression: Any, requests: Any) -> Any:
        channel, seconds = await run_async(start)
        return _called(channel, start.method, requests, seconds, start.metadata, credentials, compression)

    def _later(self, method: Method, begin: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
        task = asyncio.get_running_loop().create_task(begin, name=f"pyrpc-xds-triple-start {method.path}")
        call = _PENDING[method.key[0]](task, timeout)
        self._running.add(call)
        return call

    def _failed_call(self, method: Method, error: Exception) -> Any:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return _PENDING[method.key[0]](failed, None)


def _called(
    channel: AioConnection,
    method: Method,
    requests: Any,
    seconds: float | None,
    metadata: Metadata | None,
    credentials: Any,
    compression: Any,
) -> Any:
    return AIO[method.key[0]](
        channel.call(method.key)(
            requests,
            timeout=seconds,
            metadata=metadata,
            credentials=credentials,
            compression=compression,
        )
    )


async def _over(call: Any) -> None:
    try:
        await call.code()
    except Exception:
        pass  # how it ended is its caller's to know
