"""What a handler knows of its call: the :class:`grpc.ServicerContext` of the server on nghttp2."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from .answer import Answer


class Aborted(Exception):
    """What :meth:`Context.abort` raises: the handler ends, the status is set."""


class Context(grpc.ServicerContext):
    """As grpcio's. Compression is not chosen here: answers are sent as they are, which every peer takes."""

    __slots__ = ("_call", "_callbacks", "aborted", "message", "status", "trailers")

    def __init__(self, call: Answer) -> None:
        self._call = call
        self.status: Any = None
        self.message: bytes | None = None
        self.trailers: Any = None
        self.aborted = False
        self._callbacks: list[Callable[[], Any]] | None = []

    # Of the caller.

    def invocation_metadata(self) -> tuple[Any, ...]:
        """As grpcio's."""
        return self._call.metadata

    def peer(self) -> str:
        """``ipv4:IP:PORT``, ``ipv6:[IP]:PORT`` or ``unix:``."""
        return self._call.connection.peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """None: connections are not encrypted."""
        return None

    def peer_identity_key(self) -> str | None:
        """None: connections are not encrypted."""
        return None

    def auth_context(self) -> Any:
        """As grpcio's for connections that are not encrypted."""
        return {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}

    def time_remaining(self) -> Any:
        """Seconds to the caller's deadline; ``None``: it has none."""
        until = self._call.until
        return None if until is None else max(until - time.monotonic(), 0.0)

    def is_active(self) -> bool:
        """Whether the caller still waits."""
        return self._call.active

    def cancel(self) -> bool:
        """End the call as CANCELLED."""
        return self._call.give_up()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` when the call is over; False: it is over already."""
        callbacks = self._callbacks
        if callbacks is None or not self._call.active:
            return False
        callbacks.append(callback)
        if self._callbacks is None:  # over meanwhile
            try:
                callbacks.remove(callback)
            except ValueError:
                pass  # it was called
            else:
                return False
        return True

    # Of the answer.

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """As grpcio's: now; once, and before the first response.

        :raises grpc.RpcError: the caller does not wait any more.
        """
        if not self._call.start(initial_metadata):
            raise ValueError("Initial metadata no longer allowed!")

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """As grpcio's."""
        self.trailers = trailing_metadata

    def trailing_metadata(self) -> Any:
        """What was set."""
        return self.trailers

    def set_code(self, code: Any) -> None:
        """As grpcio's."""
        self.status = code

    def set_details(self, details: str) -> None:
        """As grpcio's."""
        self.message = _encoded(details)

    def code(self) -> Any:
        """What was set."""
        return self.status

    def details(self) -> Any:
        """What was set."""
        return self.message

    def abort(self, code: Any, details: str) -> Any:
        """End the call with a status: raises."""
        # As grpcio's: abort is for errors.
        self.status = grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code
        self.message = b"" if code is grpc.StatusCode.OK else _encoded(details)
        self.aborted = True
        raise Aborted

    def abort_with_status(self, status: grpc.Status) -> Any:
        """End the call with a status and its trailing metadata: raises."""
        self.trailers = status.trailing_metadata
        self.abort(status.code, status.details)

    def set_compression(self, compression: grpc.Compression) -> None:
        """Without effect."""

    def disable_next_message_compression(self) -> None:
        """Without effect."""

    def over(self) -> list[Callable[[], Any]]:
        """The callbacks to call now; none the second time."""
        callbacks, self._callbacks = self._callbacks, None
        return callbacks or []


def _encoded(details: Any) -> bytes:
    # What is no text raises what it raises in grpcio, into the handler.
    return details if isinstance(details, bytes) else details.encode()


class Signal:
    """Wakes the one thread that waits for something of a call."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Let the next :meth:`wait`, or the one that runs, return at once."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is to return already

    def wait(self, seconds: float) -> None:
        """Wait to be woken, at most ``seconds``."""
        self._lock.acquire(timeout=max(seconds, 0))
