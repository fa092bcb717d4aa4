"""ServiceEntry and WorkloadEntry, read from their YAML."""

from __future__ import annotations

import ipaddress
from types import MappingProxyType

from .fields import Fields
from .kubernetes import check_ip
from .meta import Meta
from .resources import Resolution, ServiceEntry, ServiceEntryPort, Workload, WorkloadEntry

_PROTOCOLS = ("HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "REDIS", "MYSQL", "TCP", "TLS", "UDP")
# Protocols that carry the host, so that several may share a port.
_MANY_HOSTS = {"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS"}


def read_service_entry(meta: Meta, document: Fields) -> ServiceEntry:
    """A ServiceEntry. Raises ConfigError."""
    spec = document.child("spec")
    hosts = spec.texts("hosts")
    if not hosts:
        spec.fail("hosts", "is empty", "Name at least one host.")
    for host in hosts:
        if host == "*":
            spec.fail("hosts", "has '*', which would be every host", "Name a domain, such as *.example.com.")
    addresses = []
    for address in spec.texts("addresses"):
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            spec.fail("addresses", f"has {address!r}, which is neither an IP address nor a range (CIDR)")
        addresses.append(str(network.network_address) if network.num_addresses == 1 else address)
    ports = tuple(_service_entry_port(field) for field in spec.children("ports"))
    for what, values in (("number", [p.number for p in ports]), ("name", [p.name for p in ports])):
        if len(set(values)) != len(values):
            spec.fail("ports", f"have the same {what} twice", f"Give each port a {what} of its own.")
    resolution = Resolution(
        spec.choice("resolution", tuple(kind.value for kind in Resolution), Resolution.NONE.value)
    )
    for port in ports if len(hosts) > 1 else ():
        if port.protocol.upper() not in _MANY_HOSTS:
            spec.fail("hosts", f"are several, with port {port.name!r}", "Give such a port one host only.")
    endpoints = tuple(_workload(field, None) for field in spec.children("endpoints"))
    selector = spec.optional_child("workloadSelector")
    if selector is not None and endpoints:
        spec.fail("endpoints", "and workloadSelector are both given", "Keep one of the two.")
    if len(ports) != 1 and any(endpoint.address.startswith("unix://") for endpoint in endpoints):
        spec.fail("ports", "are not one, with an endpoint on a Unix socket", "Give the entry one port.")
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
                spec.fail(f"endpoints[{index}].ports", f"names {name!r}, which is not a port of this entry")
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


def read_workload_entry(meta: Meta, document: Fields) -> WorkloadEntry:
    """A WorkloadEntry. Raises ConfigError."""
    return WorkloadEntry(meta, _workload(document.child("spec"), meta))
