"""Addresses of endpoints and servers: ``host:port``, ``[v6]:port``, ``unix:PATH``."""

from __future__ import annotations

import socket

from ..errors import UsageError


def split(address: str) -> tuple[str, int]:
    """Host and port; a ``unix:PATH`` is ``(PATH, -1)``.

    :raises UsageError: the address has another form, or its port is none from 0 to 65535.
    """
    given: object = address
    if not isinstance(given, str):
        shown = given if isinstance(given, int) else 9090
        raise UsageError(f"address {address!r}: it is a str, host:port, such as '0.0.0.0:{shown}'")
    if address.startswith("unix:"):
        path = address[5:]
        if not path:
            raise UsageError(f"address {address!r}: a path follows unix:")
        return path, -1
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise UsageError(
            f"address {address!r}: it is host:port, [v6]:port or unix:PATH, such as '0.0.0.0:9090' (all addresses of "
            "this machine) or '127.0.0.1:0' (any free port)"
        )
    if int(port) > 65535:
        raise UsageError(f"address {address!r}: ports go up to 65535; 0 takes any free one")
    return host, int(port)


def why_not_bound(host: str, port: int) -> OSError | None:
    """The system's reason why nothing can listen there, found out by trying; ``None``: now it can.

    For libraries that do not tell. Only where that has failed: it may look up a name.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, name in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(name)
                probe.listen(1)
    except OSError as error:
        return error
    return None
