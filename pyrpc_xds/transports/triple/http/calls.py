"""Runs calls of HTTP as grpcio runs those of gRPC: the same interceptors, handlers, contexts and threads.

Nothing here knows sockets: :meth:`Calls.admit` looks at the head of a request, ``answer`` makes the response of a
whole one. Whoever reads HTTP calls the two, on one event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple

import grpc

from ...raised import contained, is_the_handlers
from .. import json_messages
from ..concurrency import EXCEEDED, Concurrency
from ..services import NotImplementedHere, Services
from . import form
from .context import AioHttpContext, HttpContext
from .form import Refused, Request, Response
from .options import HttpOptions

_LOG = logging.getLogger(__name__)
Code = grpc.StatusCode


class _Details(NamedTuple):
    """As :class:`grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Any


class Calls:
    """What the sync and the asyncio kind have in common.

    :param interceptors: of the server, the outermost first.
    :param executor: runs handlers that are no coroutines; ``None`` (asyncio only): the event loop's own.
    :param limit: bytes of a message.
    :param limits: of the calls that run at a time: the port's own, and the one it shares with others.
    """

    def __init__(
        self,
        services: Services,
        interceptors: Sequence[Any],
        executor: Executor | None,
        options: HttpOptions,
        limit: int,
        limits: Sequence[Concurrency],
    ) -> None:
        self._services = services
        self._interceptors = tuple(interceptors)
        self._executor = executor
        self._origins = options.origins
        self._limit = limit
        # They count calls whose handler waits for a thread or runs, those out of time included.
        self._limits = limits

    @property
    def limit(self) -> int:
        """Bytes that the body of a request may have."""
        return self._limit

    def admit(self, request: Request) -> Response | None:
        """What a request is answered before its body is read; ``None``: read it, then ask :meth:`answer`."""
        ready = form.preflight(request, self._origins) or form.misdirected(request)
        if ready is None:
            try:
                form.admit(request, self._limit)
            except Refused as refused:
                ready = refused.response
        return None if ready is None else form.shared(request, ready, self._origins)

    def refuse(self, request: Request, refused: Refused) -> Response:
        """The response where whoever reads the body refuses it."""
        return form.shared(request, refused.response, self._origins)

    async def answer(self, request: Request) -> Response:
        """The response of a request that was admitted. Cancel it when nobody waits any more."""
        try:
            response = await self._called(form.call_of(request, self._limit))
        except Refused as refused:
            response = refused.response
        return form.shared(request, response, self._origins)

    async def _called(self, call: form.Call) -> Response:
        raise NotImplementedError

    def _begin(self) -> None:
        for place, each in enumerate(self._limits):
            if not each.admit():
                for admitted in self._limits[:place]:
                    admitted.dismiss()
                raise Refused(Code.RESOURCE_EXHAUSTED, EXCEEDED)

    def _over(self, _: Any = None) -> None:
        for each in self._limits:
            each.dismiss()

    def _handler(self, details: _Details, reasons: list[str]) -> Any:
        """The innermost of the look-ups that interceptors continue with."""
        try:
            return self._services.find(details)
        except NotImplementedHere as why:
            reasons.append(str(why))
            return None

    @staticmethod
    def _usable(call: form.Call, handler: Any, reasons: list[str]) -> Any:
        """The handler, if it can serve a call over HTTP.

        :raises Refused: it cannot.
        """
        if handler is None:
            raise Refused(Code.UNIMPLEMENTED, reasons[0] if reasons else f"Method not found: {call.path}")
        if handler.request_streaming or handler.response_streaming:
            # As dubbo-go refuses it (3.3.0), which says no more than the header.
            raise Refused(
                Code.UNIMPLEMENTED,
                f"{call.path} is a stream, which the gRPC port serves",
                415,
                (("accept-post", "application/grpc, application/grpc+proto, application/grpc+json"),),
            )
        return handler

    @staticmethod
    def _request(call: form.Call, handler: Any) -> Any:
        """The request as the handler takes it.

        :raises Refused: the body is none.
        """
        deserializer = handler.request_deserializer
        try:
            if not call.json:
                return call.body if deserializer is None else deserializer(call.body)
            own = getattr(deserializer, "from_json", None)
            if own is not None:
                return own(call.body)
            cls = json_messages.message_class(deserializer)
            if cls is not None:
                return json_messages.parse(cls, call.body)
        except Exception as error:  # a deserializer of the application's may raise anything
            raise Refused(Code.INVALID_ARGUMENT, f"unmarshal: {error}") from error
        raise Refused(
            Code.UNIMPLEMENTED,
            f"{call.path} has no JSON form: its messages are not protobuf's",
            415,
            (("accept-post", form.PROTO),),
        )

    @staticmethod
    def _response(call: form.Call, handler: Any, context: Any, result: Any) -> Response:
        """What the handler has made of the call."""
        if context.status not in (None, Code.OK):
            return form.error(context.status, _text(context.text), context.initial, context.trailing)
        try:
            if call.json and json_messages.is_message(result):
                body = json_messages.dump(result)
            else:
                serializer = handler.response_serializer
                body = result if serializer is None or isinstance(result, bytes) else serializer(result)
            if not isinstance(body, bytes):
                raise TypeError(f"a response is no {type(body).__name__}")
        except Exception:
            _LOG.exception("Failed to serialize response!")
            return form.error(Code.INTERNAL, "Failed to serialize response!")
        return form.answer(call, body, context.initial, context.trailing)

    @staticmethod
    def _failure(context: Any, error: BaseException) -> Response:
        """What the handler's exception comes to."""
        if context.aborted:
            return form.error(context.status, _text(context.text), context.initial, context.trailing)
        # The text of SystemExit is a number, or nothing.
        what = error if isinstance(error, Exception) else repr(error)
        details = f"Exception calling application: {what}"
        _LOG.error(details, exc_info=error)
        return form.error(Code.UNKNOWN, details, context.initial, context.trailing)

    @staticmethod
    def _until(call: form.Call) -> float | None:
        return None if call.seconds is None else time.monotonic() + call.seconds


def _text(details: str | bytes) -> str:
    return details if isinstance(details, str) else details.decode("utf-8", "replace")


def _out_of_time(call: form.Call) -> Response:
    return form.error(Code.DEADLINE_EXCEEDED, f"{call.path}: the deadline of {call.seconds:g} s has passed")


class SyncCalls(Calls):
    """For :class:`..server.TripleServer`: interceptors and handlers run on the server's threads."""

    def __init__(
        self,
        services: Services,
        interceptors: Sequence[Any],
        executor: Executor,
        options: HttpOptions,
        limit: int,
        limits: Sequence[Concurrency],
    ) -> None:
        super().__init__(services, interceptors, executor, options, limit, limits)
        self._threads = executor

    async def _called(self, call: form.Call) -> Response:
        self._begin()
        context = HttpContext(call.metadata, call.peer, self._until(call))
        # An executor keeps what it was given until a thread is free; the body of a call that was given up is not
        # to be kept as long.
        waiting = [call]

        def work() -> Response:
            # Each call has a context of its own, as in grpcio.
            return contextvars.Context().run(self.run, waiting.pop(), context)

        try:
            future: Future[Response] = self._threads.submit(work)
        except RuntimeError:
            self._over()
            raise Refused(Code.UNAVAILABLE, "the server has stopped") from None
        future.add_done_callback(self._over)
        future.add_done_callback(lambda _: waiting.clear())
        try:
            # A handler cannot be stopped: it goes on, and nobody waits.
            return await asyncio.wait_for(asyncio.wrap_future(future), call.seconds)
        except TimeoutError:
            return _out_of_time(call)
        finally:
            context.end()

    def run(self, call: form.Call, context: HttpContext) -> Response:
        """Make the response; blocks. For whoever has threads of its own."""
        try:
            reasons: list[str] = []
            look_up: Callable[[Any], Any] = partial(self._handler, reasons=reasons)
            for interceptor in reversed(self._interceptors):
                look_up = partial(interceptor.intercept_service, look_up)
            handler = self._usable(call, look_up(_Details(call.path, call.metadata)), reasons)
            result = handler.unary_unary(self._request(call, handler), context)
            return self._response(call, handler, context, result)
        except Refused as refused:
            return refused.response
        except BaseException as error:
            return self._failure(context, error)


class AioCalls(Calls):
    """For :class:`..aio_server.AioTripleServer`: interceptors and coroutines run on the server's event loop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._base = contextvars.copy_context()

    async def _called(self, call: form.Call) -> Response:
        self._begin()
        context = AioHttpContext(call.metadata, call.peer, self._until(call))
        task = asyncio.create_task(self.run(call, context), context=self._base.copy())
        task.add_done_callback(self._over)
        try:
            done, _ = await asyncio.wait({task}, timeout=call.seconds)
            if not done:
                return _out_of_time(call)
            return form.error(Code.CANCELLED, "") if task.cancelled() else task.result()
        finally:
            task.cancel()
            context.end()

    async def run(self, call: form.Call, context: AioHttpContext) -> Response:
        """Make the response."""
        shown: Any = context
        try:
            reasons: list[str] = []

            async def find(details: Any) -> Any:
                return self._handler(details, reasons)

            look_up: Callable[[Any], Any] = find
            for interceptor in reversed(self._interceptors):
                look_up = partial(interceptor.intercept_service, look_up)
            handler = self._usable(call, await look_up(_Details(call.path, call.metadata)), reasons)
            request = self._request(call, handler)
            if inspect.iscoroutinefunction(handler.unary_unary):
                result = await handler.unary_unary(request, context)
            else:
                # As grpc.aio: such a handler runs on a thread and has the context of sync servers.
                shown = HttpContext(call.metadata, call.peer, self._until(call))
                context.add_callback(shown.end)
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(
                    self._executor, contained, handler.unary_unary, request, shown
                )
            return self._response(call, handler, shown, result)
        except Refused as refused:
            return refused.response
        except BaseException as error:
            if not is_the_handlers(error):
                raise
            return self._failure(shown, error)
