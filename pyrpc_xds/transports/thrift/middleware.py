"""Code around calls, on both sides.

A middleware is called with the method's name, the struct of its arguments (thriftpy2's, an attribute each) and
``next``, and returns what ``next(args)`` returns, or something else, or raises::

    def timed(method, args, next):
        started = time.monotonic()
        try:
            return next(args)
        finally:
            histogram.record(time.monotonic() - started)

The first of a list is the outermost. Around asyncio clients and servers it is a coroutine function and awaits
``next(args)``.

On a client it runs before the route is looked up, so attachments and :func:`.reply_metadata` blocks around
``next`` count; errors of the transport come through it, and calling ``next`` again is another call. On a server it
runs inside of :func:`.current_call` and the incoming attachments, once the arguments are decoded; what it raises is
answered as if the handler had raised it. A request for an unknown method reaches no middleware.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ...arguments import is_async
from ...errors import UsageError

Middleware = Callable[[str, Any, Callable[[Any], Any]], Any]
AsyncMiddleware = Callable[[str, Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]


def check_middleware(where: str, middleware: Sequence[Callable[..., Any]]) -> None:
    """Refuse coroutine functions where nothing awaits them.

    Around asyncio clients and servers a plain function may stand: one that returns what ``next`` gives it to await.

    :param where: the function that they were given to, such as ``xds.thrift.client``.
    :raises UsageError: one is a coroutine function.
    """
    for each in middleware:
        if is_async(each):
            kind = where.rpartition(".")[2]
            raise UsageError(
                f"{where}: the middleware {each!r} is a coroutine function; xds.thrift.aio_{kind} takes those"
            )


def chained(
    middleware: Sequence[Callable[..., Any]], method: str, innermost: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """``innermost`` with the middleware around it; who calls what this returns awaits the result of coroutines."""
    for each in reversed(middleware):
        innermost = _around(each, method, innermost)
    return innermost


def _around(
    middleware: Callable[..., Any], method: str, following: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    return lambda args: middleware(method, args, following)
