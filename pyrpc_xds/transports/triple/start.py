"""Start: how a call begins that has to wait for something first.

Beginning a call is: configuration, route, cluster, endpoint, connected channel. Where all of it is at hand,
the channels do it without waiting. Where something has to be waited for, they make a :class:`Start`, whose
:meth:`Start.steps` says what, one step at a time, without doing it: blocking callers and asyncio carry the
steps out in their own ways.

**No call runs twice.** A call is given to grpcio only after its endpoint's channel was seen READY, and it
is given once. Another endpoint is tried only while the channel of the one before has *not* become READY:
until then grpcio has not been told of the call, so no byte of it can have left this process. Once grpcio
has the call, its outcome, UNAVAILABLE included, is the caller's (grpcio itself repeats only streams that
the server's GOAWAY or REFUSED_STREAM declares unprocessed, gRFC A6). On nghttp2 such a call is
:class:`.errors.NotBegun`, and begins anew with another pick (:mod:`.multicallables`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import CallError, Unavailable
from ...incoming_deadline import incoming_deadline, whose
from ...resilience.deadline import shorter
from ..base import LiveCluster, LiveEndpoint
from .connection import Connection, Drained
from .errors import TripleCancelled, TripleDeadlineExceeded, TripleError, TripleUnavailable, translated
from .metadata import Metadata
from .method import Method, Picked

if TYPE_CHECKING:
    from .target import Target

# gRFC A44's limit for attempts; and gRPC's limit for one connection (20 s) for all of them together, where no
# deadline says less.
MAX_ENDPOINTS = 5
CONNECT_SECONDS = 20.0
# How long one endpoint may take before the next is tried beside it, as RFC 8305 (happy eyeballs) does for the
# addresses of a name: nothing is lost, because the call has not begun.
PATIENCE_SECONDS = 0.3
# Endpoints that left between the pick and the connection, one after another, before a call gives up.
MAX_MOVES = 10
# For a better text, once the call has failed.
_REASON_SECONDS = 0.5
# Between rounds of a call that waits for ready.
_PAUSE_SECONDS = (0.05, 1.0)


class Configure(NamedTuple):
    """Wait at most ``seconds`` (``None``: the client's default) for the first configuration; send it back."""

    seconds: float | None


class Connect(NamedTuple):
    """Connect within ``seconds``; send back what to call on, False (failed) or ``None`` (time is up).

    What is sent back still takes a call if the endpoint leaves before it is made: an endpoint that comes and goes
    faster than it can be connected would otherwise be connected again and again, and no call begin. It is thrown
    :class:`Drained` where the endpoint had left before.
    """

    connection: Connection
    seconds: float


class Explain(NamedTuple):
    """Send back why it is not READY; spend at most ``seconds`` on it."""

    connection: Connection
    seconds: float


class Pause(NamedTuple):
    """Sleep."""

    seconds: float


Step = Configure | Connect | Explain | Pause
#: What the answer to :class:`Connect` was, and the seconds that the call may take.
Started = tuple[Any, float | None]


def _never() -> bool:
    return False


class Start:
    """A call that has to wait before it can begin.

    :ivar metadata: what to send, attachments included: the context of the caller is not read again.
    :ivar over: whether nobody waits for the call any more (its channel was closed, or it was cancelled): it
        then ends at the next step, however long it may wait for ready. Any thread may call it.
    :param picked: the route and the endpoint that the caller has chosen already; dropping the choice would
        make round robin pass over the endpoints that are not connected yet.
    :raises UsageError: ``timeout`` is no number of seconds.
    """

    __slots__ = (
        "_asked",
        "_headers",
        "_picked",
        "_timeout",
        "_until",
        "_wait_for_ready",
        "metadata",
        "method",
        "over",
        "target",
    )

    def __init__(
        self,
        target: Target,
        method: Method,
        timeout: float | None,
        metadata: Metadata | None,
        headers: Mapping[str, str],
        wait_for_ready: bool,
        picked: Picked | None = None,
        over: Callable[[], bool] = _never,
    ) -> None:
        method.check(timeout)
        self.target = target
        self.method = method
        self._timeout = timeout
        self.metadata = metadata
        self._headers = headers
        self._wait_for_ready = wait_for_ready
        # Clock time of the caller's deadline, from the first step on: steps() may be carried out again.
        self._asked: float | None = None
        self._picked = picked
        # For the text of errors: the steps may be carried out where the context is another.
        self._until = incoming_deadline()
        self.over = over

    def count(self, now: float) -> float | None:
        """Have the caller's deadline count from now; without this it does from the first step on.

        :param now: monotonic seconds, as of :meth:`steps`.
        :returns: the deadline; ``None``: there is none.
        """
        if self._asked is None and self._timeout is not None:
            self._asked = now + self._timeout
        return self._asked

    def steps(self, clock: Callable[[], float]) -> Generator[Step, Any, Started]:
        """What to do, step by step; the result is where to call.

        :param clock: monotonic seconds.
        :raises TripleDeadlineExceeded: the caller's deadline or the route's timeout passed. The route's counts from
            the first routing decision.
        :raises TripleUnavailable: no route, no endpoint, or none that could be connected, and the call does
            not wait for ready.
        :raises TripleCancelled: it is :attr:`over`.
        """
        router = self.target.router
        method = self.method
        asked = self.count(clock())
        # None: no limit.
        until = asked
        pause = _PAUSE_SECONDS[0]
        decided = False
        moves = 0
        while True:
            try:
                picked, self._picked = self._picked, None
                if picked is None:
                    snapshot = router.snapshot
                    if snapshot is None:
                        snapshot = yield Configure(None if asked is None else max(asked - clock(), 0.0))
                    destination = snapshot.route(method.path, self._headers)
                    cluster = destination.cluster
                    endpoint: LiveEndpoint = cluster.pick()
                else:
                    destination, cluster, endpoint = picked
                if not decided:
                    decided = True
                    now = clock()
                    seconds = shorter(destination, None if asked is None else asked - now)
                    until = None if seconds is None else now + seconds
                reached = yield from self._connected(cluster, endpoint, until, clock)
            except Drained:
                # Decided by a configuration that has been replaced meanwhile. Nothing has begun: decide anew.
                if self.over():
                    raise self._cancelled() from None
                moves += 1
                if moves < MAX_MOVES:
                    continue
                raise TripleUnavailable(
                    f"{self.target.name} {method.path}: the endpoints keep leaving"
                ) from None
            except CallError as error:
                if self.over():
                    raise self._cancelled() from error
                if not self._wait_for_ready or not isinstance(error, Unavailable):
                    if isinstance(error, TripleError):
                        raise
                    raise translated(error, self.target.name, method.path, self._until) from error
                left = None if until is None else until - clock()
                if left is not None and left <= 0:
                    raise self.late("waited for an endpoint that is ready", error) from error
                yield Pause(pause if left is None else min(pause, left))
                pause = min(pause * 1.6, _PAUSE_SECONDS[1])
                continue
            left = None if until is None else until - clock()
            if left is not None and left <= 0:
                raise self.late("just as its endpoint was connected")
            return reached, left

    def _connected(
        self, cluster: LiveCluster, endpoint: LiveEndpoint, until: float | None, clock: Callable[[], float]
    ) -> Generator[Step, Any, Any]:
        limit = until if until is not None else clock() + CONNECT_SECONDS
        tried: list[LiveEndpoint] = []
        slow: list[LiveEndpoint] = []
        # Pickers take failed endpoints last, so one that was tried here comes again only when none is left, or
        # by a race with another caller: hence a few picks more than attempts.
        for _ in range(2 * MAX_ENDPOINTS):
            if endpoint not in tried:
                seconds = _at_most(PATIENCE_SECONDS, limit - clock())
                reached = yield Connect(endpoint.connection, seconds)
                if reached:
                    _answered(endpoint)
                    return reached
                tried.append(endpoint)
                if reached is None:
                    slow.append(endpoint)
                # A deadline that left it no time to answer says nothing about the endpoint.
                if reached is False or seconds == PATIENCE_SECONDS:
                    endpoint.connection.failing = True
                    endpoint.failed()
                if len(tried) == MAX_ENDPOINTS or clock() >= limit:
                    break
            endpoint = cluster.pick(endpoint)
        # All are slow or have failed: the slow ones in turn, until one is connected or all have failed.
        while slow and clock() < limit:
            if self.over():
                raise self._cancelled()
            endpoint = slow.pop(0)
            reached = yield Connect(endpoint.connection, _at_most(PATIENCE_SECONDS, limit - clock()))
            if reached:
                _answered(endpoint)
                return reached
            if reached is None:
                slow.append(endpoint)
        addresses = ", ".join(each.address for each in tried)
        if until is not None and clock() >= until:
            raise self.late(f"connecting to {addresses}")
        reason = yield Explain(tried[-1].connection, _at_most(_REASON_SECONDS, limit - clock()))
        raise Unavailable(f"cluster {cluster.name}: could not connect to {addresses} (the last: {reason})")

    def _cancelled(self) -> TripleCancelled:
        return TripleCancelled(
            f"{self.target.name} {self.method.path}: cancelled, or its channel closed, before it began"
        )

    def late(self, doing: str, why: Exception | None = None) -> TripleDeadlineExceeded:
        """The error of a call whose deadline has passed.

        :param doing: what meanwhile.
        """
        reason = f" ({why})" if why is not None else ""
        return TripleDeadlineExceeded(
            f"{self.target.name} {self.method.path}: the deadline passed: {doing}{reason}{whose(self._until)}"
        )


def _at_most(seconds: float, left: float) -> float:
    return max(min(seconds, left), 0.0)


def _answered(endpoint: LiveEndpoint) -> None:
    connection: Connection = endpoint.connection
    if connection.failing:
        connection.failing = False
        endpoint.succeeded()


class Course:
    """The steps of a call's beginning while someone carries them out.

    :ivar answer: to the last step, to be set before the next.
    :ivar error: or what it raised.
    :ivar started: the result, once there is no step left.
    """

    __slots__ = ("_steps", "answer", "error", "started")

    def __init__(self, start: Start) -> None:
        self._steps = start.steps(time.monotonic)
        self.answer: Any = None
        self.error: Exception | None = None
        self.started: Any = None

    def next(self) -> Step | None:
        """The next step; ``None``: all are done. Raises what :meth:`Start.steps` raises."""
        answer, error = self.answer, self.error
        self.answer = self.error = None
        try:
            return self._steps.send(answer) if error is None else self._steps.throw(error)
        except StopIteration as done:
            self.started = done.value
            return None


def run_blocking(start: Start) -> Started:
    """Carry out the steps in the calling thread; what is returned to call on is grpcio's multicallable."""
    course = Course(start)
    while (step := course.next()) is not None:
        try:
            match step:
                case Configure(seconds):
                    course.answer = start.target.router.wait(seconds)
                case Connect(connection, seconds):
                    course.answer = connection.reach(start.method.key, seconds)
                case Explain(connection, seconds):
                    course.answer = connection.reason(seconds)
                case Pause(seconds):
                    time.sleep(seconds)
        except (CallError, Drained) as raised:
            course.error = raised
    return course.started  # type: ignore[no-any-return]
