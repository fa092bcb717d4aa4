"""Metadata: what a route can match of a call, what is sent with it, and what a handler may read of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

Metadata = Iterable[tuple[str, str | bytes]]

# Written by HTTP/2, gRPC and Triple themselves. They are no attachments: passing them on would let one hop
# speak for the transport of the next.
_TRANSPORT = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "host", "te", "trailer", "user-agent"}
)
_TRANSPORT_PREFIXES = (":", "grpc-", "tri-")


def base_headers(authority: str, path: str) -> dict[str, str]:
    """The headers that every call of a method has, as a proxy in its place would see them (Envoy, gRFC A28).

    Every call of the method shares the dictionary: not to be changed.

    :param authority: ``host:port`` of the target.
    :param path: ``/package.Service/Method``.
    """
    return {
        ":authority": authority,
        ":method": "POST",
        ":path": path,
        ":scheme": "http",
        "content-type": "application/grpc",
        "te": "trailers",
    }


def outgoing(
    metadata: Metadata | None, attached: Mapping[str, str], base: Mapping[str, str]
) -> tuple[Metadata | None, dict[str, str]]:
    """The metadata to send and the headers to route by.

    Explicit metadata wins over an attachment of the same name. Several values of one name are joined by
    ``,``; names ending in ``-bin`` are not matched (gRFC A28).

    :param metadata: the caller's, any iterable of pairs (read once).
    :param attached: the attachments of the context.
    :param base: from :func:`base_headers`.
    """
    headers = dict(base)
    if metadata is None:
        headers.update(attached)
        return tuple(attached.items()), headers
    pairs: Any = metadata if isinstance(metadata, (tuple, list)) else tuple(metadata)
    seen: dict[str, str] = {}
    for name, value in pairs:
        if name.endswith("-bin"):
            continue
        text = value if isinstance(value, str) else bytes(value).decode("latin-1")
        seen[name] = f"{seen[name]},{text}" if name in seen else text
    if attached:
        named = {pair[0] for pair in pairs}
        pairs = (*(item for item in attached.items() if item[0] not in named), *pairs)
        headers.update(attached)
    headers.update(seen)
    return pairs, headers


def incoming_attachments(context: Any) -> Mapping[str, str]:
    """The attachments that came with the call being handled.

    Names are lower-case; several values of one name are joined by ``,``; binary metadata and what the
    transport itself wrote (``:path``, ``user-agent``, ``grpc-*``, ``tri-*`` ...) is left out. To pass them
    on::

        with pyrpc_xds.attachments(incoming_attachments(context)):
            other.SayHello(request)

    :param context: the ``grpc.ServicerContext`` (or its asyncio twin) that the handler was given.
    """
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if name in _TRANSPORT or name.startswith(_TRANSPORT_PREFIXES) or name.endswith("-bin"):
            continue
        text = value if isinstance(value, str) else value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return MappingProxyType(found)
