"""A naive route table: model objects interpreted one after the other, written from gRFC A28 and Envoy's API.

It shares nothing with the package but the model. Regular expressions go to google-re2 unchanged.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

import re2

from pyrpc_xds.model.route import (
    HeaderMatcher,
    PathMatch,
    PathMatcher,
    PresentMatcher,
    RangeMatcher,
    Route,
    RouteConfiguration,
    StringMatch,
    StringMatcher,
    VirtualHost,
)

WHITE = " \t\n\v\f\r"


def lower(text: str) -> str:
    return "".join(c.lower() if c in string.ascii_uppercase else c for c in text)


def full_match(pattern: str, text: str) -> bool:
    return re2.fullmatch(pattern, text) is not None


def path_matches(path: PathMatcher, text: str) -> bool:
    wanted = path.value
    if path.kind is PathMatch.REGEX:
        return full_match(wanted, text)
    if not path.case_sensitive:
        wanted, text = lower(wanted), lower(text)
    if path.kind is PathMatch.EXACT:
        return text == wanted
    if path.kind is PathMatch.PREFIX:
        return text[: len(wanted)] == wanted
    return text == wanted or text[: len(wanted) + 1] == wanted + "/"


def string_matches(matcher: StringMatcher, text: str) -> bool:
    wanted = matcher.value
    if matcher.kind is StringMatch.REGEX:
        return full_match(wanted, text)
    if matcher.ignore_case:
        wanted, text = lower(wanted), lower(text)
    if matcher.kind is StringMatch.EXACT:
        return text == wanted
    if matcher.kind is StringMatch.PREFIX:
        return text[: len(wanted)] == wanted
    if matcher.kind is StringMatch.SUFFIX:
        return text[max(0, len(text) - len(wanted)) :] == wanted
    return any(text[at : at + len(wanted)] == wanted for at in range(len(text) + 1))


def in_range(matcher: RangeMatcher, text: str) -> bool:
    while text and text[0] in WHITE:
        text = text[1:]
    while text and text[-1] in WHITE:
        text = text[:-1]
    sign = -1 if text[:1] == "-" else 1
    digits = text[1:] if text[:1] in ("-", "+") and text else text
    if not digits or any(digit not in string.digits for digit in digits):
        return False
    number = 0
    for digit in digits:
        number = number * 10 + string.digits.index(digit)
    return matcher.start <= sign * number < matcher.end


def header_matches(header: HeaderMatcher, headers: Mapping[str, str]) -> bool:
    value = None if header.name.endswith("-bin") else headers.get(header.name)
    if value is None and header.name == "content-type":
        value = "application/grpc"
    if value is None and header.missing_as_empty:
        value = ""
    if isinstance(header.matcher, PresentMatcher):
        return ((value is not None) == header.matcher.present) != header.invert
    if value is None:
        return False
    if isinstance(header.matcher, RangeMatcher):
        return in_range(header.matcher, value) != header.invert
    return string_matches(header.matcher, value) != header.invert


def route_matches(route: Route, path: str, headers: Mapping[str, str]) -> bool:
    """Fractions are 0, a million or none: what is drawn is tested elsewhere."""
    assert route.match.fraction in (None, 0, 1_000_000)
    return (
        path_matches(route.match.path, path)
        and all(header_matches(header, headers) for header in route.match.headers)
        and route.match.fraction != 0
    )


def first_match(host: VirtualHost, path: str, headers: Mapping[str, str]) -> int | None:
    for index, route in enumerate(host.routes):
        if route_matches(route, path, headers):
            return index
    return None


def fits(domain: str, authority: str) -> tuple[int, int] | None:
    """How well; greater is better."""
    domain, authority = lower(domain), lower(authority)
    longer = len(authority) >= len(domain)
    if domain == "*":
        return (0, 0)
    if domain[0] == "*":
        return (2, len(domain)) if longer and authority.endswith(domain[1:]) else None
    if domain[-1] == "*":
        return (1, len(domain)) if longer and authority.startswith(domain[:-1]) else None
    return (3, 0) if domain == authority else None


def virtual_host(config: RouteConfiguration, host: str, port: str) -> VirtualHost | None:
    """As given, then without the port, then the domain for all."""
    found = []
    for vhost in config.virtual_hosts:
        for domain in vhost.domains:
            for spelling, preference in ((f"{host}:{port}", 1), (host, 0)):
                fit = fits(domain, spelling)
                if fit is not None:
                    found.append(((fit[0] > 0, preference, *fit), vhost))
    return max(found, key=lambda one: one[0])[1] if found else None
