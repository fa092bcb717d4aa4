"""What is around every handler of our servers, and outside of every interceptor of the application's.

Each call has a :class:`contextvars.Context` of its own in grpcio, sync and asyncio alike. What came with the call
is made that context's when the handler is looked up, so interceptors see it too::

    attachments that came, OpenTelemetry's context   pyrpc_xds.incoming_attachments(), current_attachments()
    the call itself                                  set_response_attachments()
    grpc's deadline and Dubbo's timeouts             context.time_remaining(); what the handler's own calls inherit
    BusinessError of a handler                       its status
    whatever else it raises, SystemExit included     UNKNOWN: grpcio answers what is no Exception with nothing, and
                                                     grpc.aio lets it end the event loop
"""

from __future__ import annotations

import contextvars
import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio

from ...attachments import served
from ...errors import BusinessError, UsageError
from ...incoming_deadline import inherit
from ..raised import contained, is_the_handlers, reraise
from . import application, status, timeouts
from .metadata import incoming
from .response_attachments import added

# What grpcio's sync contexts say is left where there is no deadline, in seconds, is far beyond this.
_NO_DEADLINE = 1e9
# Of the call that is being served: when it arrived (clock time), the handler's context, and the trailers that
# :func:`set_response_attachments` gave it.
_arrival: contextvars.ContextVar[float] = contextvars.ContextVar("pyrpc_xds_triple_arrival")
_call: contextvars.ContextVar[Any] = contextvars.ContextVar("pyrpc_xds_triple_call", default=None)
_set: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "pyrpc_xds_triple_trailers", default=()
)


