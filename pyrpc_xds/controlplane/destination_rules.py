"""DestinationRule, read from its YAML."""

from __future__ import annotations

import re

from .fields import Fields, check_export_to
from .meta import Meta
from .names import qualify
from .policies import ConsistentHash, DestinationRule, HashKey, LoadBalancer, Subset, TrafficPolicy

_SUBSET_NAME = re.compile(r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$")


def read_destination_rule(meta: Meta, document: Fields) -> DestinationRule:
    """A DestinationRule. Raises ConfigError."""
    spec = document.child("spec")
    subsets = []
    for field in spec.children("subsets"):
        subsets.append(
            Subset(
                name=field.text("name", None),
                labels=field.labels("labels"),
                policy=_policy(field.optional_child("trafficPolicy")),
            )
        )
        field.finish()
        if not _SUBSET_NAME.match(subsets[-1].name):
            spec.fail("subsets", f"have the name {subsets[-1].name!r}", "Use letters, digits and dashes.")
    names = [subset.name for subset in subsets]
    if len(set(names)) != len(names):
        spec.fail("subsets", "have one name twice", "Give each subset a name of its own.")
    check_export_to(spec, meta)
    selector = spec.optional_child("workloadSelector")
    rule = DestinationRule(
        meta=meta,
        host=qualify(spec.text("host", None), meta.namespace, spec.domain),
        policy=_policy(spec.optional_child("trafficPolicy")),
        subsets=tuple(subsets),
        export_to=spec.texts("exportTo"),
        workload_selector=selector.labels("matchLabels") if selector is not None else None,
    )
    spec.finish()
    return rule


def _policy(field: Fields | None) -> TrafficPolicy | None:
    if field is None:
        return None
    field.no_effect("outlierDetection", "tunnel", "proxyProtocol", "retryBudget")
    ports = []
    for item in field.children("portLevelSettings"):
        port = item.child("port")
        number = port.port("number")
        port.finish()
        policy = _policy(item)
        assert policy is not None
        ports.append((number, policy))
    field.ignore("port")
    pool = field.optional_child("connectionPool")
    maximum = None
    if pool is not None:
        pool.no_effect("tcp")
        http = pool.child("http")
        if http.has("http2MaxRequests"):
            maximum = http.integer("http2MaxRequests", 0, high=2**31 - 1)
        http.ignore("http2MaxRequests")
        http.no_effect(
            "http1MaxPendingRequests",
            "maxRequestsPerConnection",
            "maxRetries",
            "idleTimeout",
            "h2UpgradePolicy",
            "useClientProtocol",
            "maxConcurrentStreams",
        )
        http.finish()
        pool.finish()
    tls = field.optional_child("tls")
    mode = None
    if tls is not None:
        mode = tls.choice("mode", ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "DISABLE")
        if mode in {"SIMPLE", "MUTUAL"}:
            tls.note(f"{tls.path}.mode {mode} has no effect on proxyless nodes")
    policy = TrafficPolicy(
        load_balancer=_load_balancer(field.optional_child("loadBalancer")),
        http2_max_requests=maximum,
        connection_pool=pool is not None,
        tls_mode=mode,
        outlier_detection=field.has("outlierDetection"),
        min_health_percent=field.child("outlierDetection").integer("minHealthPercent", 0, high=100),
        ports=tuple(ports),
    )
    field.finish()
    return policy


def _load_balancer(field: Fields | None) -> LoadBalancer | None:
    if field is None:
        return None
    field.no_effect("warmupDurationSecs", "warmup")
    locality = field.child("localityLbSetting")
    failover = []
    for item in locality.children("failover"):
        failover.append((item.text("from", None), item.text("to", None)))
        item.finish()
    allowed = ("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")
    simple = field.choice("simple", allowed, "UNSPECIFIED")
    if simple in {"RANDOM", "PASSTHROUGH", "LEAST_CONN"}:
        field.note(f"{field.path}.simple {simple} has no effect on proxyless nodes")
    child = field.optional_child("consistentHash")
    balancer = LoadBalancer(
        simple=simple,
        consistent_hash=_consistent_hash(child) if child is not None else None,
        by_locality=locality.boolean("enabled", True),
        failover=tuple(failover),
    )
    for name in ("distribute", "failoverPriority"):
        if locality.has(name):
            locality.note(f"{locality.path}.{name} is not served here")
        locality.ignore(name)
    locality.finish()
    field.finish()
    return balancer


def _consistent_hash(field: Fields) -> ConsistentHash:
    key, name, path, ttl = None, "", "", None
    attributes: list[tuple[str, str]] = []
    if field.has("httpHeaderName"):
        key, name = HashKey.HEADER, field.text("httpHeaderName")
    elif (cookie := field.optional_child("httpCookie")) is not None:
        key, name, path = HashKey.COOKIE, cookie.text("name", None), cookie.text("path")
        ttl = cookie.duration("ttl", zero=True)  # a cookie of the session
        for item in cookie.children("attributes"):
            attributes.append((item.text("name", None), item.text("value")))
            item.finish()
        cookie.finish()
    elif field.boolean("useSourceIp"):
        key = HashKey.SOURCE_IP
    elif field.has("httpQueryParameterName"):
        key, name = HashKey.QUERY, field.text("httpQueryParameterName")
    table = None
    if (ring := field.optional_child("ringHash")) is not None:
        table = ("ringHash", ring.integer("minimumRingSize"))
        ring.finish()
    elif (maglev := field.optional_child("maglev")) is not None:
        table = ("maglev", maglev.integer("tableSize"))
        maglev.finish()
    hashed = ConsistentHash(
        key=key,
        name=name,
        cookie_path=path,
        cookie_ttl=ttl,
        cookie_attributes=tuple(attributes),
        minimum_ring_size=field.integer("minimumRingSize"),
        table=table,
    )
    field.ignore(
        "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev"
    )
    field.finish()
    return hashed
