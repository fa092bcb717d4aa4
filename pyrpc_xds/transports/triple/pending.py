"""PendingCall: the future or stream of a call that has not begun yet.

grpcio returns futures and streams at once. A call that must first wait (for the configuration, for a
connection) is begun on a thread (:mod:`.start_threads`), and this stands in for grpcio's object until then; afterwards
it passes everything on to it. A call that fails before it begins fails here, as grpcio's do: at the result,
never where it is made.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from .errors import TripleCancelled, TripleError

if TYPE_CHECKING:
    from .start_threads import StartThreads

_LOG = logging.getLogger(__name__)


class PendingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A :class:`grpc.Call`, :class:`grpc.Future` and response iterator, as grpcio's own are.

    :ivar deadline: monotonic seconds, ``None``: none.
    """

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self._condition = threading.Condition()
        # Guarded by the condition: nothing yet, then exactly one of the two.
        self._call: Any = None
        self._error: BaseException | None = None
        self._waiting: list[Callable[[], None]] = []

    def after_fork(self) -> None:
        """In a forked child, which does not have the thread that would begin the call: it fails here, for
        good.
        """
        self._condition = threading.Condition()
        if not self._settled():
            self._error = TripleCancelled("the process forked before the call began: its parent has it")

    @classmethod
    def begin(
        cls,
        prepare: Callable[[Callable[[], bool]], Any],
        make: Callable[[Any], Any],
        deadline: float | None,
        late: Callable[[str], BaseException],
        threads: StartThreads,
    ) -> PendingCall:
        """Begin a call on a thread.

        :param prepare: what has to be waited for; may raise. It is given what tells whether the caller has
            cancelled, and ends soon after.
        :param make: makes grpcio's call of what ``prepare`` returned.
        :param late: the error if the deadline passes before there is a thread; is given what for.
        """
        pending = cls(deadline)
        run = contextvars.copy_context().run
        threads.start(pending, functools.partial(run, pending._run, prepare, make), late)
        return pending

    @classmethod
    def failed(cls, error: BaseException) -> PendingCall:
        """A call that has failed already."""
        pending = cls(None)
        pending._error = error
        return pending

    def fail(self, error: BaseException) -> None:
        """Have it fail, unless it has begun or failed."""
        self._settle(None, error)

    def _run(self, prepare: Callable[[Callable[[], bool]], Any], make: Callable[[Any], Any]) -> None:
        call, error = None, None
        try:
            ready = prepare(self._settled)
            if self._settled():  # cancelled meanwhile: the server never hears of it
                return
            call = make(ready)
        except BaseException as raised:
            error = raised
        self._settle(call, error)

    def _settle(self, call: Any, error: BaseException | None) -> bool:
        with self._condition:
            if self._call is not None or self._error is not None:
                late = True
            else:
                late = False
                self._call, self._error = call, error
                waiting, self._waiting = self._waiting, []
                self._condition.notify_all()
        if late:
            if call is not None:
                call.cancel()  # the caller cancelled first
            return False
        for action in waiting:
            try:
                action()
            except BaseException:  # the others are called all the same, as grpcio does
                _LOG.exception("a callback of a call failed")
        return True

    def _begun(self, timeout: float | None = None) -> Any:
        """grpcio's call, waited for.

        :raises grpc.FutureTimeoutError: it did not begin in ``timeout`` seconds.
        """
        with self._condition:
            if not self._condition.wait_for(self._settled, timeout):
                raise grpc.FutureTimeoutError
            if self._error is not None:
                raise self._error
            return self._call

    def _settled(self) -> bool:
        return self._call is not None or self._error is not None

    def when_settled(self, action: Callable[[], None]) -> None:
        """Call ``action`` when it has begun or failed; now, if it has."""
        with self._condition:
            if not self._settled():
                self._waiting.append(action)
                return
        action()

    # grpc.Future

    def cancel(self) -> bool:
        """Cancel; True unless it was over already."""
        if self._settle(None, TripleCancelled("the caller cancelled before the call began")):
            return True
        return bool(self._call.cancel()) if self._call is not None else False

    def cancelled(self) -> bool:
        """Whether the caller cancelled it."""
        if self._call is not None:
            return bool(self._call.cancelled())
        return isinstance(self._error, TripleCancelled)

    def running(self) -> bool:
        """Whether it is not over."""
        return not self.done()

    def done(self) -> bool:
        """Whether it is over, however it ended."""
        return bool(self._call.done()) if self._call is not None else self._error is not None

    def result(self, timeout: float | None = None) -> Any:
        """The response.

        :param timeout: seconds to wait for it.
        :raises grpc.FutureTimeoutError: it is not there yet.
        :raises grpc.FutureCancelledError: the caller cancelled.
        :raises grpc.RpcError: the call failed.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            call = self._begun(timeout)
        except TripleCancelled:
            raise grpc.FutureCancelledError from None
        return call.result(None if until is None else max(until - time.monotonic(), 0))

    def exception(self, timeout: float | None = None) -> Any:
        """The error, ``None`` for a call that succeeded; times out and is cancelled as :meth:`result`."""
        until = None if timeout is None else time.monotonic() + timeout
        try:
            call = self._begun(timeout)
        except TripleCancelled:
            raise grpc.FutureCancelledError from None
        except grpc.FutureTimeoutError:
            raise
        except Exception as error:
            return error
        return call.exception(None if until is None else max(until - time.monotonic(), 0))

    def traceback(self, timeout: float | None = None) -> Any:
        """The traceback of :meth:`exception`."""
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this when the call is over."""

        def settled() -> None:
            if self._call is None:
                fn(self)
            else:
                self._call.add_done_callback(lambda _: fn(self))

        self.when_settled(settled)

    # grpc.Call

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` when the call is over; False if it is over already."""
        with self._condition:
            if not self._settled():
                self._waiting.append(lambda: self._added(callback))
                return True
        return bool(self._call.add_callback(callback)) if self._call is not None else False

    def _added(self, callback: Callable[[], None]) -> None:
        if self._call is None or not self._call.add_callback(callback):
            callback()

    def is_active(self) -> bool:
        """Whether it is not over."""
        return bool(self._call.is_active()) if self._call is not None else self._error is None

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Seconds to the deadline; ``None``: no deadline."""
        if self._call is not None:
            remaining: float | None = self._call.time_remaining()
            return remaining
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def _status(self, name: str) -> Any:
        try:
            call = self._begun()
        except TripleError as error:
            call = error
        return getattr(call, name)()

    def initial_metadata(self) -> Any:
        """The server's initial metadata, waited for."""
        return self._status("initial_metadata")

    def trailing_metadata(self) -> Any:
        """The server's trailing metadata, waited for."""
        return self._status("trailing_metadata")

    def code(self) -> Any:
        """The status code, waited for."""
        return self._status("code")

    def details(self) -> Any:
        """The status details, waited for."""
        return self._status("details")

    def debug_error_string(self) -> Any:
        """grpcio's description of the error, waited for."""
        return self._status("debug_error_string")

    # The response iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._begun())

    next = __next__
