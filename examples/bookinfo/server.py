"""One version of details, reviews or ratings.

python -m examples.bookinfo.server --service reviews --version v2 --listen 127.0.0.1:9112
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
from typing import Any

import pyrpc_xds

from . import tracing
from .idl import bookinfo
from .services import Details, Ratings, Reviews

# What carries attachments beside a Thrift message; plain framed Thrift has no room for them.
FRAMING = "ttheader"
TIMEOUT = 5.0


def client(xds: pyrpc_xds.XdsClient, service: str) -> Any:
    """A client of ``Details``, ``Ratings`` or ``Reviews`` in the mesh."""
    target = f"xds:///{service.lower()}.default.svc.cluster.local:9080"
    made = xds.thrift.client(getattr(bookinfo, service), target, framing=FRAMING, timeout=TIMEOUT)
    return tracing.client(made, service)


def handler(xds: pyrpc_xds.XdsClient, service: str, version: str) -> object:
    """The object that implements ``service``."""
    if service == "details":
        return Details(version)
    if service == "ratings":
        return Ratings(version)
    return Reviews(version, client(xds, "Ratings"))


def wait_for_signal() -> None:
    """Return when the process is told to end by SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line with the bound address, then one for each span."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", choices=("details", "reviews", "ratings"), required=True)
    parser.add_argument("--version", required=True, help="the version label, which the answers tell as well")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    options = parser.parse_args()
    labels = {"app": options.service, "version": options.version}
    tracing.install(options.service, options.version)

    with pyrpc_xds.XdsClient.from_env(labels=labels) as xds:
        implementation = tracing.handler(handler(xds, options.service, options.version))
        service = getattr(bookinfo, options.service.capitalize())
        server = xds.thrift.server(service, implementation, options.listen, labels=labels)
        server.start()
        print(json.dumps({"address": server.address}), flush=True)
        wait_for_signal()
        server.stop(grace=5.0)


if __name__ == "__main__":
    main()
