"""Errors of calls that never reached a server, deadlines and business errors, in the shapes that gRPC programs catch.

A call that grpcio has begun fails with grpcio's own exceptions, but for business errors, which grpcio does not
know, and deadlines, which are :class:`pyrpc_xds.errors.DeadlineExceeded` whenever they pass. Before that (no
configuration, no route, no endpoint that can be reached, deadline) it fails with one of these: a
:class:`pyrpc_xds.errors.CallError`, a :class:`grpc.RpcError` with the methods of :class:`grpc.Call`, and a
:class:`grpc.aio.AioRpcError`, so every ``except`` clause that a gRPC program has, sync or asyncio, catches it.
"""

from __future__ import annotations

import time
from typing import Any

import grpc
import grpc.aio

from ...errors import BusinessError, CallError, ClosedError, Code, DeadlineExceeded, Unavailable
from ...incoming_deadline import whose
from .ended import FailedFuture

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


class _CallableCode(int):
    """A :class:`~pyrpc_xds.errors.Code` that can be called.

    The two trees disagree on ``code``: a value in ours, a method in gRPC's. This is both:
    ``error.code == Code.UNAVAILABLE`` and ``error.code() is grpc.StatusCode.UNAVAILABLE``.
    """

    def __call__(self) -> grpc.StatusCode:
        return _STATUS[int(self)]

    def __repr__(self) -> str:
        return repr(Code(int(self)))


class TripleError(FailedFuture, CallError, grpc.aio.AioRpcError):
    """Base of the errors of this module.

    :param details: names the target, the method's path and the reason.
    """

    code: Any = _CallableCode(Code.UNKNOWN)

    def __init__(self, details: str) -> None:
        # Not by way of AioRpcError, whose arguments differ from one grpcio to the next.
        self.details_text = details
        Exception.__init__(self, details)
        self._code = self.code()
        self._details = details
        self._initial_metadata = grpc.aio.Metadata()
        self._trailing_metadata = grpc.aio.Metadata()
        self._debug_error_string = details

    def _take(self, error: Any) -> None:
        """Have the metadata of a call that grpcio had begun."""
        if error is not None:
            self._initial_metadata = error.initial_metadata()
            self._trailing_metadata = error.trailing_metadata()
            self._debug_error_string = error.debug_error_string()

    def __str__(self) -> str:
        return f"{self.code().name}: {self.details_text}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.details_text,)

    def cancelled(self) -> bool:
        """Whether the caller cancelled it before it began."""
        return isinstance(self, TripleCancelled)


# By registration: inheriting would ask for more than an error has.
_INTERFACES: Any = (grpc.Call, grpc.Future)
for _interface in _INTERFACES:
    _interface.register(TripleError)


class TripleUnavailable(TripleError, Unavailable):
    """No endpoint could take the call (no route, no endpoints, none reachable, target not resolved)."""

    code: Any = _CallableCode(Code.UNAVAILABLE)


class NotBegun(TripleUnavailable):
    """The endpoint that was picked takes the call no more, and no server has begun it: it may be made again.

    :param until: clock time of the call's deadline; ``None``: none.
    """

    def __init__(self, details: str, until: float | None = None) -> None:
        super().__init__(details)
        self._until = until

    def seconds_left(self) -> float | None:
        """What is left to the deadline; ``None``: there is none."""
        return None if self._until is None else self._until - time.monotonic()


class TripleDeadlineExceeded(TripleError, DeadlineExceeded):
    """The deadline passed, before an endpoint could take the call or afterwards.

    :param error: grpcio's error for it, where a server had the call: metadata are those of the call.
    """

    code: Any = _CallableCode(Code.DEADLINE_EXCEEDED)

    def __init__(self, details: str, error: Any = None) -> None:
        TripleError.__init__(self, details)
        self._take(error)


class TripleCancelled(TripleError):
    """The caller cancelled before an endpoint could take the call."""

    code: Any = _CallableCode(Code.CANCELLED)


class TripleResourceExhausted(TripleError):
    """More futures and streams wait to begin than there is room for."""

    code: Any = _CallableCode(Code.RESOURCE_EXHAUSTED)


class TripleBusinessError(TripleError, BusinessError):
    """The service refused with a code of its own (dubbo-go: 17, for any ordinary error of a handler).

    Its gRPC code is UNKNOWN, as grpcio has it. Metadata and details are those of the call.

    :param code: kept as ``business_code``.
    :param message: of the service; kept as ``message``.
    :param error: grpcio's error for it.
    """

    def __init__(self, code: int, message: str, error: Any = None) -> None:
        TripleError.__init__(self, message)
        self.business_code = code
        self.message = message
        self._take(error)

    def __str__(self) -> str:
        return f"business error {self.business_code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.business_code, self.message)


class ChannelClosed(ClosedError):
    """A call on a closed channel (a :class:`ValueError`, as grpcio raises)."""


# How grpcio describes a connection that was accepted and then came to nothing.
_NOT_HTTP2 = ("Socket closed", "SETTINGS frame")
_OTHER_PROTOCOL = (
    "; something listens there that does not speak plaintext HTTP/2: is it a Thrift port, or one with TLS?"
)


def translated(error: CallError, target: str, path: str, until: float | None = None) -> TripleError:
    """The error of the core as this transport raises it, with the target and the path in its text.

    :param until: the deadline that the call has inherited.
    """
    if isinstance(error, TripleError):
        return error
    if isinstance(error, DeadlineExceeded):
        return TripleDeadlineExceeded(f"{target} {path}: {error}{whose(until)}")
    text = str(error)
    hint = _OTHER_PROTOCOL if any(sign in text for sign in _NOT_HTTP2) else ""
    return TripleUnavailable(f"{target} {path}: {text}{hint}")
