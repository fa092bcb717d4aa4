"""The Thrift transport alone, beside bare thriftpy2: the same call, side by side, in every form.

``python -m benchmarks.thrift`` prints the figures as JSON. Clients: thriftpy2's own, and ours behind ``direct:///``,
where a call is routed by a table of one route. Servers: thriftpy2's, ours for threads, ours for asyncio, all called
by thriftpy2's client. Servers are processes of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
from functools import partial
from typing import Any

from . import greeters, mesh
from .rounds import Rival, compare
from .thrift_servers import FORMS, factories, running

BARE = "bare thriftpy2"
SERVERS = {"thriftpy2": BARE, "threads": "ours, threads", "asyncio": "ours, asyncio"}


def measure(rounds: int = 60, calls: int = 100) -> dict[str, Any]:
    """All figures by group and form, in microseconds, with ratios to bare thriftpy2 (:func:`rounds.compare`)."""
    figures: dict[str, Any] = {"clients": {}, "servers": {}}
    for form in FORMS:
        with running("thriftpy2", form) as server:
            figures["clients"][form] = compare(clients(form, server.port), rounds, calls)
    for form in FORMS:
        with contextlib.ExitStack() as stack:
            rivals = []
            for kind, name in SERVERS.items():
                client = bare(form, stack.enter_context(running(kind, form)).port)
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


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
