"""One greeter: the same answer over Triple and over Thrift.

python -m examples.greeter.server --version v1 --triple 127.0.0.1:20001 --thrift 127.0.0.1:9091

With --dubbo FILE it is Dubbo's YAML that says what is served over Triple, and where:

    python -m examples.greeter.server --version v1 --dubbo examples/greeter/conf/server.yaml
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import signal
from typing import Any

import pyrpc_xds

from . import idl

VERSION_LABEL = "dubbogoAppVersion"


def triple_servicer(version: str) -> Any:
    """The service as grpcio wants it."""
    messages, services = idl.protobuf()

    class Greeter(services.GreeterServicer):  # type: ignore[misc]
        def SayHello(self, request: Any, context: Any) -> Any:
            return messages.User(name=f"Hello {request.name}", id=f"{version}.0.0", age=21)

    return Greeter()


class ThriftGreeter:
    """The service as thriftpy2 wants it."""

    def __init__(self, version: str) -> None:
        self.version = version

    def SayHello(self, request: Any) -> Any:
        return idl.thrift().User(name=f"Hello {request.name}", id=f"{self.version}.0.0", age=21)


def serve_dubbo(path: str, version: str | None, thrift_address: str | None) -> None:
    """Serve what Dubbo's YAML says, and Thrift where there is an address for it, until SIGTERM or SIGINT."""
    with pyrpc_xds.Dubbo.load(path) as dubbo:
        labels = dubbo.xds.bootstrap.node.metadata.get("LABELS", {})
        version = version or labels.get(VERSION_LABEL, "unlabelled")
        triple, thrift = dubbo.server(triple_servicer(version)), None
        bound = {"triple": f"127.0.0.1:{triple.port}"}
        if thrift_address is not None:
            greeter = idl.thrift().Greeter
            thrift = dubbo.xds.thrift.server(greeter, ThriftGreeter(version), thrift_address).start()
            bound["thrift"] = thrift.address
        print(json.dumps(bound), flush=True)
        triple.serve()  # Thrift goes on until Triple has drained and stopped
        if thrift is not None:
            thrift.stop(grace=5.0)


def main() -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line with the bound addresses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--version",
        help=f"what the answers say, and the label {VERSION_LABEL}; default: that label of the pod",
    )
    parser.add_argument("--triple", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    parser.add_argument("--thrift", help="the same; with --dubbo there is no Thrift without it")
    parser.add_argument(
        "--drain", type=float, default=0.0, help="seconds for which calls are still taken after the signal"
    )
    parser.add_argument("--grace", type=float, default=5.0, help="seconds that running calls have after that")
    parser.add_argument(
        "--dubbo", metavar="FILE", help="Dubbo's YAML, instead of --triple, --drain and --grace"
    )
    options = parser.parse_args()
    if options.dubbo:
        serve_dubbo(options.dubbo, options.version, options.thrift)
        return

    xds = pyrpc_xds.XdsClient.from_env(labels={VERSION_LABEL: options.version} if options.version else {})
    labels = xds.bootstrap.node.metadata.get("LABELS", {})
    if VERSION_LABEL not in labels:
        parser.error(f"--version is not given, and the pod has no label {VERSION_LABEL}")
    version = labels[VERSION_LABEL]
    triple = xds.triple.server(labels=labels)
    _, services = idl.protobuf()
    services.add_GreeterServicer_to_server(triple_servicer(version), triple)
    triple_port = triple.add_insecure_port(options.triple)
    triple.start()
    thrift = xds.thrift.server(
        idl.thrift().Greeter, ThriftGreeter(version), options.thrift or "127.0.0.1:0", labels=labels
    )
    thrift.start()

    # One word a signal: a second signal ends the drain.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    print(
        json.dumps(
            {"triple": f"{options.triple.rpartition(':')[0]}:{triple_port}", "thrift": thrift.address}
        ),
        flush=True,
    )
    signals.get()
    triple.drain()
    with contextlib.suppress(queue.Empty):
        signals.get(timeout=options.drain)
    stopped = triple.stop(options.grace)
    thrift.stop(options.grace)
    stopped.wait()
    xds.close()


if __name__ == "__main__":
    main()
