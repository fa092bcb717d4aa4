"""Log lines that peers can cause, at a bounded rate."""

from __future__ import annotations

import logging
import threading
from time import monotonic

logger = logging.getLogger("pyrpc_xds.thrift")


class RateLimitedLog:
    """At most ``per_second`` lines a second; what was left out is counted in the next one."""

    def __init__(self, per_second: int = 10) -> None:
        self._per_second = per_second
        self._second = 0
        self._written = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def warning(self, text: str, *args: object) -> None:
        """As :meth:`logging.Logger.warning`."""
        with self._lock:
            now = int(monotonic())
            if now != self._second:
                self._second, self._written = now, 0
            if self._written >= self._per_second:
                self._left_out += 1
                return
            self._written += 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            text += f" ({left_out} such lines left out)"
        logger.warning(text, *args)
