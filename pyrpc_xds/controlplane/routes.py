"""Route configurations: the virtual hosts of one service port, from VirtualServices or by default.

Sources: gRFC A27 and A28 (what of it a proxyless client reads), the Envoy API (RouteConfiguration,
VirtualHost, Route) and istiod's answers. Everything that istiod sends is sent, whoever reads it.
"""

from __future__ import annotations

from .envoy import (
    DataSource,
    Decorator,
    DirectResponseAction,
    HeaderValueOption,
    RedirectAction,
    RedirectActionRedirectResponseCode,
    RegexMatchAndSubstitute,
    RegexMatcher,
    Route,
    RouteAction,
    RouteActionHashPolicy,
    RouteActionMaxStreamDuration,
    RouteActionRequestMirrorPolicy,
    RouteConfiguration,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from .faults import cors_policy, http_fault
from .hashing import destination_hash, hash_policy, service_hash
from .matches import route_match
from .names import NodeView, cluster_name, parse_cluster_name
from .registry import Mesh, MeshService, Scope
from .resources import (
    Destination,
    DirectResponse,
    HeaderOperations,
    Headers,
    HttpMatch,
    HttpRoute,
    Mirror,
    Redirect,
    VirtualService,
    WeightedDestination,
)
from .retries import retry_policy
from .virtual_hosts import HostPlan, live_routes, port_plan
from .wire import (
    NO_TIMEOUT,
    filter_metadata,
    header_options,
    is_internal_header,
    packed,
    percent_of_million,
    runtime_percent,
    whole_percent,
)

_CORS, _FAULT = "envoy.filters.http.cors", "envoy.filters.http.fault"
_REDIRECTS = {
    301: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    302: RedirectActionRedirectResponseCode.FOUND,
    303: RedirectActionRedirectResponseCode.SEE_OTHER,
    307: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    308: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}


def build_routes(mesh: Mesh, node: NodeView, name: str) -> RouteConfiguration | None:
    """The route configuration of that name; None where it is not the name of one.

    A host or port that does not exist, and a port that does not speak HTTP, have no virtual hosts.
    """
    parsed = parse_cluster_name(name)
    if parsed is None:
        return None
    _, host, port = parsed
    scope = mesh.scope(node.namespace)
    hosts = port_plan(scope, node, port).serving(host)
    return RouteConfiguration(
        name=name, virtual_hosts=[_virtual_host(mesh, scope, node, plan, port) for plan in hosts]
    )


def _virtual_host(mesh: Mesh, scope: Scope, node: NodeView, plan: HostPlan, port: int) -> VirtualHost:
    if plan.virtual_service is None:
        assert plan.service is not None
        routes = [_default_route(mesh, node, plan.service, port)]
    else:
        routes = [
            _route(mesh, scope, node, plan.virtual_service, route, match, port)
            for route, match in live_routes(plan.virtual_service, node, port)
        ]
    return VirtualHost(
        name=plan.name, domains=list(plan.domains), routes=routes, include_request_attempt_count=True
    )


def _default_route(mesh: Mesh, node: NodeView, service: MeshService, port: int) -> Route:
    """The one route of a service without VirtualService: everything, to all its endpoints."""
    action = RouteAction(
        cluster=cluster_name("", service.host, port),
        timeout=NO_TIMEOUT,
        retry_policy=retry_policy(None, hashed=False),
    )
    # istiod sends these routes alike to all kinds of nodes, in the field that sidecars read.
    action.max_grpc_timeout = NO_TIMEOUT
    if (policy := hash_policy(service_hash(mesh, node, service, port))) is not None:
        action.hash_policy = [policy]
    return Route(
        name="default",
        match=route_match(None),
        route=action,
        decorator=Decorator(operation=f"{service.host}:{port}/*"),
    )


def _route(
    mesh: Mesh,
    scope: Scope,
    node: NodeView,
    owner: VirtualService,
    route: HttpRoute,
    match: HttpMatch | None,
    port: int,
) -> Route:
    name = f"{route.name}.{match.name}" if match is not None and match.name else route.name
    path = f"/apis/networking.istio.io/v1/namespaces/{owner.meta.namespace}/virtual-service"
    built = Route(
        name=name,
        match=route_match(match),
        metadata=filter_metadata({"istio": {"config": f"{path}/{owner.meta.name}"}}),
        stat_prefix=match.stat_prefix if match is not None else "",
    )
    authority = ""
    if route.headers is not None:
        _add_headers(built, route.headers)
        authority = _authority(route.headers.request)
    if route.redirect is not None:
        built.redirect = _redirect(route.redirect, port)
    elif route.direct_response is not None:
        built.direct_response = _direct_response(route.direct_response)
    else:
        _add_destinations(mesh, scope, node, built, route, authority, port)
    built.decorator = Decorator(operation=_operation(built, owner.meta.name, port))
    if route.fault is not None and (fault := http_fault(route.fault)) is not None:
        built.typed_per_filter_config[_FAULT] = packed(fault)
    if route.cors is not None:
        built.typed_per_filter_config[_CORS] = packed(cors_policy(route.cors))
    return built


def _add_destinations(
    mesh: Mesh, scope: Scope, node: NodeView, built: Route, route: HttpRoute, authority: str, port: int
) -> None:
    timeout = route.timeout if route.timeout is not None else NO_TIMEOUT
    action = RouteAction(
        timeout=timeout, max_stream_duration=RouteActionMaxStreamDuration(max_stream_duration=timeout)
    )
    if route.rewrite is not None:
        authority = route.rewrite.authority or authority
        if route.rewrite.regex:
            action.regex_rewrite = RegexMatchAndSubstitute(
                pattern=RegexMatcher(regex=route.rewrite.regex), substitution=route.rewrite.substitution
            )
        elif route.rewrite.uri:
            action.prefix_rewrite = route.rewrite.uri
    if authority:
        action.host_rewrite_literal = authority
    for mirror in route.mirrors:
        if (policy := _mirror(scope, mirror, port)) is not None:
            action.request_mirror_policies.append(policy)
    hashed = False
    if len(route.route) == 1:
        only = route.route[0]
        action.cluster = destination_cluster(scope, only.destination, port)
        _add_headers(built, only.headers)
        if not action.host_rewrite_literal and (rewritten := _authority(only.headers.request)):
            action.host_rewrite_literal = rewritten
        found = destination_hash(mesh, scope, node, only.destination)
        hashed = found is not None
        _add_hash(action, mesh, scope, node, only)
    else:
        clusters = []
        for weighted in route.route:
            # A destination of weight 0 takes no part beside others.
            if weighted.weight:
                clusters.append(_cluster_weight(scope, weighted, port))
                _add_hash(action, mesh, scope, node, weighted)
        action.weighted_clusters = WeightedCluster(clusters=clusters)
    action.retry_policy = retry_policy(route.retries, hashed=hashed)
    built.route = action


def _add_hash(
    action: RouteAction, mesh: Mesh, scope: Scope, node: NodeView, weighted: WeightedDestination
) -> None:
    policy: RouteActionHashPolicy | None = hash_policy(
        destination_hash(mesh, scope, node, weighted.destination)
    )
    if policy is not None:
        action.hash_policy.append(policy)


def destination_cluster(scope: Scope, destination: Destination, port: int) -> str:
    """The cluster of a destination. Without a port of its own it is that of the route."""
    host = destination.host
    service = scope.service(host)
    if service is not None and service.external_name and service.port(port) is not None:
        host = service.external_name
    return cluster_name(destination.subset, host, destination.port or port)


def _cluster_weight(scope: Scope, weighted: WeightedDestination, port: int) -> WeightedClusterClusterWeight:
    headers = weighted.headers
    built = WeightedClusterClusterWeight(
        name=destination_cluster(scope, weighted.destination, port),
        weight=weighted.weight,
        request_headers_to_add=_to_add(headers.request),
        request_headers_to_remove=_to_remove(headers.request),
        response_headers_to_add=_to_add(headers.response),
        response_headers_to_remove=_to_remove(headers.response),
    )
    if authority := _authority(headers.request):
        built.host_rewrite_literal = authority
    return built


def _mirror(scope: Scope, mirror: Mirror, port: int) -> RouteActionRequestMirrorPolicy | None:
    """The policy of a mirror; None where it is for no call at all."""
    if mirror.percentage is not None:
        share = percent_of_million(mirror.percentage)
    else:
        share = whole_percent(100 if mirror.integer_percent is None else mirror.integer_percent)
    if not (mirror.percentage if mirror.percentage is not None else share.numerator):
        return None
    return RouteActionRequestMirrorPolicy(
        cluster=destination_cluster(scope, mirror.destination, port),
        runtime_fraction=runtime_percent(share),
        trace_sampled=False,
        disable_shadow_host_suffix_append=True,
    )


def _to_add(operations: HeaderOperations) -> list[HeaderValueOption]:
    return [*header_options(operations.set, append=False), *header_options(operations.add, append=True)]


def _to_remove(operations: HeaderOperations) -> list[str]:
    return [name for name in operations.remove if not is_internal_header(name)]


def _authority(operations: HeaderOperations) -> str:
    """The value that a host header is set to; ``set`` wins over ``add``."""
    for values in (operations.set, operations.add):
        for name, value in values:
            if name.lower() in {":authority", "host"}:
                return value
    return ""


def _add_headers(built: Route, headers: Headers) -> None:
    built.request_headers_to_add.extend(_to_add(headers.request))
    built.request_headers_to_remove.extend(_to_remove(headers.request))
    built.response_headers_to_add.extend(_to_add(headers.response))
    built.response_headers_to_remove.extend(_to_remove(headers.response))


def _redirect(redirect: Redirect, port: int) -> RedirectAction:
    built = RedirectAction(host_redirect=redirect.authority, response_code=_REDIRECTS[redirect.code])
    if redirect.prefix_rewrite:
        built.prefix_rewrite = redirect.prefix_rewrite
    else:
        built.path_redirect = redirect.uri
    if redirect.scheme:
        built.scheme_redirect = redirect.scheme
    target = port if redirect.port is None and redirect.from_request_port else redirect.port or 0
    # The default port of the scheme is not spelt out.
    if (target, redirect.scheme or "http") not in {(80, "http"), (443, "https")}:
        built.port_redirect = target
    return built


def _direct_response(response: DirectResponse) -> DirectResponseAction:
    built = DirectResponseAction(status=response.status)
    if response.text is not None:
        built.body = DataSource(inline_string=response.text)
    elif response.data is not None:
        built.body = DataSource(inline_bytes=response.data)
    return built


def _operation(built: Route, owner: str, port: int) -> str:
    """What tracing calls the route: the host and port of its one cluster, or its owner, and the path."""
    match = built.match
    path = "/*"
    if match is not None:
        if match.prefix is not None:
            path = f"{match.prefix}*"
        elif match.path is not None:
            path = match.path
        elif match.safe_regex is not None:
            path = match.safe_regex.regex
    cluster = built.route.cluster if built.route is not None else None
    parsed = parse_cluster_name(cluster) if cluster else None
    if parsed is not None:
        return f"{parsed[1]}:{parsed[2]}{path}"
    return f"{owner}:{port}{path}"
