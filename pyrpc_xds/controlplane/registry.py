"""The mesh as it stands: services with their ports, the endpoints behind them, and the rules for them.

Built once for every set of documents and never changed. What a namespace may see of it is a
:class:`Scope`. The rules of precedence are istiod's, established by comparing answers
(tests/interop/test_controlplane_equals_istiod.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .cluster_patches import in_order
from .inputs import Inputs, sort_inputs
from .mesh_endpoints import Health, MeshEndpoint
from .meta import NO_LABELS, Labels
from .names import CLUSTER_DOMAIN, UNSPECIFIED_ADDRESS, is_ip, service_host
from .protocols import Protocol, parse_protocol, port_protocol
from .resources import (
    EndpointAddress,
    EndpointPort,
    EndpointSlice,
    Pod,
    Resolution,
    Resource,
    Service,
    ServiceEntry,
    Workload,
)
from .rules import MergedRule, RuleIndex, exported, selects

_LOCALITY_LABEL = "istio-locality"
_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_SUBZONE, _CLUSTER, _HOSTNAME = (
    "topology.istio.io/subzone",
    "topology.istio.io/cluster",
    "kubernetes.io/hostname",
)
_EXPORT_ANNOTATION = "networking.istio.io/exportTo"


@dataclass(frozen=True, slots=True)
class MeshPort:
    """A port of a service."""

    name: str
    number: int
    protocol: Protocol


@dataclass(frozen=True, slots=True, eq=False)
class MeshService:
    """A host that calls can be made to. Compared by identity: a mesh has each one once."""

    host: str
    namespace: str
    ports: tuple[MeshPort, ...]
    kubernetes: bool
    addresses: tuple[str, ...] = (UNSPECIFIED_ADDRESS,)
    headless: bool = False
    dns: bool = False
    mesh_external: bool = False
    external_name: str = ""
    aliases: tuple[str, ...] = ()
    export_to: tuple[str, ...] = ()
    node_local: bool = False

    def port(self, number: int) -> MeshPort | None:
        """The port of that number."""
        return next((port for port in self.ports if port.number == number), None)


class Mesh:
    """Everything that the documents say, linked up.

    :param resources: the objects, in the order in which they were read.
    :param domain: the cluster's domain.
    :param cluster_id: the cluster's name, which endpoints carry as a label.
    """

    def __init__(
        self, resources: Iterable[Resource], *, domain: str = CLUSTER_DOMAIN, cluster_id: str = "Kubernetes"
    ) -> None:
        inputs = sort_inputs(resources)
        self.domain = domain
        self.cluster_id = cluster_id
        self._nodes = inputs.nodes
        self._pods = {(pod.meta.namespace, pod.meta.name): pod for pod in inputs.pods}
        self._pods_by_ip: dict[str, list[Pod]] = defaultdict(list)
        for pod in inputs.pods:
            if pod.ip and pod.ready and not pod.finished:
                self._pods_by_ip[pod.ip].append(pod)
        self.services: list[MeshService] = []
        self._endpoints: dict[tuple[str, str], list[MeshEndpoint]] = defaultdict(list)
        self._add_service_entries(inputs)
        self._add_services(inputs)
        self.virtual_services = tuple(
            service
            for service in inputs.virtual_services
            if service.hosts and (not service.gateways or "mesh" in service.gateways)
        )
        self._rules = RuleIndex(inputs.destination_rules)
        self.envoy_filters = in_order(inputs.envoy_filters)
        self._scopes: dict[str, Scope] = {}

    # --- services and endpoints ---------------------------------------------------------------------------

    def _add_services(self, inputs: Inputs) -> None:
        aliases: dict[str, list[str]] = defaultdict(list)
        for service in inputs.services:
            if service.external_name:
                aliases[service.external_name].append(
                    service_host(service.meta.name, service.meta.namespace, self.domain)
                )
        for service in inputs.services:
            namespace, name = service.meta.namespace, service.meta.name
            host = service_host(name, namespace, self.domain)
            ports = tuple(MeshPort(port.name, port.port, port_protocol(port)) for port in service.ports)
            self.services.append(
                MeshService(
                    host=host,
                    namespace=namespace,
                    ports=ports,
                    kubernetes=True,
                    addresses=service.cluster_ips or (UNSPECIFIED_ADDRESS,),
                    headless=service.headless,
                    mesh_external=bool(service.external_name),
                    external_name=service.external_name,
                    aliases=tuple(sorted(aliases[host])),
                    export_to=_annotated_export(service.meta.annotations),
                    node_local=service.node_local,
                )
            )
            found = self._endpoints[(host, namespace)]
            found.extend(self._service_endpoints(service, inputs))
            found.extend(self._selected_workload_entries(service, inputs))

    def _service_endpoints(self, service: Service, inputs: Inputs) -> list[MeshEndpoint]:
        """The endpoints of a Service.

        From its EndpointSlices; without any, from its Endpoints; without those, from the pods that its
        selector finds, as a cluster's own controllers would make slices of them.
        """
        key = (service.meta.namespace, service.meta.name)
        slices: Iterable[EndpointSlice]
        if key in inputs.slices:
            slices = sorted(inputs.slices[key], key=lambda item: item.meta.name)
        elif key in inputs.endpoints:
            slices = inputs.endpoints[key].slices
        else:
            slices = _slices_of_pods(service, inputs.pods)
        found: dict[tuple[str, str], MeshEndpoint] = {}
        for part in slices:
            for address in part.addresses:
                # An endpoint that is not ready and not known to stay is on its way out.
                if not address.ready and address.terminating:
                    continue
                pod = self._pod_of(address, service.meta.namespace)
                if pod is None and address.pod is not None:
                    continue  # not there yet, or not any more: without it the labels would be wrong
                for port in part.ports:
                    # One address serves a named port once; istiod takes no second one, whatever its number.
                    found.setdefault(
                        (address.ip, port.name),
                        self._pod_endpoint(address, port.name, port.port, pod),
                    )
        return list(found.values())

    def _pod_of(self, address: EndpointAddress, namespace: str) -> Pod | None:
        if address.pod is not None:
            return self._pods.get(address.pod)
        candidates = (pod for pod in self._pods_by_ip.get(address.ip, ()) if pod.meta.namespace == namespace)
        return next(candidates, None)

    def _pod_endpoint(
        self, address: EndpointAddress, port_name: str, port: int, pod: Pod | None
    ) -> MeshEndpoint:
        health = Health.HEALTHY if address.ready else Health.UNHEALTHY
        if pod is None:
            return MeshEndpoint(
                address.ip, port, port_name, labels=self._augment(NO_LABELS, "", ""), health=health
            )
        locality = self._pod_locality(pod)
        return MeshEndpoint(
            address=address.ip,
            port=port,
            port_name=port_name,
            labels=self._augment(pod.meta.labels, locality, pod.node_name),
            locality=locality,
            workload=pod.workload_name,
            namespace=pod.meta.namespace,
            health=health,
            tls_mode=pod.meta.labels.get("security.istio.io/tlsMode", ""),
            node_name=pod.node_name,
        )

    def _pod_locality(self, pod: Pod) -> str:
        if label := pod.meta.labels.get(_LOCALITY_LABEL):
            return label.replace(".", "/") if "/" not in label else label
        node = self._nodes.get(pod.node_name)
        if node is None:
            return ""
        parts = [node.meta.labels.get(key, "") for key in (_REGION, _ZONE, _SUBZONE)]
        return "/".join(parts) if any(parts) else ""

    def _augment(self, labels: Labels, locality: str, node_name: str) -> tuple[tuple[str, str], ...]:
        """The labels with those that the place adds, so that subsets can select by place."""
        result = dict(labels)
        parts = [*locality.split("/"), "", ""][:3]
        added = ((_REGION, parts[0]), (_ZONE, parts[1]), (_SUBZONE, parts[2]))
        result.update((key, value) for key, value in added if value)
        result[_CLUSTER] = self.cluster_id
        if node_name:
            result[_HOSTNAME] = node_name
        return tuple(sorted(result.items()))

    def _workload_endpoint(
        self, workload: Workload, port_name: str, port: int, name: str, namespace: str
    ) -> MeshEndpoint:
        tls_mode = workload.labels.get(
            "security.istio.io/tlsMode", "istio" if workload.service_account else ""
        )
        unix = workload.address.startswith("unix://")
        return MeshEndpoint(
            address=workload.address.removeprefix("unix://"),
            port=0 if unix else port,
            port_name=port_name,
            labels=self._augment(workload.labels, workload.locality, ""),
            locality=workload.locality,
            weight=workload.weight or 1,
            workload=name,
            namespace=namespace,
            tls_mode=tls_mode,
        )

    def _selected_workload_entries(self, service: Service, inputs: Inputs) -> list[MeshEndpoint]:
        """The WorkloadEntries that a Service's selector finds."""
        if not service.selector or service.headless:
            return []
        found = []
        for entry in inputs.workload_entries:
            if entry.meta.namespace != service.meta.namespace or not is_ip(entry.workload.address):
                continue
            if not selects(service.selector, entry.workload.labels):
                continue
            for port in service.ports:
                target = entry.workload.ports.get(port.name)
                if target is None and isinstance(port.target_port, str):
                    target = entry.workload.ports.get(port.target_port, port.port)
                number = target if target is not None else int(port.target_port)
                found.append(
                    self._workload_endpoint(
                        entry.workload, port.name, number, entry.meta.name, entry.meta.namespace
                    )
                )
        return found

    def _add_service_entries(self, inputs: Inputs) -> None:
        for entry in inputs.service_entries:
            ports = tuple(
                MeshPort(port.name, port.number, parse_protocol(port.protocol)) for port in entry.ports
            )
            dns = entry.resolution in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}
            for host in entry.hosts:
                self.services.append(
                    MeshService(
                        host=host,
                        namespace=entry.meta.namespace,
                        ports=ports,
                        kubernetes=False,
                        addresses=entry.addresses[:1] or (UNSPECIFIED_ADDRESS,),
                        headless=entry.resolution is Resolution.NONE,
                        dns=dns,
                        mesh_external=entry.mesh_external,
                        export_to=entry.export_to,
                    )
                )
                self._endpoints[(host, entry.meta.namespace)].extend(self._entry_endpoints(entry, inputs))

    def _entry_endpoints(self, entry: ServiceEntry, inputs: Inputs) -> list[MeshEndpoint]:
        namespace = entry.meta.namespace
        workloads: list[tuple[str, Workload]] = []
        if entry.workload_selector is None:
            workloads = [(f"{entry.meta.name}-{index}", item) for index, item in enumerate(entry.endpoints)]
        else:
            for candidate in inputs.workload_entries:
                if candidate.meta.namespace == namespace and selects(
                    entry.workload_selector, candidate.workload.labels
                ):
                    workloads.append((candidate.meta.name, candidate.workload))
        found = []
        for port in entry.ports:
            for name, workload in workloads:
                number = workload.ports.get(port.name) or port.target_port or port.number
                found.append(self._workload_endpoint(workload, port.name, number, name, namespace))
        if entry.workload_selector is not None:
            for pod in inputs.pods:
                usable = pod.meta.namespace == namespace and pod.ip and pod.ready and not pod.finished
                if usable and selects(entry.workload_selector, pod.meta.labels):
                    address = EndpointAddress(pod.ip, pod=(namespace, pod.meta.name))
                    for port in entry.ports:
                        number = port.target_port or port.number
                        found.append(self._pod_endpoint(address, port.name, number, pod))
        return found

    def endpoints(self, service: MeshService) -> tuple[MeshEndpoint, ...]:
        """All endpoints of all ports of a service."""
        return tuple(self._endpoints.get((service.host, service.namespace), ()))

    # --- what a namespace sees ---------------------------------------------------------------------------

    def scope(self, namespace: str) -> Scope:
        """What a node of ``namespace`` sees. The same object for the same namespace."""
        found = self._scopes.get(namespace)
        if found is None:
            found = self._scopes.setdefault(namespace, Scope(self, namespace))
        return found

    def rule(self, namespace: str, labels: Labels, service: MeshService) -> MergedRule | None:
        """The DestinationRule that a node of ``namespace`` with ``labels`` uses for a service."""
        return self._rules.find(namespace, labels, service.host, service.namespace)


