"""RouteConfiguration and its parts (envoy.config.route.v3, as far as gRFC A28 and Istio use them)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TypeAlias

from ..frozen import frozen


class StringMatch(Enum):
    """How a :class:`StringMatcher` compares."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"


@frozen
class StringMatcher:
    """envoy.type.matcher.v3.StringMatcher, and the older forms normalised into it.

    :param kind: how to compare; ``REGEX`` matches the whole value (RE2 syntax).
    :param ignore_case: never set for ``REGEX`` (gRFC A63).
    """

    kind: StringMatch
    value: str
    ignore_case: bool = False


@frozen
class RangeMatcher:
    """The header is a decimal integer in the half-open range [start, end)."""

    start: int
    end: int


@frozen
class PresentMatcher:
    """The header's presence is ``present``."""

    present: bool = True


@frozen
class HeaderMatcher:
    """One header condition of a route.

    A missing header matches no value matcher, inverted or not (gRFC A41); only presence inverts to a match.
    With ``missing_as_empty`` (Envoy's ``treat_missing_header_as_empty``, which Istio's ``withoutHeaders``
    uses) a missing header is the empty string.

    :param name: lower-case header name.
    """

    name: str
    matcher: StringMatcher | RangeMatcher | PresentMatcher
    invert: bool = False
    missing_as_empty: bool = False


class PathMatch(Enum):
    """How a :class:`PathMatcher` compares."""

    EXACT = "exact"
    PREFIX = "prefix"
    SEPARATED_PREFIX = "separated_prefix"
    REGEX = "regex"
    METHOD = "method"
    SERVICE = "service"


@frozen
class PathMatcher:
    """The path condition of a route; the path of a call is ``/package.Service/Method``.

    ``SEPARATED_PREFIX`` matches the value itself or the value followed by ``/`` (Envoy's
    ``path_separated_prefix``). ``METHOD`` and ``SERVICE`` are those of Envoy's thrift_proxy and look at one part
    of the path; see :mod:`pyrpc_xds.routing.thrift_name`.

    :param case_sensitive: ignored for ``REGEX``; always true for ``METHOD`` and ``SERVICE``.
    :param invert: every other path matches; ``METHOD`` and ``SERVICE`` only.
    """

    kind: PathMatch
    value: str
    case_sensitive: bool = True
    invert: bool = False


@frozen
class RouteMatch:
    """What a call must look like for the route to be taken.

    :param fraction: of a million calls that meet the other conditions, how many match; ``None``: all.
    """

    path: PathMatcher
    headers: tuple[HeaderMatcher, ...] = ()
    fraction: int | None = None


@frozen
class WeightedCluster:
    """One destination of a route; ``weight`` is relative to the sum of its route."""

    name: str
    weight: int = 1


@frozen
class RetryPolicy:
    """envoy RetryPolicy (gRFC A44): carried for the retry layer.

    :param retry_on: the conditions, as written, split at commas.
    :param num_retries: further attempts after the first.
    :param per_try_timeout: seconds; ``None``: only the call's own deadline.
    :param base_interval: seconds of the first back-off.
    :param max_interval: seconds of the longest back-off.
    """

    retry_on: tuple[str, ...] = ()
    num_retries: int = 1
    per_try_timeout: float | None = None
    base_interval: float = 0.025
    max_interval: float = 0.25
    retriable_status_codes: tuple[int, ...] = ()
    previous_hosts: bool = False


@frozen
class ClusterRoute:
    """Send the call to one of ``clusters``.

    :param clusters: at least one, none of weight 0.
    :param timeout: seconds; ``None``: the route sets none. From ``max_stream_duration`` (gRFC A31) where
        present, else from ``timeout``; zero means no limit and arrives here as ``None``.
    :param cap_only: ``timeout`` caps a deadline that the caller gave and adds none
        (``grpc_timeout_header_max``, gRFC A31).
    :param timeout_set: the route says something about time, "no limit" included: the listener's
        ``max_stream_duration`` does not apply.
    :param retry: the route's policy, else its virtual host's; ``None``: no retries.
    """

    clusters: tuple[WeightedCluster, ...]
    timeout: float | None = None
    cap_only: bool = False
    timeout_set: bool = False
    retry: RetryPolicy | None = None


@frozen
class Unroutable:
    """A matching call fails with UNAVAILABLE (gRFC A28): redirect, direct response, non-forwarding.

    :param kind: the xDS field, for the error text.
    """

    kind: str


RouteAction: TypeAlias = ClusterRoute | Unroutable


@frozen
class Route:
    """The first route of a virtual host whose ``match`` holds decides."""

    match: RouteMatch
    action: RouteAction
    name: str = ""


@frozen
class VirtualHost:
    """A set of routes for a set of domains (exact, ``*.suffix``, ``prefix.*`` or ``*``).

    :param refused: why its routes cannot be used, and then there are none. Only in what a sidecar is sent, where
        services share a RouteConfiguration; elsewhere a bad virtual host refuses the resource.
    """

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    refused: str = ""


@frozen
class RouteConfiguration:
    """RDS."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What was left out as harmless, for ``dump`` and ``route`` (never a reason to widen a match)."""