class CallContext(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor of a sync server."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Begin the context of a call and wrap its handler."""
        _arrived(handler_call_details.invocation_metadata)
        return _around(contained(continuation, handler_call_details), _SYNC)


class AioCallContext(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor of an asyncio server."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Begin the context of a call and wrap its handler."""
        _arrived(handler_call_details.invocation_metadata)
        try:
            handler = await continuation(handler_call_details)
        except BaseException as error:
            _end_task(error)
        return _around(handler, _AIO)


def set_response_attachments(values: Mapping[str, str]) -> None:
    """Send attachments back with the answer of the call that is being served.

    They travel as trailers, under lower-case names, as Dubbo's do; names that have capitals are told to the
    caller in ``tri-header-convert``, as Dubbo Java does (:func:`response_attachments`). They add to those set
    before and to the trailing metadata of the context.

    :raises UsageError: called outside of a handler of this package's servers, or a name or value cannot travel.
    """
    context = _call.get()
    if context is None:
        raise UsageError("set_response_attachments: no call of a triple server is being served here")
    trailers = added(_trailers(context), values)
    _set.set(trailers)
    context.set_trailing_metadata(trailers)


def _trailers(context: Any) -> Any:
    """What was set so far. The contexts of threads of asyncio servers do not tell; we know only what we set."""
    told = getattr(context, "trailing_metadata", None)
    return (_set.get() if told is None else told()) or ()


def _arrived(metadata: Any) -> None:
    served(*incoming(metadata))
    _arrival.set(time.monotonic())
    # Reset: the tasks of grpc.aio begin with the context of whoever started the server.
    _call.set(None)
    _set.set(())


def _enter(context: Any) -> Any:
    """The context as the handler gets it."""
    left = context.time_remaining()
    if left is not None and left > _NO_DEADLINE:
        left = None
    seconds = timeouts.of(context.invocation_metadata(), left)
    if seconds is not None:
        until = _arrival.get() + seconds
        context = _Sooner(context, until)
        inherit(until)
    else:
        inherit(None if left is None else time.monotonic() + left)
    _call.set(context)
    return context


class _Around:
    """A handler's context, grpc's but for what a class below says."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _Sooner(_Around):
    """One whose time is up sooner than grpc's."""

    def __init__(self, context: Any, until: float) -> None:
        super().__init__(context)
        self._until = until

    def time_remaining(self) -> float:
        """Seconds to the shortest of Dubbo's timeouts, never below 0."""
        return max(self._until - time.monotonic(), 0.0)


class _Contained(_Around):
    """One whose callbacks may raise anything: SystemExit of one ends the thread that serves grpcio's connections, and
    with it the server (1.85.1).
    """

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """As :meth:`grpc.RpcContext.add_callback`."""
        return bool(self._context.add_callback(partial(contained, callback)))


# By registration: they pass on whatever grpcio's own has.
_INTERFACES: Any = (grpc.ServicerContext, grpc.aio.ServicerContext)
for _interface in _INTERFACES:
    _interface.register(_Around)


def _end(context: Any, error: BusinessError) -> None:
    """End a stream. Not by aborting: grpc.aio then waits for ever for a generator that runs on a thread."""
    trailers = _trailers(context)
    if not _of_dubbo_java(context.invocation_metadata()):
        detail = (status.TRAILER, status.encode(error.business_code, error.message))
        context.set_trailing_metadata((*trailers, detail))
    context.set_code(grpc.StatusCode.UNKNOWN)
    context.set_details(error.message)


def _of_dubbo_java(metadata: Any) -> bool:
    """Whether Dubbo Java calls, whose client (3.3.4) breaks over a code that is none of gRPC's, and loses the message.

    It is the only one that says nothing of itself, and says its application's name. HTTP's calls have a content
    type here, gRPC's never.
    """
    names = {name for name, _ in metadata or ()}
    return application.HEADER in names and not names & {"user-agent", "content-type"}


def _abort(context: Any, error: BusinessError) -> Any:
    _end(context, error)
    return context.abort(grpc.StatusCode.UNKNOWN, error.message)


_Behavior = Callable[..., Any]


def _unary(behavior: _Behavior) -> _Behavior:
    def call(request: Any, context: Any) -> Any:
        context = _Contained(_enter(context))
        try:
            return behavior(request, context)
        except BusinessError as error:
            return _abort(context, error)
        except BaseException as error:
            reraise(error)

    return call


def _stream(behavior: _Behavior) -> _Behavior:
    def call(request: Any, context: Any) -> Any:
        context = _Contained(_enter(context))
        # Whether the handler runs: GeneratorExit is its own then, and else says that nobody asks for more.
        runs = True
        responses: Any = None
        try:
            responses = behavior(request, context)
            for response in responses:
                runs = False
                yield response
                runs = True
        except BusinessError as error:
            _end(context, error)
        except GeneratorExit as error:
            if runs:
                reraise(error)
            close = getattr(responses, "close", None)
            if close is not None:
                close()
            raise
        except BaseException as error:
            reraise(error)

    return call


def _end_task(error: BaseException) -> NoReturn:
    """Raise what has ended a handler in the task that runs it."""
    if is_the_handlers(error):
        reraise(error)
    raise error


def _coroutine(behavior: _Behavior) -> _Behavior:
    async def call(request: Any, context: Any) -> Any:
        context = _enter(context)
        try:
            return await behavior(request, context)
        except BusinessError as error:
            return await _abort(context, error)
        except BaseException as error:
            _end_task(error)

    return call


def _async_generator(behavior: _Behavior) -> _Behavior:
    async def call(request: Any, context: Any) -> Any:
        context = _enter(context)
        runs = True  # as in _stream
        try:
            async with aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    runs = False
                    yield response
                    runs = True
        except BusinessError as error:
            _end(context, error)
        except GeneratorExit as error:
            if runs:
                _end_task(error)
            raise
        except BaseException as error:
            _end_task(error)

    return call


def _in_thread(wrap: Callable[[_Behavior], _Behavior]) -> Callable[[_Behavior], _Behavior]:
    """For handlers of asyncio servers that are not coroutines: grpc.aio runs them on threads without context."""

    def wrapping(behavior: _Behavior) -> _Behavior:
        own = contextvars.copy_context()
        wrapped = wrap(behavior)
        if wrap is _unary:
            return lambda request, context: own.run(wrapped, request, context)

        def call(request: Any, context: Any) -> Any:
            responses = wrapped(request, context)
            end = object()
            try:
                while (response := own.run(next, responses, end)) is not end:
                    yield response
            finally:
                own.run(responses.close)

        return call

    return wrapping


def _sync_kind(behavior: _Behavior, streams: bool) -> Callable[[_Behavior], _Behavior]:
    return _stream if streams else _unary


def _aio_kind(behavior: _Behavior, streams: bool) -> Callable[[_Behavior], _Behavior]:
    # grpc.aio tells them apart alike.
    if inspect.iscoroutinefunction(behavior):
        return _coroutine
    if inspect.isasyncgenfunction(behavior):
        return _async_generator
    return _in_thread(_stream if streams else _unary)


_Kind = Callable[[_Behavior, bool], Callable[[_Behavior], _Behavior]]
_SYNC: _Kind = _sync_kind
_AIO: _Kind = _aio_kind

_MAKE: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _around(handler: Any, kind: _Kind) -> Any:
    if handler is None:
        return None
    streams = bool(handler.response_streaming)
    name, make = _MAKE[bool(handler.request_streaming), streams]
    behavior = getattr(handler, name)
    if getattr(behavior, "experimental_non_blocking", False):
        return handler  # grpcio's own experiment (gRPC L46), called otherwise: the health service uses it
    wrapped = kind(behavior, streams)(behavior)
    pool = getattr(behavior, "experimental_thread_pool", None)
    if pool is not None:
        wrapped.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return make(wrapped, handler.request_deserializer, handler.response_serializer)
