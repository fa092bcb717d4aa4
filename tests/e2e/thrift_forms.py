"""The EnvoyFilter of docs/thrift.md, and two greeters each of which takes what it says of them and nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyrpc_xds
from examples.greeter import idl
from examples.greeter.server import ThriftGreeter
from pyrpc_xds.transports.thrift import current_call

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "thrift.md"
TARGET = "xds:///greeter.default.svc.cluster.local:9090"
V1, V2 = (
    "outbound|9090|v1|greeter.default.svc.cluster.local",
    "outbound|9090|v2|greeter.default.svc.cluster.local",
)
PATH = "/org.apache.dubbo.sample.Greeter/SayHello"


def documented() -> str:
    """The YAML of the page that is an EnvoyFilter."""
    (found,) = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        if "kind: EnvoyFilter" in block
    ]
    return str(found)


class Greeter(ThriftGreeter):
    """Answers with its version, and with the user who calls where the form of the call carries that."""

    def SayHello(self, request: Any) -> Any:
        reply = super().SayHello(request)
        reply.name = current_call().incoming.get("user", "")
        return reply


@contextmanager
def greeters(xds: pyrpc_xds.XdsClient) -> Iterator[dict[str, str]]:
    """The addresses of v1, which takes framed messages only, and v2, which takes TTHeader only."""
    with ExitStack() as stack:
        found = {}
        for host, version, framing in (("127.0.0.2", "v1", "framed"), ("127.0.0.3", "v2", "ttheader")):
            server = xds.thrift.server(idl.thrift().Greeter, Greeter(version), f"{host}:0", framing=framing)
            server.start()
            stack.callback(server.stop, 0)
            found[version] = server.address
        yield found


def world(addresses: dict[str, str], *rules: str) -> str:
    """A mesh with these greeters as the pods of one Service, calls to its versions in turn, and ``rules``."""
    text = """
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec:
  clusterIP: 10.96.1.1
  ports: [{name: http-thrift, port: 9090}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter}
spec:
  host: greeter
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter}
spec:
  hosts: [greeter]
  http:
  - route:
    - {destination: {host: greeter, subset: v1}, weight: 50}
    - {destination: {host: greeter, subset: v2}, weight: 50}
"""
    for version, address in addresses.items():
        host, port = address.split(":")
        text += f"""---
apiVersion: v1
kind: Pod
metadata: {{name: greeter-{version}, labels: {{version: {version}}}}}
status: {{podIP: {host}, phase: Running}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: greeter-{version}, labels: {{kubernetes.io/service-name: greeter}}}}
addressType: IPv4
ports: [{{name: http-thrift, port: {port}}}]
endpoints: [{{addresses: [{host}], conditions: {{ready: true}}}}]
"""
    return "\n---\n".join((text, *rules))


@contextmanager
def caller(xds: pyrpc_xds.XdsClient, kind: str, **options: Any) -> Iterator[Callable[[], tuple[str, str]]]:
    """A function that calls as ``admin``: the version that answered, and whom it took the caller for."""
    module = idl.thrift()
    request = module.HelloRequest(name="x")
    if kind == "sync":
        greeter = xds.thrift.client(module.Greeter, TARGET, timeout=10.0, **options)

        def call() -> tuple[str, str]:
            with pyrpc_xds.attachments({"user": "admin"}):
                reply = greeter.SayHello(request)
            return str(reply.id), str(reply.name)

        yield call
        return
    with asyncio.Runner() as runner:

        async def start() -> Any:
            return xds.thrift.aio_client(module.Greeter, TARGET, timeout=10.0, **options)

        client = runner.run(start())

        async def once() -> tuple[str, str]:
            with pyrpc_xds.attachments({"user": "admin"}):
                reply = await client.SayHello(request)
            return str(reply.id), str(reply.name)

        yield lambda: runner.run(once())

        async def stop() -> None:
            client.close()
            xds.close()

        runner.run(stop())
