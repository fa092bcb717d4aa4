"""The messages of Envoy's API that the control plane builds, from envoy-data-plane, in one place.

The library's import warns of a deprecated use of its own validators; nobody but its authors can do
anything about that, so the warning stays here.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from betterproto2 import (
        Message,
    )
    from envoy_data_plane.envoy.config.cluster.v3 import (
        CircuitBreakers,
        CircuitBreakersThresholds,
        Cluster,
        ClusterDiscoveryType,
        ClusterEdsClusterConfig,
        ClusterLbPolicy,
        ClusterMaglevLbConfig,
        ClusterRingHashLbConfig,
    )
    from envoy_data_plane.envoy.config.core.v3 import (
        Address,
        AggregatedConfigSource,
        ConfigSource,
        DataSource,
        HeaderValue,
        HeaderValueOption,
        HeaderValueOptionHeaderAppendAction,
        HealthStatus,
        Locality,
        Metadata,
        RuntimeFractionalPercent,
        SocketAddress,
        TransportSocket,
    )
    from envoy_data_plane.envoy.config.core.v3 import (
        ControlPlane as ControlPlaneId,
    )
    from envoy_data_plane.envoy.config.endpoint.v3 import (
        ClusterLoadAssignment,
        Endpoint,
        LbEndpoint,
        LocalityLbEndpoints,
    )
    from envoy_data_plane.envoy.config.listener.v3 import (
        ApiListener,
        Filter,
        FilterChain,
        Listener,
    )
    from envoy_data_plane.envoy.config.route.v3 import (
        Decorator,
        DirectResponseAction,
        HeaderMatcher,
        NonForwardingAction,
        QueryParameterMatcher,
        RedirectAction,
        RedirectActionRedirectResponseCode,
        RetryPolicy,
        RetryPolicyRetryBackOff,
        RetryPolicyRetryHostPredicate,
        RetryPolicyRetryPriority,
        Route,
        RouteAction,
        RouteActionHashPolicy,
        RouteActionHashPolicyConnectionProperties,
        RouteActionHashPolicyCookie,
        RouteActionHashPolicyCookieAttribute,
        RouteActionHashPolicyHeader,
        RouteActionHashPolicyQueryParameter,
        RouteActionMaxStreamDuration,
        RouteActionRequestMirrorPolicy,
        RouteConfiguration,
        RouteMatch,
        VirtualHost,
        WeightedCluster,
        WeightedClusterClusterWeight,
    )
    from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import (
        FaultDelay,
    )
    from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import (
        CorsPolicy,
    )
    from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import (
        FaultAbort,
        HttpFault,
    )
    from envoy_data_plane.envoy.extensions.filters.http.router.v3 import (
        Router,
    )
    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
        HttpConnectionManager,
        HttpFilter,
        Rds,
    )
    from envoy_data_plane.envoy.extensions.filters.network.thrift_proxy.v3 import (
        ProtocolType,
        ThriftProtocolOptions,
        TransportType,
    )
    from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import (
        PreviousHostsPredicate,
    )
    from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import (
        PreviousPrioritiesConfig,
    )
    from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
        CertificateProviderPluginInstance,
        CertificateValidationContext,
        CommonTlsContext,
        CommonTlsContextCertificateProviderInstance,
        CommonTlsContextCombinedCertificateValidationContext,
        UpstreamTlsContext,
    )
    from envoy_data_plane.envoy.service.discovery.v3 import (
        DiscoveryRequest,
        DiscoveryResponse,
    )
    from envoy_data_plane.envoy.type.matcher.v3 import (
        RegexMatchAndSubstitute,
        RegexMatcher,
        StringMatcher,
    )
    from envoy_data_plane.envoy.type.v3 import (
        FractionalPercent,
        FractionalPercentDenominatorType,
    )
    from envoy_data_plane.google.protobuf import (
        Any as AnyMessage,
    )
    from envoy_data_plane.google.protobuf import (
        Struct,
        Value,
    )

__all__ = [
    "Address",
    "AggregatedConfigSource",
    "AnyMessage",
    "ApiListener",
    "CertificateProviderPluginInstance",
    "CertificateValidationContext",
    "CircuitBreakers",
    "CircuitBreakersThresholds",
    "Cluster",
    "ClusterDiscoveryType",
    "ClusterEdsClusterConfig",
    "ClusterLbPolicy",
    "ClusterLoadAssignment",
    "ClusterMaglevLbConfig",
    "ClusterRingHashLbConfig",
    "CommonTlsContext",
    "CommonTlsContextCertificateProviderInstance",
    "CommonTlsContextCombinedCertificateValidationContext",
    "ConfigSource",
    "ControlPlaneId",
    "CorsPolicy",
    "DataSource",
    "Decorator",
    "DirectResponseAction",
    "DiscoveryRequest",
    "DiscoveryResponse",
    "Endpoint",
    "FaultAbort",
    "FaultDelay",
    "Filter",
    "FilterChain",
    "FractionalPercent",
    "FractionalPercentDenominatorType",
    "HeaderMatcher",
    "HeaderValue",
    "HeaderValueOption",
    "HeaderValueOptionHeaderAppendAction",
    "HealthStatus",
    "HttpConnectionManager",
    "HttpFault",
    "HttpFilter",
    "LbEndpoint",
    "Listener",
    "Locality",
    "LocalityLbEndpoints",
    "Message",
    "Metadata",
    "NonForwardingAction",
    "PreviousHostsPredicate",
    "PreviousPrioritiesConfig",
    "ProtocolType",
    "QueryParameterMatcher",
    "Rds",
    "RedirectAction",
    "RedirectActionRedirectResponseCode",
    "RegexMatchAndSubstitute",
    "RegexMatcher",
    "RetryPolicy",
    "RetryPolicyRetryBackOff",
    "RetryPolicyRetryHostPredicate",
    "RetryPolicyRetryPriority",
    "Route",
    "RouteAction",
    "RouteActionHashPolicy",
    "RouteActionHashPolicyConnectionProperties",
    "RouteActionHashPolicyCookie",
    "RouteActionHashPolicyCookieAttribute",
    "RouteActionHashPolicyHeader",
    "RouteActionHashPolicyQueryParameter",
    "RouteActionMaxStreamDuration",
    "RouteActionRequestMirrorPolicy",
    "RouteConfiguration",
    "RouteMatch",
    "Router",
    "RuntimeFractionalPercent",
    "SocketAddress",
    "StringMatcher",
    "Struct",
    "ThriftProtocolOptions",
    "TransportSocket",
    "TransportType",
    "UpstreamTlsContext",
    "Value",
    "VirtualHost",
    "WeightedCluster",
    "WeightedClusterClusterWeight",
]
