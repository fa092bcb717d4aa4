"""One greeter: the same answer over Triple and over Thrift.

python -m examples.greeter.server --version v1 --triple 127.0.0.1:20001 --thrift 127.0.0.1:9091
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
from typing import Any

import pyrpc_xds

from . import idl


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


def main() -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line with the bound addresses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True, help="what the answers say, and the version label")
    parser.add_argument("--triple", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    parser.add_argument("--thrift", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    options = parser.parse_args()
    labels = {"dubbogoAppVersion": options.version}

    xds = pyrpc_xds.XdsClient.from_env(labels=labels)
    triple = xds.triple.server(labels=labels)
    _, services = idl.protobuf()
    services.add_GreeterServicer_to_server(triple_servicer(options.version), triple)
    triple_port = triple.add_insecure_port(options.triple)
    triple.start()
    thrift = xds.thrift.server(
        idl.thrift().Greeter, ThriftGreeter(options.version), options.thrift, labels=labels
    )
    thrift.start()

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    print(
        json.dumps(
            {"triple": f"{options.triple.rpartition(':')[0]}:{triple_port}", "thrift": thrift.address}
        ),
        flush=True,
    )
    stopping.wait()
    thrift.stop(grace=5.0)
    triple.stop(grace=5.0).wait()
    xds.close()


if __name__ == "__main__":
    main()
