"""The contexts that handlers of HTTP calls are given: what grpcio's are for gRPC calls.

They collect what a handler says of its answer; nothing is sent before it has returned, for an answer over HTTP is
one block. They live as long as the call.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from ....errors import UsageError
from ...raised import is_the_handlers

_LOG = logging.getLogger(__name__)
Metadata = tuple[tuple[str, str | bytes], ...]

_NAME = re.compile(r"[0-9a-z_.\-]+\Z")
_TEXT = re.compile(r"[\x20-\x7e]*\Z")


class _Told:
    """What a handler has said, and what it may ask. Any thread."""

    def __init__(self, metadata: Metadata, peer: str, until: float | None) -> None:
        self._metadata = metadata
        self._peer = peer
        self._until = until
        self._lock = threading.Lock()
        # Guarded by the lock; None: the call is over.
        self._callbacks: list[Callable[[], None]] | None = []
        self.initial: Metadata = ()
        self.trailing: Metadata = ()
        self.status: grpc.StatusCode | None = None
        self.text = ""
        self.aborted = False

    def end(self) -> None:
        """The call is over: answered, out of time, or given up by the caller. Runs the callbacks, once."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks or (), None
        for callback in callbacks:
            try:
                callback()
            except BaseException as error:
                if not is_the_handlers(error):
                    raise
                _LOG.exception("Exception calling callback!")  # as grpcio

    def is_active(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._callbacks is not None

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, never below 0; ``None``: there is none."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call it when the call is over; False: it is."""
        with self._lock:
            if self._callbacks is None:
                return False
            self._callbacks.append(callback)
            return True

    def cancel(self) -> None:
        """End the call as CANCELLED."""
        self.set_code(grpc.StatusCode.CANCELLED)
        self.end()

    def invocation_metadata(self) -> Metadata:
        """The headers that came, without those of HTTP itself."""
        return self._metadata

    def peer(self) -> str:
        """Where the call comes from, as grpcio writes it."""
        return self._peer

    def peer_identities(self) -> Sequence[bytes] | None:
        """None: the caller is not authenticated."""
        return None

    def peer_identity_key(self) -> str | None:
        """None: the caller is not authenticated."""
        return None

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Empty: the caller is not authenticated."""
        return {}

    def set_compression(self, compression: Any) -> None:
        """Without effect: the answer is compressed where the caller takes it."""

    def disable_next_message_compression(self) -> None:
        """Without effect, likewise."""

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """As :meth:`grpc.ServicerContext.set_trailing_metadata`: sent as headers ``trailer-NAME``."""
        self.trailing = _checked(trailing_metadata)

    def trailing_metadata(self) -> Metadata:
        """What was set."""
        return self.trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        """As :meth:`grpc.ServicerContext.set_code`."""
        self.status = code

    def set_details(self, details: str) -> None:
        """As :meth:`grpc.ServicerContext.set_details`."""
        self.text = details

    def code(self) -> Any:
        """What was set."""
        return self.status

    def details(self) -> Any:
        """What was set."""
        return self.text

    def _initial(self, initial_metadata: Any) -> None:
        if self.initial:
            raise ValueError("Initial metadata no longer allowed!")
        self.initial = _checked(initial_metadata)

    def _abort(self, code: grpc.StatusCode, details: str) -> None:
        # gRPC's rule for both kinds of servers: OK is no code to abort with.
        ok = code is grpc.StatusCode.OK
        self.status = grpc.StatusCode.UNKNOWN if ok else code
        self.text = "" if ok else details
        self.aborted = True


def _checked(metadata: Any) -> Metadata:
    pairs = tuple((name, value) for name, value in metadata or ())
    for name, value in pairs:
        binary = isinstance(value, bytes) and name.endswith("-bin")
        if not _NAME.match(name) or not (binary or (isinstance(value, str) and _TEXT.match(value))):
            raise ValueError(f"metadata was invalid: {name!r}")
    return pairs


class HttpContext(_Told):
    """For handlers that are no coroutines."""

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """As :meth:`grpc.ServicerContext.send_initial_metadata`: sent as headers, with the answer."""
        self._initial(initial_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """As :meth:`grpc.ServicerContext.abort`."""
        self._abort(code, details)
        raise grpc.aio.AbortError(details)

    def abort_with_status(self, status: Any) -> Any:
        """As :meth:`grpc.ServicerContext.abort_with_status`."""
        self.set_trailing_metadata(status.trailing_metadata)
        self.abort(status.code, status.details)


class AioHttpContext(_Told):
    """For handlers that are coroutines."""

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """As :meth:`grpc.aio.ServicerContext.send_initial_metadata`: sent as headers, with the answer."""
        self._initial(initial_metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Any:
        """As :meth:`grpc.aio.ServicerContext.abort`."""
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self._abort(code, details)
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: Any) -> Any:
        """As :meth:`grpc.aio.ServicerContext.abort_with_status`."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def read(self) -> Any:
        """:raises UsageError: there is one request, and the handler has it."""
        raise UsageError("a call over HTTP is unary: its request is the handler's argument")

    async def write(self, message: Any) -> None:
        """:raises UsageError: the response is what the handler returns."""
        raise UsageError("a call over HTTP is unary: its response is what the handler returns")

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call it with this when the call is over."""
        if not self.add_callback(lambda: callback(self)):
            callback(self)

    def cancelled(self) -> bool:
        """Whether it ended as CANCELLED."""
        return self.done() and self.status is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether it is over."""
        return not self.is_active()


# By registration: grpcio's own classes say nothing of the methods that these have in common.
_INTERFACES: Any = ((grpc.ServicerContext, HttpContext), (grpc.aio.ServicerContext, AioHttpContext))
for _interface, _class in _INTERFACES:
    _interface.register(_class)
