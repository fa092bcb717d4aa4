"""Metadata: what a route can match of a call, what is sent with it, and what a handler may read of it.

Attachments that go on to the end of the chain travel as ``rpc-persist-NAME``, which is Kitex's form over gRPC;
routes and handlers know them as ``NAME``. Others travel under their own name, as Dubbo's do; Kitex's form of
those, ``rpc-transit-NAME``, is read as well.

W3C's ``traceparent`` and ``baggage`` travel under their own names alone. Kitex that has no OpenTelemetry, and was
called over Thrift, passes on copies of them as ``rpc-persist-NAME``; they count as there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ...attachments import TELEMETRY, add_copies

Metadata = Iterable[tuple[str, str | bytes]]
#: Metadata of a channel, which every call of it has.
Pairs = tuple[tuple[str, str], ...]

PERSIST = "rpc-persist-"
TRANSIT = "rpc-transit-"

# Written by HTTP/2, gRPC and Triple themselves. They are no attachments: passing them on would let one hop
# speak for the transport of the next.
_TRANSPORT = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "host", "te", "trailer", "user-agent"}
)
_TRANSPORT_PREFIXES = (":", "grpc-", "tri-")
# dubbo-go sends the parameters of its own reference among the attachments (3.3.0); its user agent tells them
# from an application's.
_DUBBO_GO = "grpc-go-triple"
_OF_DUBBO_GO = frozenset({"interface", "retries", "timeout"})

_NONE: Mapping[str, str] = MappingProxyType({})


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


def plain(name: str) -> str:
    """The name of an attachment without the prefix that says how far it goes."""
    if name.startswith("rpc-"):
        for prefix in (PERSIST, TRANSIT):
            if name.startswith(prefix) and len(name) > len(prefix):
                return name[len(prefix) :]
    return name


def outgoing(
    metadata: Metadata | None,
    attached: Mapping[str, str],
    base: Mapping[str, str],
    persistent: Collection[str] = (),
    fixed: Pairs | None = None,
) -> tuple[Metadata | None, dict[str, str]]:
    """The metadata to send and the headers to route by.

    Explicit metadata wins over an attachment of the same name. Several values of one name are joined by
    ``,``; names ending in ``-bin`` are not matched (gRFC A28).

    :param metadata: the caller's, any iterable of pairs (read once).
    :param attached: the attachments of the context.
    :param base: from :func:`base_headers`, and ``fixed``.
    :param fixed: what every call of the channel has; explicit metadata wins over it too.
    :param persistent: names in ``attached`` that go on to the end of the chain.
    """
    headers = dict(base)
    if metadata is None:
        headers.update(attached)
        return (*(fixed or ()), *_wire(attached, persistent)), headers
    pairs: Any = metadata if isinstance(metadata, (tuple, list)) else tuple(metadata)
    seen: dict[str, str] = {}
    for name, value in pairs:
        if name.endswith("-bin"):
            continue
        text = value if isinstance(value, str) else bytes(value).decode("latin-1")
        name = plain(name)  # noqa: PLW2901
        seen[name] = f"{seen[name]},{text}" if name in seen else text
    if attached:
        named = {plain(pair[0]) for pair in pairs}
        left = {name: value for name, value in attached.items() if name not in named}
        pairs = (*_wire(left, persistent), *pairs)
        headers.update(attached)
    if fixed:
        pairs = (*(pair for pair in fixed if pair[0] not in seen), *pairs)
    headers.update(seen)
    return pairs, headers


def _wire(attached: Mapping[str, str], persistent: Collection[str]) -> Metadata:
    return [
        (PERSIST + name if name in persistent else name, value.encode() if name.endswith("-bin") else value)
        for name, value in attached.items()
    ]


def incoming(metadata: Metadata | None) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The attachments of a call that came, and those of them that go on to the end of the chain.

    :param metadata: what a handler's context gives as ``invocation_metadata()``.
    """
    lasting: dict[str, str] = {}
    found = attachments_in(metadata, lasting)
    return found or _NONE, lasting or _NONE


def attachments_in(metadata: Metadata | None, lasting: dict[str, str] | None = None) -> dict[str, str]:
    """The attachments among metadata: all that no transport wrote.

    :param lasting: gets those that go on to the end of the chain.
    """
    found: dict[str, str] = {}
    copies: dict[str, str] = {}
    of_dubbo_go = False
    for name, value in metadata or ():
        if name.endswith("-bin"):
            continue
        text = value if isinstance(value, str) else value.decode("latin-1")
        if name in _TRANSPORT:
            of_dubbo_go |= name == "user-agent" and text.startswith(_DUBBO_GO)
            continue
        if name.startswith(_TRANSPORT_PREFIXES):
            continue
        short = plain(name)
        if short in TELEMETRY and name.startswith(PERSIST):
            copies[short] = text
            continue
        found[short] = f"{found[short]},{text}" if short in found else text
        if lasting is not None and short is not name and name.startswith(PERSIST):
            lasting[short] = f"{lasting[short]},{text}" if short in lasting else text
    if of_dubbo_go:
        for name in _OF_DUBBO_GO:
            found.pop(name, None)
    if copies:
        add_copies(found, copies)
    if lasting:
        found.update(lasting)  # what is seen here is what goes on
    return found


def incoming_attachments(context: Any) -> Mapping[str, str]:
    """The attachments that came with the call being handled.

    Names are lower-case and without ``rpc-persist-`` and ``rpc-transit-``; several values of one name are joined
    by ``,``; binary metadata and what the transport itself wrote (``:path``, ``user-agent``, ``grpc-*``,
    ``tri-*``, dubbo-go's ``interface``, ``retries`` and ``timeout``) is left out.
    :func:`pyrpc_xds.incoming_attachments` has the same without the context.

    To pass all of them on, those too that the caller did not make persistent::

        with pyrpc_xds.attachments(incoming_attachments(context)):
            other.SayHello(request)

    :param context: the ``grpc.ServicerContext`` (or its asyncio twin) that the handler was given.
    """
    return MappingProxyType(dict(incoming(context.invocation_metadata())[0]))
