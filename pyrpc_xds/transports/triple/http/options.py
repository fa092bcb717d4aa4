"""HttpOptions: the limits of a port that speaks Triple over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ....arguments import COUNT, SECONDS, Kind, require

_ORIGINS = Kind(
    "a sequence of str",
    "('https://app.example',)",
    # One str is a sequence of them too, and a part of it would be taken for an origin.
    lambda value: (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(each, str) for each in value)
    ),
    optional=False,
)
_COUNT, _SECONDS = replace(COUNT, optional=False), replace(SECONDS, optional=False)
_KINDS = {
    "origins": _ORIGINS,
    "max_message": COUNT,
    **dict.fromkeys(("max_bodies", "max_connections", "max_streams", "max_calls", "max_head"), _COUNT),
    **dict.fromkeys(("head_timeout", "body_timeout", "idle_timeout"), _SECONDS),
}


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The limits of one port. They bound what a peer can make the server hold, whatever it sends or fails to send.

    :param origins: web origins whose pages may call (CORS), such as ``https://app.example``; ``*``: all. None by
        default: browsers then refuse calls of other origins.
    :param max_message: bytes of a request's body, and of what it inflates to; ``None``: the server's
        ``grpc.max_receive_message_length`` (4 MiB).
    :param max_bodies: bytes of bodies that are not whole yet, of all connections; further ones are
        ``resource_exhausted``. One connection of HTTP/2 holds no more than 64 KiB of each of its streams, and one
        message beyond that: large requests that it sends at once are read one after the other.
    :param max_connections: further ones are closed at once.
    :param max_streams: calls at once on one HTTP/2 connection (RFC 9113, SETTINGS_MAX_CONCURRENT_STREAMS).
    :param max_calls: calls at once on the port, those that wait for a thread included; further ones are
        ``resource_exhausted``, as those beyond the server's ``maximum_concurrent_rpcs`` are.
    :param max_head: bytes of request line and headers.
    :param head_timeout: seconds from the first byte of a request to the end of its headers.
    :param body_timeout: seconds for the rest of the request, anew where it had to wait for its turn; likewise for a
        response that the peer does not read.
    :param idle_timeout: seconds that a connection without a request is kept.
    :raises UsageError: one of them is of another type, or no number above 0.
    """

    origins: tuple[str, ...] = ()
    max_message: int | None = None
    max_bodies: int = 256 * 1024 * 1024
    max_connections: int = 1000
    max_streams: int = 100
    max_calls: int = 1000
    max_head: int = 16 * 1024
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 120.0

    def __post_init__(self) -> None:
        require("HttpOptions", _KINDS, {name: getattr(self, name) for name in _KINDS})
