"""ServiceEntry, WorkloadEntry, VirtualService and DestinationRule, read from their YAML.

A field that Istio has and that does not reach a proxyless node is a note, not an error; a field that Istio
does not have is an error, as it is to istiod's own validation.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from datetime import timedelta
from types import MappingProxyType

from .fields import Fields
from .kubernetes import check_ip
from .names import qualify
from .regexes import check_regex
from .resources import (
    Abort,
    ConsistentHash,
    Cors,
    Delay,
    Destination,
    DestinationRule,
    DirectResponse,
    Fault,
    HashKey,
    HeaderOperations,
    Headers,
    HttpMatch,
    HttpRoute,
    LoadBalancer,
    MatchKind,
    Meta,
    Mirror,
    Redirect,
    Resolution,
    Retries,
    Rewrite,
    ServiceEntry,
    ServiceEntryPort,
    StringMatch,
    Subset,
    TrafficPolicy,
    VirtualService,
    WeightedDestination,
    Workload,
    WorkloadEntry,
)

_PROTOCOLS = ("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "REDIS", "MYSQL", "TCP", "TLS", "UDP")
# Protocols that carry the host, so that several may share a port.
_MANY_HOSTS = {"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS"}
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


class IstioReader:
    """Reads Istio's objects.

    :param domain: the cluster's domain, with which short host names are completed.
    :param notes: what is valid but has no effect here is appended, one sentence each.
    """

    def __init__(self, domain: str, notes: list[str]) -> None:
        self._domain = domain
        self._notes = notes

    def _no_effect(self, fields: Fields, *names: str) -> None:
        for name in names:
            if fields.has(name):
                path = ".".join(part for part in (fields.path, name) if part)
                self._notes.append(f"{fields.where}: {path} has no effect on proxyless nodes")
        fields.ignore(*names)

    # --- who there is ---------------------------------------------------------------------------------

    def service_entry(self, meta: Meta, document: Fields) -> ServiceEntry:
        """A ServiceEntry. Raises ConfigError."""
        spec = document.child("spec")
        hosts = spec.texts("hosts")
        if not hosts:
            spec.fail("hosts", "is empty", "Name at least one host.")
        for host in hosts:
            if host == "*":
                spec.fail(
                    "hosts", "has '*', which would be every host", "Name a domain, such as *.example.com."
                )
        addresses = []
        for address in spec.texts("addresses"):
            try:
                network = ipaddress.ip_network(address, strict=False)
            except ValueError:
                spec.fail("addresses", f"has {address!r}, which is neither an IP address nor a range (CIDR)")
            addresses.append(str(network.network_address) if network.num_addresses == 1 else address)
        ports = tuple(self._service_entry_port(field) for field in spec.children("ports"))
        for what, values in (("number", [p.number for p in ports]), ("name", [p.name for p in ports])):
            if len(set(values)) != len(values):
                spec.fail("ports", f"have the same {what} twice", f"Give each port a {what} of its own.")
        resolution = Resolution(
            spec.choice("resolution", tuple(kind.value for kind in Resolution), Resolution.NONE.value)
        )
        for port in ports if len(hosts) > 1 else ():
            if port.protocol.upper() not in _MANY_HOSTS:
                spec.fail("hosts", f"are several, with port {port.name!r}", "Give such a port one host only.")
        endpoints = tuple(self._workload(field, None) for field in spec.children("endpoints"))
        selector = spec.optional_child("workloadSelector")
        if selector is not None and endpoints:
            spec.fail("endpoints", "and workloadSelector are both given", "Keep one of the two.")
        if resolution is Resolution.STATIC:
            for index, endpoint in enumerate(endpoints):
                if not endpoint.address.startswith("unix://"):
                    check_ip(spec, f"endpoints[{index}].address", endpoint.address)
        elif resolution is Resolution.NONE and endpoints:
            spec.fail("endpoints", "are given, with resolution NONE", "Set resolution: STATIC.")
        names = {port.name for port in ports}
        for index, endpoint in enumerate(endpoints):
            for name in endpoint.ports:
                if name not in names:
                    spec.fail(
                        f"endpoints[{index}].ports", f"names {name!r}, which is not a port of this entry"
                    )
        entry = ServiceEntry(
            meta=meta,
            hosts=hosts,
            ports=ports,
            addresses=tuple(addresses),
            mesh_external=spec.choice("location", ("MESH_EXTERNAL", "MESH_INTERNAL"), "MESH_EXTERNAL")
            == "MESH_EXTERNAL",
            resolution=resolution,
            endpoints=endpoints,
            workload_selector=selector.labels("labels") if selector is not None else None,
            export_to=spec.texts("exportTo"),
        )
        if selector is not None:
            selector.finish()
        spec.ignore("subjectAltNames")
        spec.finish()
        return entry

    @staticmethod
    def _service_entry_port(field: Fields) -> ServiceEntryPort:
        protocol = field.text("protocol")
        if protocol and protocol.upper() not in _PROTOCOLS:
            field.fail("protocol", f"is {protocol!r}", f"It can be {', '.join(_PROTOCOLS)}.")
        port = ServiceEntryPort(
            name=field.text("name", None),
            number=field.port("number"),
            protocol=protocol,
            target_port=field.integer("targetPort", 0, high=65535),
        )
        field.finish()
        return port

    @staticmethod
    def _workload(field: Fields, metadata: Meta | None) -> Workload:
        labels = dict(field.labels("labels"))
        if metadata is not None:
            # The labels of the object win over those of its spec.
            labels.update(metadata.labels)
        ports = {}
        value = field.child("ports")
        for name in (field.raw("ports") or {}) if field.has("ports") else {}:
            ports[str(name)] = value.port(str(name))
        workload = Workload(
            address=field.text("address", None),
            ports=MappingProxyType(ports),
            labels=MappingProxyType(labels),
            weight=field.integer("weight"),
            locality=field.text("locality") or labels.get("istio-locality", "").replace(".", "/"),
            service_account=field.text("serviceAccount"),
            network=field.text("network"),
        )
        field.finish()
        return workload

    def workload_entry(self, meta: Meta, document: Fields) -> WorkloadEntry:
        """A WorkloadEntry. Raises ConfigError."""
        return WorkloadEntry(meta, self._workload(document.child("spec"), meta))

    # --- where calls go -------------------------------------------------------------------------------

    def virtual_service(self, meta: Meta, document: Fields) -> VirtualService:
        """A VirtualService. Raises ConfigError."""
        spec = document.child("spec")
        hosts = spec.texts("hosts")
        if not hosts:
            self._notes.append(
                f"{meta.where}: spec.hosts is empty: delegate VirtualServices are not served here"
            )
        self._no_effect(spec, "tcp", "tls")
        routes = []
        for field in spec.children("http"):
            if field.has("delegate"):
                self._notes.append(
                    f"{meta.where}: {field.path}.delegate is not served here; the entry is left out"
                )
                continue
            routes.append(self._http_route(field, meta))
        service = VirtualService(
            meta=meta,
            hosts=tuple(qualify(host, meta.namespace, self._domain).lower() for host in hosts),
            http=tuple(routes),
            gateways=spec.texts("gateways"),
            export_to=spec.texts("exportTo"),
        )
        spec.finish()
        return service

    def _http_route(self, field: Fields, meta: Meta) -> HttpRoute:
        destinations = tuple(self._weighted(item, meta) for item in field.children("route"))
        actions = [name for name in ("route", "redirect", "directResponse") if field.has(name)]
        if len(actions) != 1:
            given = " and ".join(actions) or "none of them"
            field.fail("", f"has {given}", "Give exactly one of route, redirect, directResponse.")
        if actions == ["route"]:
            if not destinations:
                field.fail("route", "is empty", "Name at least one destination.")
            if len(destinations) > 1 and not sum(item.weight for item in destinations):
                field.fail("route", "has weights that sum up to 0", "Give the destinations weights.")
        mirrors = [self._mirror(item, item, meta) for item in field.children("mirrors")]
        if (old := field.optional_child("mirror")) is not None:
            mirrors.insert(0, self._mirror(old, field, meta, old=True))
        field.ignore("mirrorPercentage", "mirrorPercent", "mirror_percent")
        headers = field.optional_child("headers")
        route = HttpRoute(
            name=field.text("name"),
            match=tuple(self._match(item) for item in field.children("match")),
            route=destinations,
            timeout=field.duration("timeout"),
            retries=self._retries(field.optional_child("retries")),
            fault=self._fault(field.optional_child("fault")),
            mirrors=tuple(mirrors),
            rewrite=self._rewrite(field.optional_child("rewrite")),
            redirect=self._redirect(field.optional_child("redirect")),
            direct_response=self._direct_response(field.optional_child("directResponse")),
            cors=self._cors(field.optional_child("corsPolicy")),
            headers=self._headers(headers) if headers is not None else None,
        )
        field.finish()
        return route

    @staticmethod
    def _string_match(field: Fields) -> StringMatch:
        given = [kind for kind in ("exact", "prefix", "regex") if field.has(kind)]
        if len(given) > 1:
            field.fail("", f"has {' and '.join(given)}", "Give one of exact, prefix, regex.")
        value = field.text(given[0]) if given else ""
        field.finish()
        if not given:
            return StringMatch(MatchKind.PRESENT)
        if given == ["regex"]:
            check_regex(field, "regex", value)
        return StringMatch(MatchKind(given[0]), value)

    def _optional_match(self, field: Fields, name: str) -> StringMatch | None:
        child = field.optional_child(name)
        return None if child is None else self._string_match(child)

    def _named_matches(self, field: Fields, name: str) -> tuple[tuple[str, StringMatch], ...]:
        found = []
        for header, child in field.entries(name):
            if header.startswith("@request.auth.claims"):
                child.fail("", "matches a JWT claim, which is not served here", "Match a header instead.")
            found.append((header, self._string_match(child)))
        return tuple(found)

    def _match(self, field: Fields) -> HttpMatch:
        match = HttpMatch(
            name=field.text("name"),
            uri=self._optional_match(field, "uri"),
            ignore_uri_case=field.boolean("ignoreUriCase"),
            method=self._optional_match(field, "method"),
            authority=self._optional_match(field, "authority"),
            scheme=self._optional_match(field, "scheme"),
            headers=self._named_matches(field, "headers"),
            without_headers=self._named_matches(field, "withoutHeaders"),
            query_params=self._named_matches(field, "queryParams"),
            port=field.integer("port", 0, high=65535),
            source_labels=field.labels("sourceLabels"),
            source_namespace=field.text("sourceNamespace"),
            gateways=field.texts("gateways"),
            stat_prefix=field.text("statPrefix"),
        )
        field.finish()
        return match

    def _destination(self, field: Fields, meta: Meta) -> Destination:
        port = field.child("port")
        destination = Destination(
            host=qualify(field.text("host", None), meta.namespace, self._domain),
            subset=field.text("subset"),
            port=port.integer("number", 0, high=65535),
        )
        port.finish()
        field.finish()
        return destination

    def _weighted(self, field: Fields, meta: Meta) -> WeightedDestination:
        if not field.has("destination"):
            field.fail("destination", "is missing", "Name the host that the calls go to.")
        headers = field.optional_child("headers")
        weighted = WeightedDestination(
            destination=self._destination(field.child("destination"), meta),
            weight=field.integer("weight", 0, high=2**31 - 1),
            headers=self._headers(headers) if headers is not None else Headers(),
        )
        field.finish()
        return weighted

    def _mirror(self, field: Fields, owner: Fields, meta: Meta, *, old: bool = False) -> Mirror:
        destination = self._destination(field if old else field.child("destination"), meta)
        percentage = _percentage(owner, "mirrorPercentage" if old else "percentage")
        integer = owner.integer("mirrorPercent", 0, high=100) if old and owner.has("mirrorPercent") else None
        if not old:
            field.finish()
        return Mirror(destination, percentage, integer)

    @staticmethod
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

    @staticmethod
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
        if not retries.attempts and (
            retries.retry_on or retries.per_try_timeout or retries.remote_localities
        ):
            field.fail("attempts", "is 0, which turns retrying off, beside settings for it", "Set attempts.")
        for condition in retries.retry_on.split(",") if retries.retry_on else ():
            if condition not in _RETRY_ON and not condition.isdigit():
                field.fail(
                    "retryOn", f"has {condition!r}", f"It can be {', '.join(_RETRY_ON)}, or a status code."
                )
        field.finish()
        return retries

    @staticmethod
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

    @staticmethod
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

    @staticmethod
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

    @staticmethod
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

    def _cors(self, field: Fields | None) -> Cors | None:
        if field is None:
            return None
        origins = tuple(self._string_match(item) for item in field.children("allowOrigins"))
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

    # --- how calls are spread --------------------------------------------------------------------------

    def destination_rule(self, meta: Meta, document: Fields) -> DestinationRule:
        """A DestinationRule. Raises ConfigError."""
        spec = document.child("spec")
        subsets = []
        for field in spec.children("subsets"):
            subsets.append(
                Subset(
                    name=field.text("name", None),
                    labels=field.labels("labels"),
                    policy=self._policy(field.optional_child("trafficPolicy")),
                )
            )
            field.finish()
        selector = spec.optional_child("workloadSelector")
        rule = DestinationRule(
            meta=meta,
            host=qualify(spec.text("host", None), meta.namespace, self._domain),
            policy=self._policy(spec.optional_child("trafficPolicy")),
            subsets=tuple(subsets),
            export_to=spec.texts("exportTo"),
            workload_selector=selector.labels("matchLabels") if selector is not None else None,
        )
        spec.finish()
        return rule

    def _policy(self, field: Fields | None) -> TrafficPolicy | None:
        if field is None:
            return None
        self._no_effect(field, "outlierDetection", "tunnel", "proxyProtocol", "retryBudget")
        ports = []
        for item in field.children("portLevelSettings"):
            port = item.child("port")
            number = port.port("number")
            port.finish()
            policy = self._policy(item)
            assert policy is not None
            ports.append((number, policy))
        field.ignore("port")
        pool = field.optional_child("connectionPool")
        maximum = None
        if pool is not None:
            self._no_effect(pool, "tcp")
            http = pool.child("http")
            if http.has("http2MaxRequests"):
                maximum = http.integer("http2MaxRequests", 0, high=2**31 - 1)
            http.ignore("http2MaxRequests")
            self._no_effect(
                http,
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
                self._notes.append(f"{tls.where}: {tls.path}.mode {mode} has no effect on proxyless nodes")
        policy = TrafficPolicy(
            load_balancer=self._load_balancer(field.optional_child("loadBalancer")),
            http2_max_requests=maximum,
            connection_pool=pool is not None,
            tls_mode=mode,
            min_health_percent=field.child("outlierDetection").integer("minHealthPercent", 0, high=100),
            ports=tuple(ports),
        )
        field.finish()
        return policy

    def _load_balancer(self, field: Fields | None) -> LoadBalancer | None:
        if field is None:
            return None
        self._no_effect(field, "localityLbSetting", "warmupDurationSecs", "warmup")
        allowed = ("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")
        simple = field.choice("simple", allowed, "UNSPECIFIED")
        if simple in {"RANDOM", "PASSTHROUGH", "LEAST_CONN"}:
            self._notes.append(
                f"{field.where}: {field.path}.simple {simple} has no effect on proxyless nodes"
            )
        child = field.optional_child("consistentHash")
        balancer = LoadBalancer(simple, self._consistent_hash(child) if child is not None else None)
        field.finish()
        return balancer

    @staticmethod
    def _consistent_hash(field: Fields) -> ConsistentHash:
        key, name, path, ttl = None, "", "", None
        if field.has("httpHeaderName"):
            key, name = HashKey.HEADER, field.text("httpHeaderName")
        elif (cookie := field.optional_child("httpCookie")) is not None:
            key, name, path = HashKey.COOKIE, cookie.text("name", None), cookie.text("path")
            ttl = cookie.duration("ttl")
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
        hashed = ConsistentHash(key, name, path, ttl, field.integer("minimumRingSize"), table)
        field.ignore(
            "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev"
        )
        field.finish()
        return hashed


def _percentage(field: Fields, name: str) -> float | None:
    child = field.optional_child(name)
    if child is None:
        return None
    value = child.number("value", low=0, high=100)
    child.finish()
    return value or 0.0
