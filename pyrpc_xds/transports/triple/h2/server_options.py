"""The options of grpcio's that the server on nghttp2 has too; the others it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ....errors import ConfigError
from .endpoint import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES

# Calls at a time on one connection; clients keep more back.
_MAX_STREAMS = 1_000
# As grpcio's own defaults (gRFC A8, A9).
_KEEPALIVE_MS = 7_200_000
_KEEPALIVE_TIMEOUT_MS = 20_000
# grpcio's word for no limit, of bytes and of milliseconds.
_NO_LIMIT = (1 << 31) - 1

_DEFAULTS = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": -1,
    "grpc.max_metadata_size": MAX_HEADER_BYTES,
    "grpc.max_concurrent_streams": _MAX_STREAMS,
    "grpc.so_reuseport": 0,
    "grpc.max_connection_idle_ms": _NO_LIMIT,
    "grpc.max_connection_age_ms": _NO_LIMIT,
    "grpc.max_connection_age_grace_ms": _NO_LIMIT,
    "grpc.keepalive_time_ms": _KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": _KEEPALIVE_TIMEOUT_MS,
    "grpc.keepalive_permit_without_calls": 0,
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What :func:`read` has read.

    :ivar max_message: bytes of a request.
    :ivar max_sent: bytes of a response.
    :ivar max_headers: bytes of a request's header list.
    :ivar max_streams: calls at a time on one connection.
    :ivar reuse_port: whether other sockets may listen on the same port.
    :ivar idle: seconds without a call after which a connection is closed; ``None``: never.
    :ivar age: seconds after which a connection takes no new calls; ``None``: never.
    :ivar age_grace: seconds that its calls have then; ``None``: as long as they run.
    :ivar keepalive: seconds of silence after which a ping is sent; ``None``: never.
    :ivar keepalive_timeout: seconds in which it must be answered.
    :ivar keepalive_always: pings are sent where no call runs, too.
    """

    max_message: int
    max_sent: int
    max_headers: int
    max_streams: int
    reuse_port: bool
    idle: float | None
    age: float | None
    age_grace: float | None
    keepalive: float | None
    keepalive_timeout: float
    keepalive_always: bool


def read(options: Iterable[tuple[str, Any]]) -> ServerOptions:
    """Read the options of a server, as grpcio documents them (``grpc/impl/channel_arg_names.h``).

    :raises ConfigError: one is not known here, or is no number.
    """
    values = dict(_DEFAULTS)
    for name, value in options:
        if name not in values:
            raise ConfigError(
                f"a server with codec='nghttp2' does not have the option {name}",
                where="options",
                hint=f"Leave it out, or use codec='grpcio'; there are {', '.join(sorted(values))}",
            )
        if not isinstance(value, int):
            raise ConfigError(f"{name} is {value!r}, not a number", where="options")
        values[name] = value

    def size(name: str) -> int:
        return values[name] if values[name] >= 0 else _NO_LIMIT

    def seconds(name: str) -> float | None:
        return None if values[name] >= _NO_LIMIT else values[name] / 1000

    return ServerOptions(
        max_message=size("grpc.max_receive_message_length"),
        max_sent=size("grpc.max_send_message_length"),
        max_headers=values["grpc.max_metadata_size"],
        max_streams=values["grpc.max_concurrent_streams"],
        reuse_port=bool(values["grpc.so_reuseport"]),
        idle=seconds("grpc.max_connection_idle_ms"),
        age=seconds("grpc.max_connection_age_ms"),
        age_grace=seconds("grpc.max_connection_age_grace_ms"),
        keepalive=seconds("grpc.keepalive_time_ms"),
        keepalive_timeout=values["grpc.keepalive_timeout_ms"] / 1000,
        keepalive_always=bool(values["grpc.keepalive_permit_without_calls"]),
    )
