"""Options: what this transport sets on the grpc channel of every endpoint, and how long its servers wait."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ...errors import UsageError

Options = tuple[tuple[str, Any], ...]

#: Not an option of grpcio: which HTTP/2 codec carries what it can (:mod:`.h2`); grpcio's own where it is absent.
CODEC = "pyrpc_xds.codec"
#: The codec of channels and servers that are not given one.
CODEC_VARIABLE = "PYRPC_XDS_TRIPLE_CODEC"

DEFAULTS: Options = (
    # An endpoint is one address out of EDS: no service config to look up, no proxy to go through, and no
    # connection shared with channels that this package does not know (they would outlive a drain).
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # While an endpoint is down its calls go elsewhere, so trying it again soon costs little and finds it
    # sooner (gRPC's own: 1 s to 120 s). The last is the limit of one connection attempt (gRPC's own: 20 s).
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # gRFC A8 and A9: pings only while calls run, and no oftener than servers allow by default (5 minutes).
    # It is the time-out that detects a dead peer soon: gRPC also sets it as TCP_USER_TIMEOUT for
    # unacknowledged data.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # Of grpc's other pings, likewise (its own: 60 s where keepalive is set, for ever where not). A channel that is
    # closed while grpc writes one is kept for as long (grpcio 1.85.1).
    ("grpc.http2.ping_timeout_ms", 20_000),
)

#: The method of the calls that are made to hear why an endpoint is not READY: grpcio says it in no other way.
PROBE = "/grpc.health.v1.Health/Check"

#: Seconds that running calls have when a server stops: Kubernetes' terminationGracePeriodSeconds.
DEFAULT_GRACE = 30.0


def merged(authority: str, options: Iterable[tuple[str, Any]] | None) -> Options:
    """The defaults, the target's authority, and on top of them what the caller gave.

    :param authority: ``host:port`` of the target: the ``:authority`` of its calls whatever their endpoint.
    """
    values = dict(DEFAULTS)
    values["grpc.default_authority"] = authority
    values.update(options or ())
    return tuple(values.items())


def grpc_address(address: str) -> str:
    """An endpoint's address as a gRPC target that resolves to itself without a look-up.

    :param address: ``host:port``, ``[v6]:port`` or ``unix:PATH``.
    """
    if address.startswith("unix:"):
        return address
    host = address.rpartition(":")[0]
    if host.startswith("["):
        return f"ipv6:{address}"
    return f"ipv4:{address}" if host.replace(".", "").isdigit() else f"dns:///{address}"


def chosen(codec: str | None) -> str | None:
    """The codec, if it is not grpcio's own.

    :param codec: ``grpcio`` or ``nghttp2``; ``None``: what :data:`CODEC_VARIABLE` says, or grpcio's.
    :raises UsageError: it is another; :class:`ConfigError`: it is not there.
    """
    given, codec = codec, codec or os.environ.get(CODEC_VARIABLE) or "grpcio"
    if codec == "grpcio":
        return None
    if codec != "nghttp2":
        where = f"codec={codec!r}" if given else f"the environment variable {CODEC_VARIABLE} is {codec!r}"
        raise UsageError(f"{where}: expected 'grpcio' or 'nghttp2'")
    from .h2 import library

    library.load()
    return codec


def with_codec(options: Iterable[tuple[str, Any]] | None, codec: str | None) -> Options:
    """The caller's options, and the codec among them; errors are those of :func:`chosen`."""
    found = chosen(codec)
    return tuple(options or ()) if found is None else (*(options or ()), (CODEC, found))
