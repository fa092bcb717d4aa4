"""Connected sockets for clients, each within a deadline.

None of them blocks, and none outlives a fork in the child (:mod:`.fork`), not even one that is being connected.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from .address import resolve, resolve_async
from .fork import close_in_child

P = TypeVar("P", bound=asyncio.Protocol)

LONGEST_WAIT = 3600.0
"""Seconds that one system call waits at most: beyond 24 days what they count in overflows."""


def dial(address: str, deadline: float) -> socket.socket:
    """Connect.

    :param address: ``host:port``, ``[v6]:port`` or ``unix:PATH``. Every address of a name is tried in turn, and
        has its share of the time that is left: one that does not answer leaves some for the next (as in Go's ``net``).
    :param deadline: of :func:`time.monotonic`.
    :raises OSError: no address could be connected to (:class:`TimeoutError`: not in time).
    """
    problem = _no_address(address)
    names = resolve(address, deadline)
    for tried, (family, name) in enumerate(names):
        now = monotonic()
        sock = _socket(family)
        try:
            _connect(sock, name, now + (deadline - now) / (len(names) - tried))
            return sock
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
    raise problem


async def dial_in_loop(
    loop: asyncio.AbstractEventLoop, address: str, deadline: float, make: Callable[[], P]
) -> P:
    """Connect, and have ``loop`` serve the connection.

    :param address: as for :func:`dial`.
    :param deadline: of the loop's time.
    :param make: the connection's protocol, which is returned.
    :raises OSError: as of :func:`dial`.
    """
    try:
        async with asyncio.timeout_at(deadline):
            sock = await _dialled(loop, address, deadline)
            _, protocol = await loop.create_connection(make, sock=sock)
    except TimeoutError:
        raise TimeoutError("no connection in time") from None
    return protocol


async def _dialled(loop: asyncio.AbstractEventLoop, address: str, deadline: float) -> socket.socket:
    problem = _no_address(address)
    names = await resolve_async(loop, address)
    for tried, (family, name) in enumerate(names):
        now = loop.time()
        sock = _socket(family)
        try:
            async with asyncio.timeout_at(now + (deadline - now) / (len(names) - tried)):
                await loop.sock_connect(sock, name)
            return sock
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
    raise problem


def _no_address(address: str) -> OSError:
    return OSError(errno.EADDRNOTAVAIL, f"{address}: no address")


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    close_in_child(sock)
    sock.setblocking(False)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _connect(sock: socket.socket, name: Any, deadline: float) -> None:
    code = sock.connect_ex(name)
    if code in (errno.EINPROGRESS, errno.EINTR):
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLOUT)
        left = deadline - monotonic()
        # The kernel itself gives up earlier.
        if left <= 0 or not poller.poll(min(left, LONGEST_WAIT) * 1000):
            raise TimeoutError("no connection in time")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
