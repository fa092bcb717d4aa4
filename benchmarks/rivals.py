"""The rivals: the ways in which a Python program can call the greeter of the mesh."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.interop.peers import envoy as envoy_peer

from . import envoy, greeters, mesh
from .rounds import Rival

BARE_THRIFT, ENVOY_THRIFT = "bare thriftpy2", "Envoy thrift_proxy"
BARE_TRIPLE, GRPC_XDS, ENVOY_TRIPLE = "bare grpcio", "grpcio xds:///", "Envoy"
OURS = "pyrpc-xds"

Call = Callable[[], Any]
Close = Callable[[], object]

NAME = "Joe"
FIRST_CALL_SECONDS = 20.0


@contextlib.contextmanager
def surroundings(
    control_plane: str,
) -> Iterator[tuple[dict[str, dict[str, int]], envoy_peer.EnvoyProcess | None]]:
    """The greeters, the control plane (named in the environment) and Envoy, where it can run.

    Yields the greeters' ports by protocol and version, and Envoy.
    """
    with contextlib.ExitStack() as stack:
        # Both versions are one server: routing is measured, not the cold caches of a second process.
        servers = {protocol: stack.enter_context(greeters.running(protocol, "v1")) for protocol in mesh.PORTS}
        ports = {protocol: dict.fromkeys(envoy.WEIGHTS, port) for protocol, port in servers.items()}
        address = stack.enter_context(mesh.CONTROL_PLANES[control_plane](mesh.documents(ports)))
        os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = mesh.bootstrap(address)
        sidecar = None
        if envoy_peer.skip_reason() is None:
            sidecar = stack.enter_context(envoy_peer.EnvoyProcess(envoy.config(**ports)))
        yield ports, sidecar


@dataclass
class Field:
    """The rivals that could be set up, the yardstick first, and why the others could not."""

    rivals: list[Rival] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, make: Callable[[], tuple[Call, Call, Close]]) -> None:
        """Add a rival, once its first call has had the right answer.

        :param make: returns its first call (patient), its call, and what closes it.
        """
        try:
            first, call, close = make()
        except Exception as reason:
            if not self.rivals:
                raise
            self.absent[name] = f"{type(reason).__name__}: {reason}"
            return
        rival = Rival(name, call, close)
        try:
            answer = first()
            if answer.name != f"Hello {NAME}":
                raise RuntimeError(f"it answered {answer!r}")
        except Exception as reason:
            rival.close()
            self.absent[name] = f"{type(reason).__name__}: {reason}"
        else:
            self.rivals.append(rival)


def sidecar_port(sidecar: envoy_peer.EnvoyProcess | None, listener: str) -> int:
    if sidecar is None:
        raise envoy_peer.EnvoyUnavailable(envoy_peer.skip_reason())
    return sidecar.port(listener)


def thrift(ports: dict[str, int], sidecar: envoy_peer.EnvoyProcess | None) -> Field:
    """Thrift, framed and binary: the form that Envoy's thrift_proxy is configured for."""
    from thriftpy2.protocol import TCyBinaryProtocolFactory
    from thriftpy2.rpc import make_client
    from thriftpy2.transport import TCyFramedTransportFactory

    greeter = greeters.thrift_module()
    request = greeter.HelloRequest(name=NAME)

    def plain(port: int) -> tuple[Call, Call, Close]:
        client = make_client(
            greeter.Greeter,
            "127.0.0.1",
            port,
            proto_factory=TCyBinaryProtocolFactory(),
            trans_factory=TCyFramedTransportFactory(),
            timeout=int(FIRST_CALL_SECONDS * 1000),
        )
        call = partial(client.SayHello, request)
        return call, call, client.close

    def ours() -> tuple[Call, Call, Close]:
        import pyrpc_xds

        xds = pyrpc_xds.XdsClient.from_env()
        client = xds.thrift.client(greeter.Greeter, mesh.target("thrift"), framing="framed")
        call = partial(client.SayHello, request)
        return call, call, xds.close

    entered = Field()
    entered.enter(BARE_THRIFT, lambda: plain(ports["v1"]))
    entered.enter(OURS, ours)
    entered.enter(ENVOY_THRIFT, lambda: plain(sidecar_port(sidecar, "thrift")))
    return entered


def triple(ports: dict[str, int], sidecar: envoy_peer.EnvoyProcess | None) -> Field:
    """Unary Triple, which is gRPC on the wire."""
    import grpc

    protos, services = greeters.proto_modules()
    request = protos.HelloRequest(name=NAME)

    def over(channel: Any, close: Close) -> tuple[Call, Call, Close]:
        say = services.GreeterStub(channel).SayHello
        first = partial(say, request, timeout=FIRST_CALL_SECONDS, wait_for_ready=True)
        return first, partial(say, request), close

    def plain(target: str) -> tuple[Call, Call, Close]:
        channel = grpc.insecure_channel(target)
        return over(channel, channel.close)

    def ours() -> tuple[Call, Call, Close]:
        import pyrpc_xds

        xds = pyrpc_xds.XdsClient.from_env()
        return over(xds.triple.channel(mesh.target("triple")), xds.close)

    entered = Field()
    entered.enter(BARE_TRIPLE, lambda: plain(f"127.0.0.1:{ports['v1']}"))
    entered.enter(GRPC_XDS, lambda: plain(mesh.target("triple")))
    entered.enter(OURS, ours)
    entered.enter(ENVOY_TRIPLE, lambda: plain(f"127.0.0.1:{sidecar_port(sidecar, 'triple')}"))
    return entered
