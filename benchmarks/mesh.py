"""The mesh that every rival is given: two versions of the greeter, a header rule and weights."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .envoy import WEIGHTS

ROOT = Path(__file__).resolve().parent.parent
PORTS = {"thrift": 9090, "triple": 20000}


def host(protocol: str) -> str:
    return f"{protocol}.greeter.bench"


def target(protocol: str) -> str:
    """What a client of the mesh asks for."""
    return f"xds:///{host(protocol)}:{PORTS[protocol]}"


def documents(greeters: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """The Istio documents for greeters on these loopback ports, by protocol and version."""
    return [document for protocol, ports in greeters.items() for document in service(protocol, ports)]


def service(protocol: str, ports: dict[str, int]) -> list[dict[str, Any]]:
    endpoints = [
        {"address": "127.0.0.1", "ports": {"http2-greeter": port}, "labels": {"version": version}}
        for version, port in ports.items()
    ]
    return [
        entry(protocol, endpoints),
        istio(
            "DestinationRule",
            protocol,
            {
                "host": host(protocol),
                "subsets": [{"name": version, "labels": {"version": version}} for version in ports],
            },
        ),
        istio(
            "VirtualService",
            protocol,
            {
                "hosts": [host(protocol)],
                "http": [
                    {
                        "match": [{"headers": {"user": {"exact": "admin"}}}],
                        "route": [{"destination": {"host": host(protocol), "subset": "v2"}}],
                    },
                    {
                        "route": [
                            {"destination": {"host": host(protocol), "subset": version}, "weight": weight}
                            for version, weight in WEIGHTS.items()
                        ]
                    },
                ],
            },
        ),
    ]


def entry(name: str, endpoints: list[dict[str, Any]], port: int = 0) -> dict[str, Any]:
    return istio(
        "ServiceEntry",
        name,
        {
            "hosts": [host(name)],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": port or PORTS[name], "name": "http2-greeter", "protocol": "HTTP2"}],
            "endpoints": endpoints,
        },
    )


def istio(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def bootstrap(address: str) -> str:
    """gRPC's bootstrap JSON, for grpcio's xds:/// and for ours."""
    return json.dumps(
        {
            "xds_servers": [
                {
                    "server_uri": address,
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {
                "id": "sidecar~127.0.0.1~bench.default~default.svc.cluster.local",
                "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes"},
            },
        }
    )


@contextlib.contextmanager
def embedded(world: list[dict[str, Any]]) -> Iterator[str]:
    """The embedded control plane, in a process of its own; its address."""
    with tempfile.TemporaryDirectory(prefix="benchmark-mesh-") as folder:
        for number, document in enumerate(world):
            Path(folder, f"{number}.yaml").write_text(json.dumps(document))
        command = [sys.executable, "-m", "pyrpc_xds.cli", "control-plane", "--config", folder]
        process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            yield announced_address(process.stdout)
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()


def announced_address(output: IO[str]) -> str:
    """What the control plane prints when it serves: a JSON object, on one line or several."""
    text = ""
    for line in output:
        text += line
        with contextlib.suppress(json.JSONDecodeError):
            address: str = json.loads(text)["address"]
            return address
    raise RuntimeError(f"the control plane did not start; it printed: {text or 'nothing'}")


@contextlib.contextmanager
def istiod(world: list[dict[str, Any]]) -> Iterator[str]:
    """The real istiod; its address."""
    from tests.interop.peers.istiod import IstiodProcess

    text = "\n---\n".join(json.dumps(document) for document in world)
    with IstiodProcess(text) as process:
        yield process.xds_address


CONTROL_PLANES = {"embedded": embedded, "istiod": istiod}
