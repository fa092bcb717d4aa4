"""The methods of gRPC's calls and futures on what is over before anyone sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class EndedCall:
    """The part of :class:`grpc.Call` that needs no knowledge of how the call went."""

    def is_active(self) -> bool:
        """False: the call is over."""
        return False

    def time_remaining(self) -> Any:
        """None: the call is over."""
        return None

    def cancel(self) -> bool:
        """False: the call is over."""
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """False: ``callback`` is not kept, the call is over."""
        return False


class FailedFuture(EndedCall):
    """The same of :class:`grpc.Future`, of an exception: grpcio's interceptors take the error of a call for its
    outcome."""

    __traceback__: Any

    def running(self) -> bool:
        """False: the call is over."""
        return False

    def done(self) -> bool:
        """True: the call is over."""
        return True

    def result(self, timeout: float | None = None) -> Any:
        """:raises BaseException: this."""
        raise self  # type: ignore[misc]

    def exception(self, timeout: float | None = None) -> Any:
        """This."""
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        """Where it was raised."""
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this, now."""
        fn(self)
