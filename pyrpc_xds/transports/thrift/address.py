"""Addresses of endpoints and servers: ``host:port``, ``[v6]:port``, ``unix:PATH``."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from ipaddress import ip_address
from time import monotonic
from typing import Any

from ...errors import PortNotBound
from ..address import split

__all__ = ["format_address", "is_literal", "listen", "resolve", "resolve_async", "split"]


def format_address(family: int, name: Any) -> str:
    """The text of what ``getsockname`` and ``getpeername`` give."""
    if family == socket.AF_UNIX:
        return f"unix:{name.decode(errors='replace') if isinstance(name, bytes) else name}"
    if family == socket.AF_INET6:
        return f"[{name[0]}]:{name[1]}"
    return f"{name[0]}:{name[1]}"


def is_literal(host: str) -> bool:
    """Whether ``host`` is an IP address, so that no name service is asked."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def resolve(address: str, deadline: float) -> list[tuple[int, Any]]:
    """Families and socket addresses to try, in order.

    :param deadline: of :func:`time.monotonic`. ``getaddrinfo`` itself has no time limit, so a name is looked
        up in a thread that is left behind when the time is over.
    :raises OSError: the name does not resolve (:class:`TimeoutError`: not in time).
    """
    known = _known(address)
    if known is not None:
        return known
    host, port = split(address)
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    worker = threading.Thread(target=look_up, name=f"resolve {host}", daemon=True)
    worker.start()
    worker.join(min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX))
    if not found:
        raise TimeoutError(f"{host!r} did not resolve in time")
    if isinstance(found[0], OSError):
        raise found[0]
    return [(family, name) for family, _, _, _, name in found[0]]


async def resolve_async(loop: asyncio.AbstractEventLoop, address: str) -> list[tuple[int, Any]]:
    """The twin of :func:`resolve`; the caller sets the time limit.

    :raises OSError: the name does not resolve.
    """
    known = _known(address)
    if known is not None:
        return known
    host, port = split(address)
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, name) for family, _, _, _, name in found]


def _known(address: str) -> list[tuple[int, Any]] | None:
    """What :func:`resolve` gives where no name service has to be asked; else ``None``."""
    host, port = split(address)
    if port < 0:
        return [(socket.AF_UNIX, host)]
    if is_literal(host):
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))]
    return None


def listen(address: str, backlog: int) -> socket.socket:
    """A non-blocking listening socket.

    :param address: ``host:port`` (port 0: any free one), ``[v6]:port`` or ``unix:PATH``, whose leftover is
        removed.
    :raises PortNotBound: it cannot be bound.
    """
    try:
        family, name = resolve(address, monotonic() + 5.0)[0]
    except OSError as error:
        raise PortNotBound(address, error) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            _remove_leftover(name)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise PortNotBound(address, error) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_leftover(path: str) -> None:
    """Remove the socket file of a server that is gone; one that still answers is left, so binding fails."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass
