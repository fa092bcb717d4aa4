"""Dubbo's keys that have no effect here, and why; by section. What is in no table and is not read is unknown.

The keys are those of dubbo-go 3.3 (global/*_config.go) and of Dubbo Java 3.3 (org.apache.dubbo.config), hyphenated.
A warning says that a program may behave otherwise than under Dubbo, a note that it does not.
"""

from __future__ import annotations

from collections.abc import Mapping

Reasons = Mapping[str, str]


def _all(keys: str, why: str) -> Reasons:
    return dict.fromkeys(keys.split(), why)


_RULES = "the mesh's rules decide: VirtualService and DestinationRule"
_BALANCER = "the mesh's rules decide: loadBalancer of the DestinationRule"
_FILTERS = "there are no Dubbo filters here: use interceptors (grpc.UnaryUnaryClientInterceptor and its kin)"
_LIMITS = "limit a server with maximum_concurrent_rpcs of Dubbo.server()"
_TRACES = "traces are OpenTelemetry's: its context and baggage travel by themselves, exporters are the application's"
_REGISTERED = "Kubernetes registers the endpoints; labels come from the pod (POD_LABELS)"
_WORDS = "it describes the application, and nothing reads it"
_JAVA = "it is about threads and buffers of Dubbo Java's"
_FORM = "messages are protobuf, as the stub has them"
_PROXY = "stubs are grpcio's own"
_TAG = "use a header match of the VirtualService, with the attachment that says the tag"

ROOT_WARNINGS: Reasons = {
    "config-center": "nothing is read from it: everything is in this file, and the rules are the mesh's",
    "router": _RULES,
    "custom": "it is the application's own; read it from the file",
    "monitor": _TRACES,
}
ROOT_NOTES: Reasons = {
    "logger": "logging is Python's: logging.getLogger('pyrpc_xds')",
    "tracing": _TRACES,
    "otel": _TRACES,
    "metrics": _TRACES,
    "metadata-report": "the mesh needs no metadata of Dubbo's: see provided_by",
    "metadata": "the mesh needs no metadata of Dubbo's: see provided_by",
    "event-dispatcher-type": "there are no Dubbo events here",
    "cache-file": "nothing is cached in files",
    "module": _WORDS,
    "qos": "pyrpc-xds dump and grpc's health service show the state",
    "scan": "services and references are given to Dubbo.server() and Dubbo.reference()",
    "config": "keys are read relaxed in any case",
    "environment": _WORDS,
}
ROOT_REFUSED: Reasons = {
    "tls-config": "This version has no TLS of its own; leave the key out only where plaintext is meant",
    "ssl": "This version has no TLS of its own; leave the key out only where plaintext is meant",
}

APPLICATION_WARNINGS: Reasons = {"tag": _TAG, "shutwait": "write dubbo.shutdown.timeout"}
APPLICATION_NOTES: Reasons = {
    **_all(
        "organization module owner environment architecture logger compiler",
        _WORDS,
    ),
    **_all(
        "metadata-type metadata-service-port metadata-service-protocol register-mode "
        "register-consumer enable-file-cache service-discovery mapping-retry-interval "
        "enable-empty-protection",
        "there is no metadata service here: see provided_by",
    ),
    **_all(
        "qos-enable qos-port qos-host qos-check qos-accept-foreign-ip liveness-probe "
        "readiness-probe startup-probe",
        "grpc's health service is there for probes",
    ),
    "protocol": "services name theirs by protocol-ids",
    "parameters": _WORDS,
    "id": _WORDS,
    "serialize-check-status": _FORM,
    "executor-management-mode": _JAVA,
}

REGISTRY_WARNINGS: Reasons = {
    "username": "the control plane is asked without a password",
    "password": "the control plane is asked without a password",
    "params": "nothing of the xDS protocol is set by them",
    "parameters": "nothing of the xDS protocol is set by them",
    "zone": "localities come from the nodes' labels",
    "weight": "a reference follows one registry: see registry-ids",
    "preferred": "a reference follows one registry: see registry-ids",
    "check": "write check at the reference or the consumer",
    "timeout": "write max-wait-time-for-service-discovery at the consumer",
}
REGISTRY_NOTES: Reasons = {
    **_all(
        "register simplified dynamic register-mode",
        _REGISTERED,
    ),
    **_all(
        "ttl registry-type use-as-meta-report use-as-config-center use-as-metadata-center group "
        "namespace id subscribe session cluster file transporter client server wait accepts "
        "extra-keys version enable-empty-protection",
        "the xDS protocol has nothing of the kind",
    ),
}
REGISTRY_REFUSED: Reasons = {
    "secure": "Describe TLS to the control plane in a bootstrap file (GRPC_XDS_BOOTSTRAP)",
}

PROTOCOL_WARNINGS: Reasons = {
    "params": "give grpc's channel options to Dubbo.server(options=...)",
    "parameters": "give grpc's channel options to Dubbo.server(options=...)",
    "accesslog": _FILTERS,
    "ext-protocol": "a port serves one protocol here",
    "contextpath": "paths are /package.Service/Method",
    "threads": "give max_workers to Dubbo.server()",
}
PROTOCOL_NOTES: Reasons = {
    **_all(
        "threadpool corethreads iothreads alive queues accepts payload buffer heartbeat "
        "transporter exchanger dispatcher networker server client telnet prompt status codec "
        "charset optimizer extension preferred-protocol json-check-level keep-alive "
        "thread-pool-exhausted-listeners no-interface-support",
        _JAVA,
    ),
    **_all(
        "serialization prefer-serialization",
        _FORM,
    ),
    "register": _REGISTERED,
    "id": _WORDS,
}
PROTOCOL_REFUSED: Reasons = {"ssl-enabled": "This version's servers have no TLS of their own"}
TRIPLE_WARNINGS: Reasons = {
    "http3": "HTTP/2 is served",
    "cors": "browsers are served by a gateway",
    "openapi": "there is no such page",
    "keep-alive-interval": "give grpc.keepalive_time_ms to Dubbo.server(options=...)",
    "keep-alive-timeout": "give grpc.keepalive_timeout_ms to Dubbo.server(options=...)",
}

