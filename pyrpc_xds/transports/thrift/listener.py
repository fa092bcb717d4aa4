"""The listening socket of a server for threads; the twin of :mod:`.aio_listener`."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

from .log import RateLimitedLog

# Connections accepted in one turn, and how long to wait, in seconds, where the process can hold no more.
AT_ONCE = 64
_PAUSE = 1.0


class Listener:
    """Gives what connects to a reactor, whose it is.

    :param sock: bound, listening, not blocking; the listener's from now on.
    :param selector: of the reactor.
    :param owner: whose it is, for the log.
    """

    def __init__(
        self, sock: socket.socket, selector: selectors.BaseSelector, owner: object, log: RateLimitedLog
    ) -> None:
        self.sock = sock
        self._selector = selector
        self._path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
        self._owner = owner
        self._log = log
        # When to look again, where the process could hold no more.
        self._again = 0.0
        selector.register(sock, selectors.EVENT_READ)

    def accept(self, most: int = AT_ONCE) -> Iterator[tuple[socket.socket, Any]]:
        """The connections that wait, with the names of their clients; ``most`` of them."""
        if self._again:
            return
        for _ in range(most):
            try:
                accepted = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The connection stays in the backlog and would wake the reactor without end.
                    self._log.warning("%r cannot accept: %s; again in a second", self._owner, error.strerror)
                    self._again = monotonic() + _PAUSE
                    self._selector.unregister(self.sock)
                return
            yield accepted

    def look_again(self, now: float) -> None:
        """Go on after a pause.

        :param now: of :func:`time.monotonic`.
        """
        if self._again and now >= self._again and self.sock.fileno() >= 0:
            self._again = 0.0
            self._selector.register(self.sock, selectors.EVENT_READ)

    def close(self) -> None:
        """Accept no more."""
        if self.sock.fileno() < 0:
            return
        if not self._again:
            self._selector.unregister(self.sock)
        self.sock.close()
        if self._path:
            try:
                os.unlink(self._path)
            except OSError:
                pass
