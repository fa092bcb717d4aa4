"""The greeter's interface as a host of the mesh, and Dubbo's YAML for a client that calls it."""

from __future__ import annotations

from pathlib import Path

HOST = "org.apache.dubbo.sample.greeter"
SERVICE_ENTRY = f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: greeter-interface, namespace: default}}
spec:
  hosts: [{HOST}]
  ports: [{{number: 80, name: grpc, protocol: GRPC}}]
  location: MESH_INTERNAL
  resolution: STATIC
"""


def rules(service: str, port: int) -> str:
    """Calls of the host go to subset v1 of a service, those of ``user: admin`` to v2."""
    to = f"host: {service}, port: {{number: {port}}}"
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: greeter-interface, namespace: default}}
spec:
  hosts: [{HOST}]
  http:
  - match: [{{headers: {{user: {{exact: admin}}}}}}]
    route: [{{destination: {{{to}, subset: v2}}}}]
  - route: [{{destination: {{{to}, subset: v1}}}}]
"""


def dubbo_yaml(folder: Path, control_plane: str, consumer: str) -> Path:
    """Dubbo's file of a client.

    :param control_plane: ``host:port``.
    :param consumer: what stands within ``consumer: {}``.
    """
    file = folder / "dubbogo.yaml"
    file.write_text(
        f"dubbo:\n  registries: {{xds: {{protocol: xds, address: '{control_plane}'}}}}\n"
        f"  consumer: {{{consumer}}}\n"
    )
    return file