METHOD_WARNINGS: Reasons = {
    "retries": "a call is handed over once",
    "loadbalance": _BALANCER,
    "weight": _RULES,
    "sticky": _BALANCER,
    "actives": _LIMITS,
    **_all(
        "tps.limit.interval tps.limit.rate tps.limit.strategy execute.limit execute.limit.rejected.handler",
        _LIMITS,
    ),
}

SERVICE_METHOD_WARNINGS: Reasons = {
    **METHOD_WARNINGS,
    "timeout": "the caller decides",
    "request-timeout": "the caller decides",
}

_CALLS: Reasons = {
    "cluster": "a call is handed over once, as failfast does",
    "loadbalance": _BALANCER,
    "filter": _FILTERS,
    "serialization": _FORM,
    "retries": "a call is handed over once; a refused connection is tried elsewhere",
    "generic": "calls without a stub are grpcio's: channel.unary_unary(path)",
    "sticky": _BALANCER,
    "params": _RULES,
    "parameters": _RULES,
    "async": "use Dubbo.aio_reference(), or stub.Method.future()",
    "tag": _TAG,
    "mock": _RULES,
    "actives": _LIMITS,
    "merger": "a call goes to one service",
    "cache": "answers are not cached",
    "keep-alive-interval": "give grpc.keepalive_time_ms to Dubbo.reference(options=...)",
    "keep-alive-timeout": "give grpc.keepalive_timeout_ms to Dubbo.reference(options=...)",
    "protocol-config": "give grpc's channel options to Dubbo.reference(options=...)",
}
_CALLS_NOTES: Reasons = {
    "tracing-key": _TRACES,
    **_all(
        "proxy stub local layer id listener injvm scope",
        _PROXY,
    ),
    **_all(
        "init lazy reconnect connections sent client refer-async",
        _JAVA,
    ),
    **_all(
        "owner module application monitor",
        _WORDS,
    ),
    "unload-cluster-related": "a reference with provided_by is the mesh's in any case",
}
REFERENCE_WARNINGS: Reasons = {**_CALLS, "force.tag": _TAG}
REFERENCE_NOTES = _CALLS_NOTES
CONSUMER_WARNINGS: Reasons = {
    **_CALLS,
    "adaptive-service": _BALANCER,
    "filter-conf": _FILTERS,
    "threads": "give max_workers to your own executor",
}
CONSUMER_NOTES: Reasons = {
    **_CALLS_NOTES,
    "mesh-enabled": "a reference with provided_by is the mesh's in any case",
    "mesh-enable": "a reference with provided_by is the mesh's in any case",
    **_all(
        "threadpool corethreads queues shareconnections",
        _JAVA,
    ),
}

SERVICE_WARNINGS: Reasons = {
    "filter": _FILTERS,
    "loadbalance": _BALANCER,
    "cluster": "the caller decides",
    "retries": "the caller decides",
    "timeout": "the caller decides; write it at the reference, or in the VirtualService",
    "warmup": "write warmupDurationSecs in the DestinationRule",
    "serialization": _FORM,
    "params": _RULES,
    "parameters": _RULES,
    "accesslog": _FILTERS,
    "tag": _TAG,
    "weight": _RULES,
    "delay": "readiness is the pod's: grpc's health service",
    "executes": _LIMITS,
    **_all(
        "tps.limiter tps.limit.interval tps.limit.rate tps.limit.strategy "
        "tps.limit.rejected.handler execute.limit execute.limit.rejected.handler",
        _LIMITS,
    ),
}
SERVICE_NOTES: Reasons = {
    "tracing-key": _TRACES,
    **_all(
        "not-register register dynamic export",
        _REGISTERED,
    ),
    **_all(
        "proxy stub local layer id listener scope path document",
        _PROXY,
    ),
    **_all(
        "owner module application monitor deprecated",
        _WORDS,
    ),
}
SERVICE_REFUSED: Reasons = {
    "token": "Check it in an interceptor of Dubbo.server(interceptors=[...]), and leave the key out",
    "auth": "Check it in an interceptor of Dubbo.server(interceptors=[...]), and leave the key out",
    "param.sign": "Check it in an interceptor of Dubbo.server(interceptors=[...]), and leave the key out",
    "authenticator": "Check it in an interceptor of Dubbo.server(interceptors=[...]), and leave the key out",
}
PROVIDER_WARNINGS: Reasons = {
    **SERVICE_WARNINGS,
    "adaptive-service": _LIMITS,
    "adaptive-service-verbose": _LIMITS,
    "filter-conf": _FILTERS,
    "config-type": _FILTERS,
    "threads": "give max_workers to Dubbo.server()",
    "payload": "write max-server-recv-msg-size at the protocol",
    "methods": "write them at the service",
}
PROVIDER_NOTES = SERVICE_NOTES

SHUTDOWN_NOTES: Reasons = _all(
    "step-timeout reject-handler internal-signal offline-request-window-timeout notify-timeout "
    "closing-invoker-expire-time",
    "the server stops as gRPC's do: NOT_SERVING, calls are taken for consumer-update-wait-time, then running ones "
    "have timeout",
)
