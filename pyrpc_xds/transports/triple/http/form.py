"""HTTP requests and responses as Triple calls: headers and bytes in, headers and bytes out.

The form is that of dubbo-go (3.3.0), which has it from the Connect protocol: ``POST /package.Service/Method`` with
``application/json`` or ``application/proto`` and the message as the body. What a gRPC call has as trailers comes
back as headers with the prefix ``trailer-``. Errors are always JSON: ``{"code": ..., "message": ...}``.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import grpc

from .. import status as details_trailer

TIMEOUT = "triple-timeout-ms"
VERSION_HEADER = "triple-protocol-version"
VERSION = "0.1.0"
TRAILER_PREFIX = "trailer-"
JSON = "application/json"
PROTO = "application/proto"
GRPC = "application/grpc"
ACCEPT_POST = f"{JSON}, {PROTO}"

Headers = tuple[tuple[str, str], ...]
Code = grpc.StatusCode

# dubbo-go's table (3.3.0), except for a message beyond the limit, see Refused.
_STATUS = {
    Code.CANCELLED: ("canceled", 408),
    Code.UNKNOWN: ("unknown", 500),
    Code.INVALID_ARGUMENT: ("invalid_argument", 400),
    Code.DEADLINE_EXCEEDED: ("deadline_exceeded", 408),
    Code.NOT_FOUND: ("not_found", 404),
    Code.ALREADY_EXISTS: ("already_exists", 409),
    Code.PERMISSION_DENIED: ("permission_denied", 403),
    Code.RESOURCE_EXHAUSTED: ("resource_exhausted", 429),
    Code.FAILED_PRECONDITION: ("failed_precondition", 412),
    Code.ABORTED: ("aborted", 409),
    Code.OUT_OF_RANGE: ("out_of_range", 400),
    Code.UNIMPLEMENTED: ("unimplemented", 404),
    Code.INTERNAL: ("internal", 500),
    Code.UNAVAILABLE: ("unavailable", 503),
    Code.DATA_LOSS: ("data_loss", 500),
    Code.UNAUTHENTICATED: ("unauthenticated", 401),
}
_BUSINESS_STATUS = 500
_LAST_OF_GRPC = Code.UNAUTHENTICATED.value[0]

# Of one hop, or of HTTP itself (RFC 9110), or what browsers say of themselves: no metadata. What an application
# may want to see (authorization, cookie, origin, user-agent, forwarded) stays.
_OF_HTTP = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "access-control-request-headers",
        "access-control-request-method",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "dnt",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "pragma",
        "priority",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "upgrade-insecure-requests",
        "via",
        TIMEOUT,
        VERSION_HEADER,
    }
)
_MILLISECONDS = re.compile(r"[0-9]{1,10}\Z", re.ASCII)
# Below it gzip costs more than it saves.
_SMALLEST_TO_COMPRESS = 1024
_PREFLIGHT_SECONDS = 7200


@dataclass(frozen=True, slots=True)
class Request:
    """A request of HTTP, with or without its body.

    :param method: ``POST``.
    :param target: path and query as they came.
    :param headers: names are lower-case.
    :param peer: where it comes from, as grpcio writes it: ``ipv4:10.0.0.1:4711``.
    """

    method: str
    target: str
    headers: Headers
    body: bytes = b""
    peer: str = ""

    def header(self, name: str) -> str:
        """The value of a header; several are joined by ``,``; empty: there is none."""
        return ",".join(value for key, value in self.headers if key == name)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of HTTP. ``content-length`` is the front's to add."""

    status: int
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has the form of a call.

    :param path: ``/package.Service/Method``.
    :param json: the form of its message, and of the answer; else protobuf.
    :param seconds: its deadline, from now; ``None``: none.
    :param compress: the caller takes gzip.
    """

    path: str
    metadata: tuple[tuple[str, str | bytes], ...]
    body: bytes
    json: bool
    seconds: float | None
    compress: bool
    peer: str


class Refused(Exception):
    """A request that becomes no call.

    :param status: of HTTP, where that says more than the code does (413: too large, 415: content type).
    """

    def __init__(self, code: Code, message: str, status: int | None = None, headers: Headers = ()) -> None:
        self.code, self.message, self.status, self.headers = code, message, status, headers
        super().__init__(message)

    @property
    def response(self) -> Response:
        """What the peer is told."""
        response = error(self.code, self.message)
        return replace(
            response, status=self.status or response.status, headers=(*response.headers, *self.headers)
        )


def admit(request: Request, limit: int) -> None:
    """Look at the head of a request, before its body is read.

    :param limit: bytes that the body may have.
    :raises Refused: it is no call.
    """
    if request.method != "POST":
        raise Refused(
            Code.UNIMPLEMENTED, f"{request.method} is not served: calls are POST", 405, (("allow", "POST"),)
        )
    if request.header("transfer-encoding") and request.header("content-length"):
        # A proxy that goes by the other of the two would see other requests (RFC 9112, 6.1 and 11.2).
        raise Refused(Code.INVALID_ARGUMENT, "transfer-encoding and content-length exclude each other")
    _is_json(request)
    encoding = request.header("content-encoding").lower()
    if encoding not in ("", "identity", "gzip"):
        raise Refused(
            Code.UNIMPLEMENTED,
            f"unknown compression {encoding!r}: supported is gzip",
            415,
            (("accept-encoding", "gzip"),),
        )
    version = request.header(VERSION_HEADER)
    if version not in ("", VERSION):
        raise Refused(Code.INVALID_ARGUMENT, f"{VERSION_HEADER} must be {VERSION!r}: got {version!r}")
    length = request.header("content-length")
    if length.isascii() and length.isdigit() and int(length[:19]) > limit:
        raise too_large(limit)


def too_large(limit: int) -> Refused:
    """The refusal of a message beyond the limit.

    gRPC's code has 429 in dubbo-go, which tells an HTTP client to try again; 413 is what HTTP has for it.
    """
    return Refused(Code.RESOURCE_EXHAUSTED, f"message is larger than configured max {limit}", 413)


def call_of(request: Request, limit: int) -> Call:
    """The call that a whole request asks for.

    :raises Refused: it asks for none.
    """
    as_json = _is_json(request)
    milliseconds = request.header(TIMEOUT)
    if milliseconds and not _MILLISECONDS.match(milliseconds):
        raise Refused(Code.INVALID_ARGUMENT, f"{TIMEOUT}: {milliseconds[:40]!r} is not 1 to 10 digits")
    body = request.body
    if request.header("content-encoding").lower() == "gzip" and body:
        body = _inflated(body, limit)
    if len(body) > limit:
        raise too_large(limit)
    return Call(
        path=request.target.partition("?")[0],
        metadata=_metadata(request.headers),
        body=body,
        json=as_json,
        seconds=int(milliseconds) / 1000 if milliseconds else None,
        compress=_takes_gzip(request.header("accept-encoding")),
        peer=request.peer,
    )


def answer(call: Call, body: bytes, initial: Any, trailing: Any) -> Response:
    """The response of a call that succeeded.

    :param initial: its initial metadata; ``trailing``: its trailers.
    """
    headers = [("content-type", JSON if call.json else PROTO), *_sent(initial, trailing)]
    if len(body) >= _SMALLEST_TO_COMPRESS:
        headers.append(("vary", "accept-encoding"))
        if call.compress:
            headers.append(("content-encoding", "gzip"))
            body = gzip.compress(body, 5, mtime=0)
    return Response(200, tuple(headers), body)


def error(code: Code, message: str, initial: Any = (), trailing: Any = ()) -> Response:
    """The response of a call that failed.

    A business error has its code in the trailer that grpcio has it in (:mod:`..status`).
    """
    name, status = _STATUS.get(code, _STATUS[Code.UNKNOWN])
    wire: dict[str, Any] = {}
    data = next((value for key, value in trailing or () if key == details_trailer.TRAILER), None)
    told = details_trailer.decode(data) if isinstance(data, bytes) else None
    if told is not None and told[0] > _LAST_OF_GRPC:
        name, status = f"code_{told[0]}", _BUSINESS_STATUS
    wire["code"] = name
    if message:
        wire["message"] = message
    if isinstance(data, bytes) and (found := details_trailer.details(data)):
        wire["details"] = [
            {"type": kind.rpartition("/")[2], "value": base64.b64encode(value).decode().rstrip("=")}
            for kind, value in found
        ]
    kept = [pair for pair in trailing or () if pair[0] != details_trailer.TRAILER]
    return Response(
        status,
        (("content-type", JSON), *_sent(initial, kept)),
        # Exceptions may quote names of files, with the surrogates that Python has for what is no text.
        json.dumps(wire, ensure_ascii=False).encode(errors="replace"),
    )


def preflight(request: Request, origins: tuple[str, ...]) -> Response | None:
    """The answer to a browser that asks whether it may call (CORS); ``None``: it is none that may."""
    asked = request.header("access-control-request-method")
    if request.method != "OPTIONS" or not asked or not _allowed(request, origins):
        return None
    headers: Headers = (
        ("access-control-allow-methods", "POST"),
        ("access-control-max-age", str(_PREFLIGHT_SECONDS)),
    )
    names = request.header("access-control-request-headers")
    if names and names.isascii():
        headers = (*headers, ("access-control-allow-headers", names))
    return Response(204, headers)


def misdirected(request: Request) -> Response | None:
    """The answer to a gRPC client that has taken this for the gRPC port, in gRPC's terms: it would show no more of
    another one than the status of HTTP. ``None``: it is none.
    """
    if request.header("te") != "trailers" or not request.header("content-type").startswith(GRPC):
        return None
    message = f"this port serves Triple over HTTP ({ACCEPT_POST}), not gRPC: is the port the right one?"
    status = str(Code.UNIMPLEMENTED.value[0])
    return Response(200, (("content-type", GRPC), ("grpc-status", status), ("grpc-message", message)))


def shared(request: Request, response: Response, origins: tuple[str, ...]) -> Response:
    """The response with what lets a page of an allowed origin read it (CORS)."""
    if not origins:
        return response
    headers = [*response.headers, ("vary", "origin")]
    if _allowed(request, origins):
        headers.append(("access-control-allow-origin", request.header("origin")))
        names = sorted({name for name, _ in response.headers} - {"content-type", "vary"})
        if names:
            headers.append(("access-control-expose-headers", ", ".join(names)))
    return replace(response, headers=tuple(headers))


def _allowed(request: Request, origins: tuple[str, ...]) -> bool:
    origin = request.header("origin")
    # It is sent back, and browsers write no other.
    return bool(origin) and origin.isascii() and ("*" in origins or origin in origins)


def _is_json(request: Request) -> bool:
    given = request.header("content-type")
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    charset = parameters.strip().lower().replace(" ", "").replace('"', "")
    if kind == JSON and charset in ("", "charset=utf-8"):
        return True
    if kind == PROTO and not charset:
        return False
    hint = f"; {kind} is for the gRPC port" if kind.startswith(GRPC) else ""
    raise Refused(
        Code.UNIMPLEMENTED,
        f"content-type {given[:80]!r} is not served here: it is one of {ACCEPT_POST}{hint}",
        415,
        (("accept-post", ACCEPT_POST),),
    )


def _takes_gzip(accept: str) -> bool:
    for part in accept.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if name.strip() == "gzip":
            return not re.fullmatch(r"q=0(\.0*)?", quality.strip())
    return False


def _inflated(body: bytes, limit: int) -> bytes:
    """gzip's members, one after the other, never more than the limit.

    :raises Refused: it is not gzip, or more.
    """
    found = bytearray()
    try:
        while body:
            member = zlib.decompressobj(31)
            found += member.decompress(body, limit + 1 - len(found))
            if len(found) > limit:
                raise too_large(limit)
            if not member.eof:
                raise Refused(Code.INVALID_ARGUMENT, "decompress: the body ends within its gzip stream")
            body = member.unused_data
    except zlib.error as problem:
        raise Refused(Code.INVALID_ARGUMENT, f"decompress: {problem}") from None
    return bytes(found)


def _metadata(headers: Headers) -> tuple[tuple[str, str | bytes], ...]:
    found: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in _OF_HTTP or name.startswith(("sec-", ":")):
            continue
        if name.endswith("-bin"):
            # gRPC's rule for headers: several values joined by a comma are several values.
            found += [(name, _decoded(name, part.strip())) for part in value.split(",")]
        else:
            found.append((name, value))
    return tuple(found)


def _decoded(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Code.INVALID_ARGUMENT, f"header {name}: not base64") from None


def _sent(initial: Any, trailing: Any) -> Iterable[tuple[str, str]]:
    for name, value in initial or ():
        if name not in _OF_HTTP and name != "content-type":
            yield name, _encoded(value)
    for name, value in trailing or ():
        yield TRAILER_PREFIX + name, _encoded(value)


def _encoded(value: str | bytes) -> str:
    # gRPC lets values begin or end with spaces; HTTP has none there (RFC 9110, 5.5).
    return value.strip(" ") if isinstance(value, str) else base64.b64encode(value).decode().rstrip("=")
