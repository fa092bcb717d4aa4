"""gRPC over HTTP/2 (the gRPC project's PROTOCOL-HTTP2.md): metadata, timeouts and statuses as headers.

Metadata travels in lower case; that of a name ending in ``-bin`` as base64 without padding, a message as
percent-encoded UTF-8.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import grpc

STATUS = {status.value[0]: status for status in grpc.StatusCode}
CODES = {status: status.value[0] for status in grpc.StatusCode}

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")
# HTTP's and gRPC's own names: not metadata.
_HTTP = {
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
}
_OWN = {
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-internal-encoding-request",
    "grpc-message",
    "grpc-message-type",
    "grpc-previous-rpc-attempts",
    "grpc-status",
    "grpc-timeout",
}
_NAME_SENT = re.compile(_NAME.pattern.encode())
_VALUE_SENT = re.compile(_VALUE.pattern.encode())
_NOT_ANSWERED = {
    name.encode()
    for name in (_HTTP | _OWN) - {"host", "user-agent", "grpc-message-type", "grpc-previous-rpc-attempts"}
}
_NOT_REMEMBERED = {b"grpc-status-details-bin"}
# gRPC's "HTTP2 Transport Mapping": what an error code of RST_STREAM means.
_OF_RESET = {
    7: grpc.StatusCode.UNAVAILABLE,
    8: grpc.StatusCode.CANCELLED,
    11: grpc.StatusCode.RESOURCE_EXHAUSTED,
    12: grpc.StatusCode.PERMISSION_DENIED,
}
# gRPC's "HTTP to gRPC Status Code Mapping".
_OF_HTTP = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}

#: Name, value, and whether HPACK may remember the pair.
Field = tuple[bytes, bytes, bool]


class Metadatum(NamedTuple):
    """One pair of metadata, in grpcio's shape."""

    key: str
    value: str | bytes


def sent(metadata: Iterable[tuple[Any, Any]]) -> tuple[Field, ...] | None:
    """Metadata as header fields; ``None``: some of it is not ours to send (invalid, or HTTP's own names)."""
    fields = []
    for pair in metadata:
        try:
            name, value = pair
        except (TypeError, ValueError):
            return None
        if type(name) is not str or name in _HTTP or name.startswith("grpc-") or not _NAME.fullmatch(name):
            return None
        if name.endswith("-bin"):
            if type(value) is not bytes:
                return None
            encoded = binascii.b2a_base64(value, newline=False).rstrip(b"=")
        elif type(value) is str and _VALUE.fullmatch(value):
            encoded = value.encode("ascii")
        else:
            return None
        fields.append((name.encode("ascii"), encoded, True))
    return tuple(fields)


def listed(fields: Iterable[Field]) -> int:
    """Bytes of a header list, as RFC 9113 (6.5.2) counts them."""
    return sum(len(name) + len(value) + 32 for name, value, _ in fields)


def answered(metadata: Iterable[tuple[Any, Any]] | None) -> tuple[Field, ...]:
    """Metadata of a server's answer as header fields, as grpcio sends it: gRPC's own names are left out, and the
    names of connections, which break HTTP/2 (grpcio sends those).

    :raises ValueError: some of it cannot travel; :class:`TypeError`: it is not metadata.
    """
    return tuple(
        (name, value, name not in _NOT_REMEMBERED)
        for name, value in (_field(name, value) for name, value in metadata or ())
        if name not in _NOT_ANSWERED
    )


def _field(name: Any, value: Any) -> tuple[bytes, bytes]:
    name = _encoded(name)
    if not _NAME_SENT.fullmatch(name):
        raise ValueError(f"the name {name!r} cannot travel")
    if name.endswith(b"-bin"):
        if type(value) is not bytes:
            raise TypeError(f'Binary metadata key="{name.decode()}" expected bytes, got {type(value)}')
        return name, binascii.b2a_base64(value, newline=False).rstrip(b"=")
    value = _encoded(value)
    if not _VALUE_SENT.fullmatch(value):
        raise ValueError(f"the value of {name.decode()} cannot travel")
    return name, value.strip(b" ")


def _encoded(text: Any) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes):
        return text
    raise TypeError(f"Expected bytes, str, or unicode, not {type(text)}")


def ending(
    code: int, details: bytes, metadata: tuple[Field, ...], most_bytes: int, most_fields: int
) -> tuple[Field, ...]:
    """The trailers of an answer, within limits: what is too much is left out, and the status says so.

    A long message is cut. Metadata that is left out fails a call that would have gone well; the status of another
    stays.

    :param details: of the status, as UTF-8.
    """
    said = message(details)
    if len(said) > most_bytes // 2:
        said = message(details[: most_bytes // 8] + b"...")
    # Before it may be :status and content-type; with grpc-status and the name of grpc-message they are under 200 bytes.
    if listed(metadata) + len(said) + 200 > most_bytes or len(metadata) + 4 > most_fields:
        what = b"the trailing metadata (%d fields, %d bytes) is too large" % (len(metadata), listed(metadata))
        said = what + (b", and was left out: " + said if said else b"")
        code, metadata = code or grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], ()
    status = (b"grpc-status", b"%d" % code, True)
    return (status, (b"grpc-message", said, False), *metadata) if said else (status, *metadata)


def received(fields: Iterable[tuple[str, str]]) -> tuple[Metadatum, ...]:
    """Header fields as metadata, without HTTP's and gRPC's own; binary values that are not base64 are left out."""
    pairs = []
    for name, value in fields:
        if name[0] == ":" or name in _OWN or (name in _HTTP and name != "user-agent"):
            continue
        if name.endswith("-bin"):
            for part in value.split(","):  # gRPC's rule for values that were joined on their way
                try:
                    pairs.append(Metadatum(name, binascii.a2b_base64(part.strip() + "==")))
                except binascii.Error:
                    pass
        else:
            pairs.append(Metadatum(name, value))
    return tuple(pairs)


def timeout(seconds: float) -> bytes:
    """The value of ``grpc-timeout``: at most eight digits and a unit; rounded up, so that it never ends early."""
    for unit, scale in ((b"u", 1e6), (b"m", 1e3), (b"S", 1.0), (b"M", 1 / 60)):
        amount = int(seconds * scale) + 1
        if amount < 100_000_000:
            return b"%d%s" % (amount, unit)
    return b"99999999H"


_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")


def seconds_of(value: str) -> float | None:
    """The seconds of a ``grpc-timeout``; ``None``: it is none."""
    found = _TIMEOUT.fullmatch(value)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def message(text: str | bytes) -> bytes:
    """The value of ``grpc-message``; bytes are UTF-8."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode("ascii")


def text(value: str) -> str:
    """What a ``grpc-message`` says."""
    return unquote(value, errors="replace")


def of_reset(code: int) -> grpc.StatusCode:
    """The status of a stream that the peer reset."""
    return _OF_RESET.get(code, grpc.StatusCode.INTERNAL)


def of_http(status: int) -> grpc.StatusCode:
    """The status of an answer without one."""
    return _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
