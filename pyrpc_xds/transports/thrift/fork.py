"""What a forked child has of its parent's clients: no sockets, and no locks that a thread of the parent held."""

from __future__ import annotations

import os
import socket
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """What has locks, or counts what the parent's threads and loops do."""

    def after_fork(self) -> None:
        """In a forked child, in its only thread: new locks, no connections. No I/O, no thread is started."""


_sockets: WeakSet[socket.socket] = WeakSet()
_forkables: WeakSet[Forkable] = WeakSet()


def close_in_child(sock: socket.socket) -> None:
    """Have a socket closed in forked children for as long as it lives.

    Nothing is sent and nothing shut down, so the peer notices nothing, and the parent goes on with it. It notices that
    the *parent* has closed it, or has died, which it would not while a child holds the socket too.

    The socket itself is closed, and nobody is told: a transport of asyncio that were would have the parent's selector,
    which the child shares, forget it.
    """
    _sockets.add(sock)


def reset_in_child(thing: Forkable) -> None:
    """Have :meth:`Forkable.after_fork` called in forked children for as long as ``thing`` lives."""
    _forkables.add(thing)


def _after_fork() -> None:
    for sock in list(_sockets):
        sock.close()
    for thing in list(_forkables):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
