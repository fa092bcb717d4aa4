"""When to open the next ADS stream: exponential back-off with jitter (gRPC's connection back-off)."""

from __future__ import annotations

from collections.abc import Callable

INITIAL = 1.0
FACTOR = 1.6
JITTER = 0.2
MAXIMUM = 120.0


class BackOff:
    """The delays before successive attempts.

    :param random: uniform in [0, 1).
    :param initial: seconds of the first delay, before jitter; also how long a stream must have lived, for the
        next one to be opened at once a second time in a row.
    """

    def __init__(
        self, random: Callable[[], float], initial: float = INITIAL, maximum: float = MAXIMUM
    ) -> None:
        self._random = random
        self._initial = initial
        self._maximum = maximum
        self._base = initial
        self._at_once = False

    def delay(self, *, answered: bool, lifetime: float) -> float:
        """Seconds from the end of a stream to the next attempt.

        A stream that brought a response was no failure: the next is opened at once (A57) and the back-off
        starts again. A server that answers and hangs up at once, every time, is spared all the same.

        :param answered: the stream brought at least one response.
        :param lifetime: seconds from its opening to its end.
        """
        if answered:
            self._base = self._initial
            if not self._at_once or lifetime >= self._initial:
                self._at_once = True
                return 0.0
            return self._jittered(self._initial)
        self._at_once = False
        delay = self._jittered(self._base)
        self._base = min(self._base * FACTOR, self._maximum)
        return delay

    def _jittered(self, delay: float) -> float:
        return delay * (1 - JITTER + 2 * JITTER * self._random())
