"""What a route matches: Istio's HTTPMatchRequest as Envoy's RouteMatch.

Source: the Envoy API (RouteMatch, HeaderMatcher, QueryParameterMatcher) and istiod's answers.
"""

from __future__ import annotations

from .envoy import HeaderMatcher, QueryParameterMatcher, RegexMatcher, RouteMatch
from .names import NodeView
from .resources import HttpMatch, MatchKind, StringMatch
from .wire import string_matcher


def applies(match: HttpMatch, node: NodeView, port: int) -> bool:
    """Whether a match concerns this node and port at all; its port, gateways and source are not sent."""
    if match.port and match.port != port:
        return False
    if match.gateways:
        return "mesh" in match.gateways
    labels = node.label_map
    if any(labels.get(key) != value for key, value in match.source_labels.items()):
        return False
    return match.source_namespace in {"", node.namespace}


def route_match(match: HttpMatch | None) -> RouteMatch:
    """The match of a route; None matches everything."""
    if match is None:
        return RouteMatch(prefix="/")
    headers = [header_matcher(name, value) for name, value in match.headers]
    for name, value in match.without_headers:
        matcher = header_matcher(name, value)
        matcher.invert_match = True
        # A header that is not there is then the empty string, which differs from the value: it matches.
        matcher.treat_missing_header_as_empty = value.kind is not MatchKind.PRESENT
        headers.append(matcher)
    headers.sort(key=lambda matcher: matcher.name)
    pseudo = ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme))
    headers.extend(header_matcher(name, wanted) for name, wanted in pseudo if wanted is not None)
    found = RouteMatch(
        headers=headers,
        query_parameters=[_query_matcher(name, value) for name, value in match.query_params],
        case_sensitive=not match.ignore_uri_case,
    )
    uri = match.uri
    if uri is None or uri.kind is MatchKind.PRESENT:
        found.prefix = "/"
    elif uri.kind is MatchKind.EXACT:
        found.path = uri.value
    elif uri.kind is MatchKind.PREFIX:
        found.prefix = uri.value
    else:
        found.safe_regex = RegexMatcher(regex=uri.value)
    return found


def header_matcher(name: str, match: StringMatch) -> HeaderMatcher:
    """One header's matcher."""
    matcher = string_matcher(match)
    if matcher is None:
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=matcher)


def _query_matcher(name: str, match: StringMatch) -> QueryParameterMatcher:
    matcher = string_matcher(match)
    if matcher is None:
        return QueryParameterMatcher(name=name, present_match=True)
    return QueryParameterMatcher(name=name, string_match=matcher)


def matches_everything(match: HttpMatch | None) -> bool:
    """Whether no call can get past this match, so that later routes need not be sent."""
    if match is None:
        return True
    if match.headers or match.without_headers or match.query_params:
        return False
    if match.method is not None or match.authority is not None or match.scheme is not None:
        return False
    uri = match.uri
    if uri is None:
        return True
    return (uri.kind is MatchKind.PREFIX and uri.value == "/") or (
        uri.kind is MatchKind.REGEX and uri.value == ".*"
    )