def _annotated_export(annotations: Labels) -> tuple[str, ...]:
    text = annotations.get(_EXPORT_ANNOTATION, "")
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _slices_of_pods(service: Service, pods: Iterable[Pod]) -> list[EndpointSlice]:
    """What a cluster's controller makes of a selector: one slice for each pod found."""
    if not service.selector:
        return []
    found = []
    for pod in pods:
        if pod.meta.namespace != service.meta.namespace or not pod.ip or pod.finished:
            continue
        if not selects(service.selector, pod.meta.labels):
            continue
        ports = []
        for port in service.ports:
            target = port.target_port
            number = pod.container_ports.get(target, 0) if isinstance(target, str) else target
            if number:
                ports.append(EndpointPort(port.name, number))
        address = EndpointAddress(
            pod.ip, ready=pod.ready, serving=pod.ready, pod=(pod.meta.namespace, pod.meta.name)
        )
        found.append(EndpointSlice(pod.meta, service.meta.name, (address,), tuple(ports)))
    return found


class Scope:
    """The services and VirtualServices that a node of one namespace sees, one service to a host."""

    def __init__(self, mesh: Mesh, namespace: str) -> None:
        self.mesh = mesh
        self.namespace = namespace
        # Filled by virtual_hosts.port_plan: what is worked out once for a port.
        self.port_plans: dict[tuple[int, str, tuple[tuple[str, str], ...]], object] = {}
        self.services: dict[str, MeshService] = {}
        for service in mesh.services:
            if exported(service.export_to, service.namespace, namespace):
                known = self.services.get(service.host)
                if known is None or self._better(service, known):
                    self.services[service.host] = service
        self.by_lower_host = {host.lower(): service for host, service in self.services.items()}
        self.virtual_services = tuple(
            service
            for service in mesh.virtual_services
            if exported(service.export_to, service.meta.namespace, namespace)
        )

    def _better(self, new: MeshService, known: MeshService) -> bool:
        """A Kubernetes Service goes before a ServiceEntry, the node's own namespace before others."""
        if new.kubernetes != known.kubernetes:
            return new.kubernetes
        return new.namespace == self.namespace and known.namespace != self.namespace

    def service(self, host: str) -> MeshService | None:
        """The service of that host, in any case."""
        return self.services.get(host) or self.by_lower_host.get(host.lower())

    def services_on(self, port: int) -> dict[str, MeshService]:
        """The services that have a port of that number, by lower-case host."""
        return {
            host: service for host, service in self.by_lower_host.items() if service.port(port) is not None
        }
