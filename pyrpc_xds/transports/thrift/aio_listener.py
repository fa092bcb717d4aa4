"""Accepts connections in an event loop, and can stop doing so at any moment.

An :class:`asyncio.Server` that is closed while a connection is between being accepted and being served leaves its
transport behind, unclosed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from .log import RateLimitedLog

# Connections accepted in one turn of the loop, and how long to wait, in seconds, where the process can hold no more.
_AT_ONCE = 64
_PAUSE = 1.0


class AioListener:
    """Serves what connects to a listening socket, which is the listener's from now on. Of one loop.

    :param sock: bound, listening, not blocking.
    :param factory: makes the protocol of a connection.
    :param owner: whose it is, for the log.
    """

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        owner: object,
        log: RateLimitedLog,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
        self._factory = factory
        self._owner = owner
        self._log = log
        self._again: asyncio.TimerHandle | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._loop.add_reader(sock, self._accept)

    def _accept(self, most: int = _AT_ONCE) -> None:
        for _ in range(most):
            try:
                sock, _name = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The connection stays in the backlog and would wake the loop without end.
                    self._log.warning("%r cannot accept: %s; again in a second", self._owner, error.strerror)
                    self._loop.remove_reader(self._sock)
                    self._again = self._loop.call_later(_PAUSE, self._go_on)
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            task = self._loop.create_task(self._welcome(sock))
            self._arriving.add(task)
            task.add_done_callback(partial(self._arrived, sock))

    def _go_on(self) -> None:
        self._again = None
        self._loop.add_reader(self._sock, self._accept)

    async def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        await self._loop.connect_accepted_socket(self._factory, sock)

    def _arrived(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        if task.cancelled() or task.exception() is not None:
            sock.close()

    async def close(self) -> None:
        """Accept no more than has connected by now; what has been accepted is served when this returns."""
        if self._again is None:
            self._accept(socket.SOMAXCONN)
        self._loop.remove_reader(self._sock)
        if self._again is not None:
            self._again.cancel()
        self._sock.close()
        if self._path:
            try:
                os.unlink(self._path)
            except OSError:
                pass
        while self._arriving:
            await asyncio.wait(list(self._arriving))
