"""VirtualService, read from its YAML."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta

from .fields import Fields, check_export_to
from .meta import Meta
from .names import qualify
from .regexes import check_regex
from .resources import (
    Abort,
    Cors,
    Delay,
    Destination,
    DirectResponse,
    Fault,
    HeaderOperations,
    Headers,
    HttpMatch,
    HttpRoute,
    MatchKind,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    StringMatch,
    VirtualService,
    WeightedDestination,
)

_RETRY_ON = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
_GRPC_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def read_virtual_service(meta: Meta, document: Fields) -> VirtualService:
    """A VirtualService. Raises ConfigError."""
    spec = document.child("spec")
    hosts = spec.texts("hosts")
    if not hosts:
        spec.note("spec.hosts is empty: delegate VirtualServices are not served here")
    if not any(spec.has(name) for name in ("http", "tcp", "tls")):
        spec.fail("http", "is missing", "Say where calls go.")
    full = [qualify(host, meta.namespace, spec.domain).lower() for host in hosts]
    if len(set(full)) != len(full):
        spec.fail("hosts", "name one host twice", "Name each once.")
    check_export_to(spec, meta)
    spec.no_effect("tcp", "tls")
    routes = []
    for field in spec.children("http"):
        if field.has("delegate"):
            field.note(f"{field.path}.delegate is not served here; the entry is left out")
            continue
        routes.append(_http_route(field, meta))
    service = VirtualService(
        meta=meta,
        hosts=tuple(full),
        http=tuple(routes),
        gateways=spec.texts("gateways"),
        export_to=spec.texts("exportTo"),
    )
    spec.finish()
    return service


def _http_route(field: Fields, meta: Meta) -> HttpRoute:
    destinations = tuple(_weighted(item, meta) for item in field.children("route"))
    actions = [name for name in ("route", "redirect", "directResponse") if field.has(name)]
    if len(actions) != 1:
        given = " and ".join(actions) or "no action"
        field.fail("", f"has {given}", "Give exactly one of route, redirect, directResponse.")
    if actions == ["route"]:
        if not destinations:
            field.fail("route", "is empty", "Name at least one destination.")
        if len(destinations) > 1 and not sum(item.weight for item in destinations):
            field.fail("route", "has weights that sum up to 0", "Give the destinations weights.")
    mirrors = [_mirror(item, item, meta) for item in field.children("mirrors")]
    if (old := field.optional_child("mirror")) is not None:
        mirrors.insert(0, _mirror(old, field, meta, old=True))
    field.ignore("mirrorPercentage", "mirrorPercent", "mirror_percent")
    headers = field.optional_child("headers")
    route = HttpRoute(
        name=field.text("name"),
        match=tuple(_match(item) for item in field.children("match")),
        route=destinations,
        timeout=field.duration("timeout"),
        retries=_retries(field.optional_child("retries")),
        fault=_fault(field.optional_child("fault")),
        mirrors=tuple(mirrors),
        rewrite=_rewrite(field.optional_child("rewrite")),
        redirect=_redirect(field.optional_child("redirect")),
        direct_response=_direct_response(field.optional_child("directResponse")),
        cors=_cors(field.optional_child("corsPolicy")),
        headers=_headers(headers) if headers is not None else None,
    )
    field.finish()
    return route


def _string_match(field: Fields) -> StringMatch:
    given = [kind for kind in ("exact", "prefix", "regex") if field.has(kind)]
    if len(given) > 1:
        field.fail("", f"has {' and '.join(given)}", "Give one of exact, prefix, regex.")
    value = field.text(given[0]) if given else ""
    field.ignore("exact", "prefix", "regex")
    field.finish()
    if not given:
        return StringMatch(MatchKind.PRESENT)
    if given == ["regex"]:
        check_regex(field, "regex", value)
    return StringMatch(MatchKind(given[0]), value)


def _optional_match(field: Fields, name: str) -> StringMatch | None:
    child = field.optional_child(name)
    return None if child is None else _string_match(child)


def _named_matches(field: Fields, name: str) -> tuple[tuple[str, StringMatch], ...]:
    found = []
    for header, child in field.entries(name):
        if header.startswith("@request.auth.claims"):
            child.fail("", "matches a JWT claim, which is not served here", "Match a header instead.")
        found.append((header, _string_match(child)))
    return tuple(found)


def _match(field: Fields) -> HttpMatch:
    match = HttpMatch(
        name=field.text("name"),
        uri=_optional_match(field, "uri"),
        ignore_uri_case=field.boolean("ignoreUriCase"),
        method=_optional_match(field, "method"),
        authority=_optional_match(field, "authority"),
        scheme=_optional_match(field, "scheme"),
        headers=_named_matches(field, "headers"),
        without_headers=_named_matches(field, "withoutHeaders"),
        query_params=_named_matches(field, "queryParams"),
        port=field.integer("port", 0, high=65535),
        source_labels=field.labels("sourceLabels"),
        source_namespace=field.text("sourceNamespace"),
        gateways=field.texts("gateways"),
        stat_prefix=field.text("statPrefix"),
    )
    field.finish()
    return match


def _destination(field: Fields, meta: Meta) -> Destination:
    port = field.child("port")
    destination = Destination(
        host=qualify(field.text("host", None), meta.namespace, field.domain),
        subset=field.text("subset"),
        port=port.port("number") if field.has("port") else 0,
    )
    port.ignore("number")
    port.finish()
    field.finish()
    return destination


def _weighted(field: Fields, meta: Meta) -> WeightedDestination:
    if not field.has("destination"):
        field.fail("destination", "is missing", "Name the host that the calls go to.")
    headers = field.optional_child("headers")
    weighted = WeightedDestination(
        destination=_destination(field.child("destination"), meta),
        weight=field.integer("weight", 0, high=2**31 - 1),
        headers=_headers(headers) if headers is not None else Headers(),
    )
    field.finish()
    return weighted


def _mirror(field: Fields, owner: Fields, meta: Meta, *, old: bool = False) -> Mirror:
    destination = _destination(field if old else field.child("destination"), meta)
    percentage = _percentage(owner, "mirrorPercentage" if old else "percentage")
    integer = owner.integer("mirrorPercent", 0, high=100) if old and owner.has("mirrorPercent") else None
    if not old:
        field.finish()
    return Mirror(destination, percentage, integer)


def _headers(field: Fields) -> Headers:
    def operations(name: str) -> HeaderOperations:
        child = field.child(name)
        found = HeaderOperations(
            set=tuple(child.labels("set").items()),
            add=tuple(child.labels("add").items()),
            remove=child.texts("remove"),
        )
        for header in (*(key for key, _ in found.set), *(key for key, _ in found.add), *found.remove):
            if header.startswith(":") and header != ":authority":
                child.fail("", f"changes {header!r}, which is not a header", "Use rewrite.")
        child.finish()
        return found

    headers = Headers(operations("request"), operations("response"))
    field.finish()
    return headers


def _retries(field: Fields | None) -> Retries | None:
    if field is None:
        return None
    retries = Retries(
        attempts=field.integer("attempts", 0, high=2**31 - 1),
        per_try_timeout=field.duration("perTryTimeout"),
        retry_on=field.text("retryOn"),
        remote_localities=field.boolean("retryRemoteLocalities"),
        ignore_previous_hosts=field.optional_boolean("retryIgnorePreviousHosts"),
        backoff=field.duration("backoff"),
    )
    if not retries.attempts and (retries.retry_on or retries.per_try_timeout or retries.remote_localities):
        field.fail("attempts", "is 0, which turns retrying off, beside settings for it", "Set attempts.")
    for condition in retries.retry_on.split(",") if retries.retry_on else ():
        if condition not in _RETRY_ON and not condition.isdigit():
            field.fail(
                "retryOn", f"has {condition!r}", f"It can be {', '.join(_RETRY_ON)}, or a status code."
            )
    field.finish()
    return retries


def _fault(field: Fields | None) -> Fault | None:
    if field is None:
        return None
    delay = abort = None
    if (child := field.optional_child("delay")) is not None:
        fixed = child.duration("fixedDelay")
        if fixed is None or fixed <= timedelta(0):
            child.fail("fixedDelay", "is missing or zero", "Write it with its unit, such as 5s.")
        percent = child.integer("percent", 0, high=100)
        delay = Delay(fixed, _percentage(child, "percentage"), percent)
        child.finish()
    if (child := field.optional_child("abort")) is not None:
        status = child.integer("httpStatus", 0, low=200, high=599) if child.has("httpStatus") else None
        number = None
        if child.has("grpcStatus"):
            name = child.text("grpcStatus")
            if name not in _GRPC_STATUS:
                child.fail("grpcStatus", f"is {name!r}", f"It can be {', '.join(_GRPC_STATUS)}.")
            number = _GRPC_STATUS.index(name)
        if (status is None) == (number is None):
            child.fail("", "does not say which status", "Give one of httpStatus, grpcStatus.")
        abort = Abort(status, number, _percentage(child, "percentage"))
        child.finish()
    field.finish()
    return Fault(delay, abort)


def _rewrite(field: Fields | None) -> Rewrite | None:
    if field is None:
        return None
    regex = field.child("uriRegexRewrite")
    rewrite = Rewrite(
        uri=field.text("uri"),
        authority=field.text("authority"),
        regex=regex.text("match"),
        substitution=regex.text("rewrite"),
    )
    if rewrite.regex:
        check_regex(regex, "match", rewrite.regex)
    regex.finish()
    field.finish()
    return rewrite


def _redirect(field: Fields | None) -> Redirect | None:
    if field is None:
        return None
    derive = field.choice(
        "derivePort", ("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"), "FROM_PROTOCOL_DEFAULT"
    )
    code = field.integer("redirectCode", 301)
    if code not in {0, 301, 302, 303, 307, 308}:
        field.fail("redirectCode", f"is {code}", "It can be 301, 302, 303, 307, 308.")
    redirect = Redirect(
        uri=field.text("uri"),
        prefix_rewrite=field.text("prefixRewrite"),
        authority=field.text("authority"),
        scheme=field.text("scheme"),
        port=field.port("port") if field.has("port") else None,
        from_request_port=derive == "FROM_REQUEST_PORT",
        code=code or 301,
    )
    field.ignore("port")
    field.finish()
    return redirect


def _direct_response(field: Fields | None) -> DirectResponse | None:
    if field is None:
        return None
    body = field.child("body")
    data = None
    if body.has("bytes"):
        try:
            data = base64.b64decode(body.text("bytes"), validate=True)
        except binascii.Error:
            body.fail("bytes", "is not base64")
    response = DirectResponse(
        status=field.integer("status", None, low=200, high=599),
        text=body.text("string") if body.has("string") else None,
        data=data,
    )
    body.ignore("string", "bytes")
    body.finish()
    field.finish()
    return response


def _cors(field: Fields | None) -> Cors | None:
    if field is None:
        return None
    origins = tuple(_string_match(item) for item in field.children("allowOrigins"))
    if not origins:
        origins = tuple(StringMatch(MatchKind.EXACT, text) for text in field.texts("allowOrigin"))
    cors = Cors(
        allow_origins=origins,
        allow_methods=field.texts("allowMethods"),
        allow_headers=field.texts("allowHeaders"),
        expose_headers=field.texts("exposeHeaders"),
        max_age=field.duration("maxAge"),
        allow_credentials=field.optional_boolean("allowCredentials"),
        ignore_unmatched_preflights=field.text("unmatchedPreflights") == "IGNORE",
    )
    field.ignore("allowOrigin")
    field.finish()
    return cors


def _percentage(field: Fields, name: str) -> float | None:
    child = field.optional_child(name)
    if child is None:
        return None
    value = child.number("value", low=0, high=100)
    child.finish()
    return value or 0.0
