"""What a mesh is written in: the Kubernetes and Istio objects that the control plane understands.

Frozen values with defaults filled in; reading and validating YAML is in :mod:`.kubernetes` and
:mod:`.istio`. Field names follow the objects' own, in Python spelling. Durations are seconds.

Sources: the Kubernetes API reference (core/v1, discovery.k8s.io/v1) and Istio's networking API
(VirtualService, DestinationRule, ServiceEntry, WorkloadEntry).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from .cluster_patches import EnvoyFilter
from .meta import Labels, Meta, no_labels, no_ports
from .policies import DestinationRule

# --- Kubernetes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service. ``target_port`` is a number, or the name of a container port."""

    name: str
    port: int
    target_port: int | str
    protocol: str = "TCP"
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A Kubernetes Service."""

    meta: Meta
    ports: tuple[ServicePort, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    headless: bool = False
    selector: Labels = field(default_factory=no_labels)
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    node_local: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A Kubernetes Pod, as far as it takes part in the mesh."""

    meta: Meta
    ip: str = ""
    ready: bool = True
    finished: bool = False
    node_name: str = ""
    container_ports: Mapping[str, int] = field(default_factory=no_ports)
    workload_name: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes Node: its labels carry region and zone."""

    meta: Meta


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """One address behind a Service, and the pod (namespace, name) that has it."""

    ip: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    pod: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class EndpointPort:
    """A named port of a set of addresses."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A Kubernetes EndpointSlice, or one subset of an Endpoints object: every address has every port."""

    meta: Meta
    service: str
    addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A Kubernetes Endpoints object, as the slices that mirror it."""

    meta: Meta
    slices: tuple[EndpointSlice, ...] = ()


# --- Istio: who there is ----------------------------------------------------------------------------


class Resolution(Enum):
    """How the endpoints of a service are found."""

    STATIC = "STATIC"
    NONE = "NONE"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


@dataclass(frozen=True, slots=True)
class Workload:
    """One endpoint of a ServiceEntry, or the spec of a WorkloadEntry."""

    address: str
    ports: Mapping[str, int] = field(default_factory=no_ports)
    labels: Labels = field(default_factory=no_labels)
    weight: int = 0
    locality: str = ""
    service_account: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class ServiceEntryPort:
    """A port of a ServiceEntry; ``target_port`` 0 means the port's own number."""

    name: str
    number: int
    protocol: str
    target_port: int = 0


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """An Istio ServiceEntry."""

    meta: Meta
    hosts: tuple[str, ...]
    ports: tuple[ServiceEntryPort, ...]
    addresses: tuple[str, ...] = ()
    mesh_external: bool = True
    resolution: Resolution = Resolution.NONE
    endpoints: tuple[Workload, ...] = ()
    workload_selector: Labels | None = None
    export_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """An Istio WorkloadEntry; the labels are those of spec and metadata together."""

    meta: Meta
    workload: Workload


# --- Istio: where calls go --------------------------------------------------------------------------


class MatchKind(Enum):
    """How a StringMatch compares. PRESENT is Istio's empty match."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One comparison of a string."""

    kind: MatchKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """One entry of ``http[].match``: everything in it must hold."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    method: StringMatch | None = None
    authority: StringMatch | None = None
    scheme: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query_params: tuple[tuple[str, StringMatch], ...] = ()
    port: int = 0
    source_labels: Labels = field(default_factory=no_labels)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: str = ""


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """Headers to set, add and remove; ``authority`` is the value given for the host header."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    """``headers`` of a route or of a destination."""

    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call goes: the host as written, made fully qualified; the subset; a port or 0."""

    host: str
    subset: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class WeightedDestination:
    """One entry of ``http[].route``."""

    destination: Destination
    weight: int = 0
    headers: Headers = Headers()


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where copies of calls go, and for what percentage of them."""

    destination: Destination
    percentage: float | None = None
    integer_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay fault."""

    fixed: timedelta
    percentage: float | None = None
    integer_percent: int = 0


@dataclass(frozen=True, slots=True)
class Abort:
    """An abort fault: an HTTP status or a gRPC status number."""

    http_status: int | None = None
    grpc_status: int | None = None
    percentage: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """``http[].fault``."""

    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """``http[].retries``; ``attempts`` 0 turns retrying off."""

    attempts: int = 0
    per_try_timeout: timedelta | None = None
    retry_on: str = ""
    remote_localities: bool = False
    ignore_previous_hosts: bool | None = None
    backoff: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """``http[].rewrite``."""

    uri: str = ""
    authority: str = ""
    regex: str = ""
    substitution: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """``http[].redirect``. ``port`` is None unless given; ``from_request_port`` takes the request's."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    from_request_port: bool = False
    code: int = 301


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """``http[].directResponse``."""

    status: int
    text: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cors:
    """``http[].corsPolicy``."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool | None = None
    ignore_unmatched_preflights: bool = False


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of ``http`` of a VirtualService."""

    name: str = ""
    match: tuple[HttpMatch, ...] = ()
    route: tuple[WeightedDestination, ...] = ()
    timeout: timedelta | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    cors: Cors | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class VirtualService:
    """An Istio VirtualService; hosts are fully qualified."""

    meta: Meta
    hosts: tuple[str, ...]
    http: tuple[HttpRoute, ...] = ()
    gateways: tuple[str, ...] = ()
    export_to: tuple[str, ...] = ()


Resource = (
    Service
    | Pod
    | Node
    | EndpointSlice
    | Endpoints
    | ServiceEntry
    | WorkloadEntry
    | VirtualService
    | DestinationRule
    | EnvoyFilter
)
