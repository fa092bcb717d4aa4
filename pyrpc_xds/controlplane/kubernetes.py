"""Service, Pod, Node, EndpointSlice and Endpoints, read from their YAML.

Fields that do not concern the mesh are passed over in silence, because objects are often taken as
``kubectl get -o yaml`` prints them.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType

from .fields import MAX_PORT, Fields
from .meta import Meta
from .resources import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    Node,
    Pod,
    Service,
    ServicePort,
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_WORKLOAD_NAME_LABEL = "service.istio.io/workload-name"
# What a ReplicaSet of a Deployment adds to the Deployment's name.
_TEMPLATE_HASH_LABEL = "pod-template-hash"
_CRON_JOB = re.compile(r"^(.+)-\d{8,10}$")


def read_service(meta: Meta, document: Fields) -> Service:
    """A Service. Raises ConfigError."""
    spec = document.child("spec")
    kind = spec.choice("type", ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"), "ClusterIP")
    cluster_ip = spec.text("clusterIP")
    headless = cluster_ip == "None"
    addresses = () if headless else spec.texts("clusterIPs") or ((cluster_ip,) if cluster_ip else ())
    for address in addresses:
        check_ip(spec, "clusterIP", address)
    ports = []
    for field in spec.children("ports"):
        number = field.port("port")
        ports.append(
            ServicePort(
                name=field.text("name"),
                port=number,
                target_port=_target_port(field, number),
                protocol=field.choice("protocol", ("TCP", "UDP", "SCTP"), "TCP"),
                app_protocol=field.text("appProtocol") or None,
            )
        )
        if sum(1 for known in ports if known.name == ports[-1].name) > 1:
            field.fail("name", f"{ports[-1].name!r} is there twice", "Give each port a name of its own.")
    return Service(
        meta=meta,
        ports=tuple(ports),
        cluster_ips=tuple(addresses),
        headless=headless,
        selector=spec.labels("selector"),
        external_name=spec.text("externalName") if kind == "ExternalName" else "",
        publish_not_ready_addresses=spec.boolean("publishNotReadyAddresses"),
        node_local=spec.text("internalTrafficPolicy") == "Local",
    )


def _target_port(field: Fields, number: int) -> int | str:
    value = field.raw("targetPort")
    if value is None or value == 0:
        return number
    if isinstance(value, str):
        return int(value) if value.isdigit() else value
    return field.port("targetPort")


def check_ip(field: Fields, name: str, address: str) -> None:
    """Refuse what is not an IP address. Raises ConfigError."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        field.fail(name, f"is {address!r}, not an IP address")


def read_pod(meta: Meta, document: Fields) -> Pod:
    """A Pod. A status without a Ready condition counts as ready: hand-written pods have none."""
    spec = document.child("spec")
    status = document.child("status")
    address = status.text("podIP")
    if address:
        check_ip(status, "podIP", address)
    ready = True
    for condition in status.children("conditions"):
        if condition.text("type") == "Ready":
            ready = condition.text("status") == "True"
    ports: dict[str, int] = {}
    for container in spec.children("containers"):
        for port in container.children("ports"):
            if name := port.text("name"):
                ports.setdefault(name, port.port("containerPort"))
    return Pod(
        meta=meta,
        ip=address,
        ready=ready,
        finished=status.text("phase") in {"Succeeded", "Failed"}
        or document.child("metadata").has("deletionTimestamp"),
        node_name=spec.text("nodeName"),
        container_ports=MappingProxyType(ports),
        workload_name=_workload_name(meta, document),
    )


def _workload_name(meta: Meta, document: Fields) -> str:
    """The name of what made the pod: its Deployment, CronJob or other controller, or the pod itself."""
    if name := meta.labels.get(_WORKLOAD_NAME_LABEL):
        return name
    metadata = document.child("metadata")
    for owner in metadata.children("ownerReferences") if metadata.has("generateName") else ():
        if not owner.boolean("controller"):
            continue
        kind, name = owner.text("kind"), owner.text("name")
        template = meta.labels.get(_TEMPLATE_HASH_LABEL, "")
        if kind == "ReplicaSet" and template and name.endswith("-" + template):
            return name.removesuffix("-" + template)
        if kind == "Job" and (match := _CRON_JOB.match(name)):
            return match.group(1)
        return name
    return meta.name


def read_node(meta: Meta, document: Fields) -> Node:
    """A Node."""
    document.ignore("spec", "status")
    return Node(meta)


def read_endpoint_slice(meta: Meta, document: Fields) -> EndpointSlice:
    """An EndpointSlice. One without the label of its service belongs to none, as in Kubernetes."""
    family = document.choice("addressType", ("IPv4", "IPv6", "FQDN"), "IPv4")
    ports = tuple(
        EndpointPort(field.text("name"), field.integer("port", 0, low=0, high=MAX_PORT))
        for field in document.children("ports")
    )
    addresses: list[EndpointAddress] = []
    for endpoint in document.children("endpoints"):
        conditions = endpoint.child("conditions")
        ready = conditions.boolean("ready", True)
        target = endpoint.child("targetRef")
        pod = None
        if target.text("kind") == "Pod":
            pod = (target.text("namespace") or meta.namespace, target.text("name", None))
        for address in endpoint.texts("addresses"):
            if family != "FQDN":
                check_ip(endpoint, "addresses", address)
                addresses.append(
                    EndpointAddress(
                        address,
                        ready=ready,
                        serving=conditions.boolean("serving", True),
                        # An absent condition counts as terminating once the endpoint is not ready.
                        terminating=conditions.boolean("terminating", True),
                        pod=pod,
                    )
                )
    return EndpointSlice(meta, meta.labels.get(SERVICE_NAME_LABEL, ""), tuple(addresses), ports)


def read_endpoints(meta: Meta, document: Fields) -> Endpoints:
    """An Endpoints object."""
    slices = []
    for subset in document.children("subsets"):
        ports = tuple(
            EndpointPort(field.text("name"), field.port("port")) for field in subset.children("ports")
        )
        addresses = []
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for field in subset.children(name):
                address = field.text("ip", None)
                check_ip(field, "ip", address)
                target = field.child("targetRef")
                pod = None
                if target.text("kind") == "Pod":
                    pod = (target.text("namespace") or meta.namespace, target.text("name", None))
                addresses.append(
                    EndpointAddress(address, ready=ready, serving=ready, terminating=True, pod=pod)
                )
        slices.append(EndpointSlice(meta, meta.name, tuple(addresses), ports))
    return Endpoints(meta, tuple(slices))
