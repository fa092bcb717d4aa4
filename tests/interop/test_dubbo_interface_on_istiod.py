"""A Dubbo reference by its interface's name alone, on the real istiod: a ServiceEntry has that name as its host."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import pyrpc_xds
from examples.greeter import idl, scenario
from tests.e2e.interface_host import SERVICE_ENTRY, dubbo_yaml, rules
from tests.e2e.mesh import eventually
from tests.interop.peers import istiod

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

SELECTED = SERVICE_ENTRY + "  workloadSelector: {labels: {app: dubbo-go-server}}\n"
POD = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec: {{address: 127.0.0.1, ports: {{grpc: {port}}}, labels: {{app: dubbo-go-server, dubbogoAppVersion: {version}}}}}
"""
RULES = rules("dubbo-go-app.default.svc.cluster.local", 20000)


def test_interface_name_alone_leads_to_the_selected_pods_and_by_the_rules_of_their_service(
    tmp_path: Path,
) -> None:
    if reason := istiod.skip_reason():
        pytest.skip(reason)
    messages, services = idl.protobuf()
    with istiod.IstiodProcess() as peer, scenario.servers(peer.xds_address, dubbo=True) as ports:
        pods = "".join(
            POD.format(name=version, port=ports[port], version=version)
            for version, port in (("v1", 20001), ("v2", 20002))
        )
        peer.apply(scenario.mesh_yaml("rules-0-none.yaml", ports) + SELECTED + pods)
        reference = "{protocol: tri, interface: org.apache.dubbo.sample.Greeter}"
        consumer = f"max-wait-time-for-service-discovery: 20s, references: {{GreeterClientImpl: {reference}}}"
        file = dubbo_yaml(tmp_path, peer.xds_address, consumer)
        environ = scenario.workload("client", peer.xds_address)
        with pyrpc_xds.Dubbo.load(file, environ) as dubbo:
            stub = dubbo.reference(services.GreeterStub)

            def seen(**attachments: str) -> Counter[str]:
                with pyrpc_xds.attachments(attachments):
                    calls = (stub.SayHello(messages.HelloRequest(name="x"), timeout=10.0) for _ in range(100))
                    return Counter(user.id for user in calls)

            assert seen() == {"v1.0.0": 50, "v2.0.0": 50}
            peer.apply(scenario.mesh_yaml("rules-0-none.yaml", ports) + SELECTED + pods + RULES)
            eventually(lambda: set(seen(user="admin")) == {"v2.0.0"}, 20.0)
            assert seen() == {"v1.0.0": 100}
            assert seen(user="admin") == {"v2.0.0": 100}
