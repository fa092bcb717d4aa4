"""Envoy as the sidecar of the client: one static configuration for Thrift and for HTTP/2.

It does what the mesh of the benchmark asks of every rival: the header ``user: admin`` to v2, everything else
by weight 90/10 to v1 and v2.
"""

from __future__ import annotations

from typing import Any

SERVICE = "org.apache.dubbo.sample.Greeter"
WEIGHTS = {"v1": 90, "v2": 10}


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, port: int, extensions: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
        "typed_extension_protocol_options": extensions,
    }


def listener(name: str, filter_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "address": address(0),
        "filter_chains": [{"filters": [{"name": filter_name, "typed_config": config}]}],
    }


def weighted(prefix: str) -> list[dict[str, Any]]:
    return [{"name": f"{prefix}-{version}", "weight": weight} for version, weight in WEIGHTS.items()]


FILTERS = "type.googleapis.com/envoy.extensions.filters"
ADMIN_HEADER = {"name": "user", "string_match": {"exact": "admin"}}

THRIFT = {
    "@type": f"{FILTERS}.network.thrift_proxy.v3.ThriftProxy",
    "stat_prefix": "thrift",
    "transport": "FRAMED",
    "protocol": "BINARY",
    "route_config": {
        "name": "greeter",
        "routes": [
            {"match": {"method_name": "", "headers": [ADMIN_HEADER]}, "route": {"cluster": "thrift-v2"}},
            {"match": {"method_name": ""}, "route": {"weighted_clusters": {"clusters": weighted("thrift")}}},
        ],
    },
    "thrift_filters": [
        {
            "name": "envoy.filters.thrift.router",
            "typed_config": {"@type": f"{FILTERS}.network.thrift_proxy.router.v3.Router"},
        }
    ],
}

HTTP = {
    "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "triple",
    "codec_type": "HTTP2",
    "route_config": {
        "name": "greeter",
        "virtual_hosts": [
            {
                "name": "greeter",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {"prefix": "/", "headers": [ADMIN_HEADER]},
                        "route": {"cluster": "triple-v2", "timeout": "0s"},
                    },
                    {
                        "match": {"prefix": "/"},
                        "route": {"weighted_clusters": {"clusters": weighted("triple")}, "timeout": "0s"},
                    },
                ],
            }
        ],
    },
    "http_filters": [
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"},
        }
    ],
}

THRIFT_UPSTREAM = {
    "envoy.filters.network.thrift_proxy": {
        "@type": f"{FILTERS}.network.thrift_proxy.v3.ThriftProtocolOptions",
        "transport": "FRAMED",
        "protocol": "BINARY",
    }
}

HTTP2_UPSTREAM = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def config(thrift: dict[str, int], triple: dict[str, int]) -> dict[str, Any]:
    """Envoy's bootstrap for greeters on these ports by version; listeners ``thrift`` and ``triple``."""
    return {
        "node": {"id": "benchmark", "cluster": "benchmark"},
        "static_resources": {
            "listeners": [
                listener("thrift", "envoy.filters.network.thrift_proxy", THRIFT),
                listener("triple", "envoy.filters.network.http_connection_manager", HTTP),
            ],
            "clusters": [
                *(cluster(f"thrift-{version}", port, THRIFT_UPSTREAM) for version, port in thrift.items()),
                *(cluster(f"triple-{version}", port, HTTP2_UPSTREAM) for version, port in triple.items()),
            ],
        },
    }
