"""Fault injection and CORS of a route, as configuration of the filters that do them.

Sources: gRFC A33 and the Envoy API (HTTPFault, CorsPolicy); istiod's answers.
"""

from __future__ import annotations

from .envoy import CorsPolicy, FaultAbort, FaultDelay, HttpFault
from .resources import Cors, Fault
from .wire import percent_of_million, runtime_percent, string_matcher, whole_percent


def http_fault(fault: Fault) -> HttpFault | None:
    """The fault filter's configuration; None for a fault that does nothing."""
    if fault.delay is None and fault.abort is None:
        return None
    built = HttpFault()
    if fault.delay is not None:
        share = fault.delay.percentage
        built.delay = FaultDelay(
            fixed_delay=fault.delay.fixed,
            percentage=percent_of_million(share)
            if share is not None
            else whole_percent(fault.delay.integer_percent),
        )
    if fault.abort is not None:
        built.abort = FaultAbort(http_status=fault.abort.http_status, grpc_status=fault.abort.grpc_status)
        if fault.abort.percentage is not None:
            built.abort.percentage = percent_of_million(fault.abort.percentage)
    return built


def cors_policy(cors: Cors) -> CorsPolicy:
    """The CORS filter's configuration."""
    return CorsPolicy(
        allow_origin_string_match=[
            matcher for match in cors.allow_origins if (matcher := string_matcher(match)) is not None
        ],
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(cors.expose_headers),
        max_age=str(int(cors.max_age.total_seconds())) if cors.max_age is not None else "",
        allow_credentials=cors.allow_credentials,
        filter_enabled=runtime_percent(whole_percent(100)),
        forward_not_matching_preflights=not cors.ignore_unmatched_preflights,
    )
