"""Which endpoint a call that has not begun goes to next. No I/O."""

from __future__ import annotations

from time import monotonic

from ...errors import Unavailable
from ..base import Destination, LiveEndpoint
from .answer import Attempt
from .pool import PoolClosed, PoolFull

# An endpoint that could not be reached may be picked again where the policy has no memory.
_PICKS_PER_FAILURE = 3
# A call whose deadline leaves fewer seconds to connect in says nothing of the endpoint, which may be well and far away.
_FAIR = 0.1
# Seconds by which timers come early.
_EARLY = 0.001


class Failover:
    """Tries each endpoint at most once, within the deadline.

    :ivar endpoint: the one to try now.
    """

    def __init__(
        self, attempt: Attempt, destination: Destination, endpoint: LiveEndpoint, deadline: float
    ) -> None:
        self.endpoint = endpoint
        self._attempt = attempt
        self._destination = destination
        self._deadline = deadline
        self._since = monotonic()
        self._failures: dict[str, str] = {}
        self._picks = 0

    def next(self, error: Exception) -> None:
        """Note why no connection to :attr:`endpoint` was had, and move on.

        :raises ThriftUnavailable: none could be reached.
        :raises ThriftDeadlineExceeded: the deadline came first.
        """
        tried = self.endpoint
        if isinstance(error, PoolClosed):
            what = "it has left the mesh"
        else:
            what = getattr(error, "strerror", None) or str(error)
            if not isinstance(error, PoolFull) and not self._hurried(error):
                tried.failed()
        self._failures[tried.address] = what
        if monotonic() >= self._deadline:
            raise self._attempt.late(self._list()) from error
        while self.endpoint.address in self._failures:
            if self._picks >= _PICKS_PER_FAILURE * len(self._failures):
                raise self._attempt.unavailable(f"no endpoint could be reached: {self._list()}") from error
            self._picks += 1
            try:
                self.endpoint = self._destination.cluster.pick(tried)
            except Unavailable as none:
                raise self._attempt.unavailable(f"{none}; {self._list()}") from none
        self._since = monotonic()

    def _hurried(self, error: Exception) -> bool:
        """The call's deadline came before the endpoint had the time to answer."""
        if not isinstance(error, TimeoutError) or error.errno is not None:
            return False
        now = monotonic()
        return now - self._since < _FAIR and now >= self._deadline - _EARLY

    def _list(self) -> str:
        return "; ".join(f"{address}: {what}" for address, what in self._failures.items())
