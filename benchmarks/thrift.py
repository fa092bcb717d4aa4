"""The Thrift transport alone, beside bare thriftpy2: the same call, side by side, in every form.

``python -m benchmarks.thrift`` prints the figures as JSON. Clients: thriftpy2's own, and ours behind ``direct:///``,
where a call is routed by a table of one route. Servers: thriftpy2's, ours for threads, ours for asyncio, all called
by thriftpy2's client. Servers are processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from . import greeters, mesh
from .rounds import Rival, compare

BARE = "bare thriftpy2"
FORMS = {
    "framed binary": ("framed", "binary"),
    "buffered binary": ("buffered", "binary"),
    "framed compact": ("framed", "compact"),
}
SERVERS = {"thriftpy2": BARE, "threads": "ours, threads", "asyncio": "ours, asyncio"}


def factories(form: str) -> tuple[Any, Any]:
    """thriftpy2's transport and protocol factories of a form."""
    from thriftpy2.protocol import TCompactProtocolFactory, TCyBinaryProtocolFactory
    from thriftpy2.transport import TCyBufferedTransportFactory, TCyFramedTransportFactory

    framing, protocol = FORMS[form]
    return (
        TCyFramedTransportFactory() if framing == "framed" else TCyBufferedTransportFactory(),
        TCyBinaryProtocolFactory() if protocol == "binary" else TCompactProtocolFactory(),
    )


def measure(rounds: int = 60, calls: int = 100) -> dict[str, Any]:
    """All figures by group and form, in microseconds, with ratios to bare thriftpy2 (:func:`rounds.compare`)."""
    figures: dict[str, Any] = {"clients": {}, "servers": {}}
    for form in FORMS:
        with running("thriftpy2", form) as port:
            figures["clients"][form] = compare(clients(form, port), rounds, calls)
    for form in FORMS:
        with contextlib.ExitStack() as stack:
            rivals = []
            for kind, name in SERVERS.items():
                client = bare(form, stack.enter_context(running(kind, form)))
                rivals.append(Rival(name, partial(client.SayHello, request()), client.close))
            figures["servers"][form] = compare(rivals, rounds, calls)
    return figures


def request() -> Any:
    return greeters.thrift_module().HelloRequest(name="Joe")


def bare(form: str, port: int) -> Any:
    from thriftpy2.rpc import make_client

    trans, proto = factories(form)
    service = greeters.thrift_module().Greeter
    return make_client(service, "127.0.0.1", port, trans_factory=trans, proto_factory=proto, timeout=20_000)


def clients(form: str, port: int) -> list[Rival]:
    import pyrpc_xds

    framing, protocol = FORMS[form]
    service = greeters.thrift_module().Greeter
    plain = bare(form, port)
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = mesh.bootstrap("127.0.0.1:1")
    xds = pyrpc_xds.XdsClient.from_env()
    target = f"direct:///127.0.0.1:{port}"
    direct = xds.thrift.client(service, target, framing=framing, protocol=protocol, timeout=20.0)
    return [
        Rival(BARE, partial(plain.SayHello, request()), plain.close),
        Rival("ours, direct:///", partial(direct.SayHello, request()), xds.close),
    ]


@contextlib.contextmanager
def running(kind: str, form: str) -> Iterator[int]:
    """A server process; the port it serves on."""
    command = [sys.executable, "-m", "benchmarks.thrift", kind, form]
    process = subprocess.Popen(
        command, cwd=mesh.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {kind} server did not start")
        yield int(line)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class Greeter:
    def SayHello(self, request: Any) -> Any:
        return greeters.thrift_module().User(name="Hello " + request.name, id="v1", age=21)


class AioGreeter:
    async def SayHello(self, request: Any) -> Any:
        return Greeter.SayHello(self, request)  # type: ignore[arg-type]


def serve(kind: str, form: str) -> None:
    service = greeters.thrift_module().Greeter
    if kind == "thriftpy2":
        serve_thriftpy2(service, form)
        return
    from pyrpc_xds.transports.thrift import ThriftTransport
    from tests.unit.transports.thrift.fakes import FakeMesh

    transport = ThriftTransport(FakeMesh())
    if kind == "threads":
        server = transport.server(service, Greeter(), "127.0.0.1:0").start()
        print(server.address.rpartition(":")[2], flush=True)
        server.serve()
        return

    async def main() -> None:
        server = await transport.aio_server(service, AioGreeter(), "127.0.0.1:0").start()
        print(server.address.rpartition(":")[2], flush=True)
        await server.serve()

    asyncio.run(main())


def serve_thriftpy2(service: Any, form: str) -> None:
    from thriftpy2.server import TThreadedServer
    from thriftpy2.thrift import TProcessor
    from thriftpy2.transport import TServerSocket

    class Announced(TServerSocket):  # type: ignore[misc]
        def listen(self) -> None:
            super().listen()
            print(self.sock.getsockname()[1], flush=True)

    trans, proto = factories(form)
    TThreadedServer(
        TProcessor(service, Greeter()),
        # No client timeout: a rival's connection is idle while the others have their turn.
        Announced("127.0.0.1", 0, client_timeout=None),
        iprot_factory=proto,
        itrans_factory=trans,
        daemon=True,
    ).serve()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        threading.Thread(target=greeters.end_with_standard_input, daemon=True).start()
        serve(sys.argv[1], sys.argv[2])
    else:
        print(json.dumps(measure(), indent=2))
