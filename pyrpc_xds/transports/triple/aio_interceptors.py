"""Client interceptors of grpc.aio around a routed call.

They run before the call is routed, so the metadata that they add is matched (on the channels of the
endpoints, where grpc.aio would run them, it would come too late).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any

import grpc.aio

from .aio_pending import AnsweredStream, AnsweredUnary

#: grpc.aio's interface for each kind of method, and what its one method is called.
KINDS = {
    "unary_unary": (grpc.aio.UnaryUnaryClientInterceptor, "intercept_unary_unary"),
    "unary_stream": (grpc.aio.UnaryStreamClientInterceptor, "intercept_unary_stream"),
    "stream_unary": (grpc.aio.StreamUnaryClientInterceptor, "intercept_stream_unary"),
    "stream_stream": (grpc.aio.StreamStreamClientInterceptor, "intercept_stream_stream"),
}


def interceptors_of(kind: str, interceptors: Sequence[Any]) -> tuple[Callable[..., Any], ...]:
    """The bound methods of those that intercept calls of this kind, outermost first."""
    interface, name = KINDS[kind]
    return tuple(getattr(each, name) for each in interceptors if isinstance(each, interface))


def checked(interceptors: Sequence[Any]) -> tuple[Any, ...]:
    """:raises ValueError: one of them intercepts no kind of call (grpc.aio's own check)."""
    interfaces = tuple(interface for interface, _ in KINDS.values())
    for each in interceptors:
        if not isinstance(each, interfaces):
            raise ValueError(f"interceptor {each!r} is none of grpc.aio's *ClientInterceptor classes")
    return tuple(interceptors)


async def intercepted(
    chain: Sequence[Callable[..., Any]], begin: Callable[[Any, Any], Any], details: Any, request: Any
) -> Any:
    """The call that the outermost interceptor returns.

    :param begin: makes the call that the innermost continues with, from details and request (or iterator).
    """
    if not chain:
        return begin(details, request)

    async def following(details: Any, request: Any) -> Any:
        return await intercepted(chain[1:], begin, details, request)

    result = await chain[0](following, details, request)
    if isinstance(result, grpc.aio.Call):
        return result
    return AnsweredStream(result) if isinstance(result, AsyncIterable) else AnsweredUnary(result)
