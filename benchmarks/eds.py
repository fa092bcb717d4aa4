"""Decoding an EDS push of 10,000 endpoints, against the least that any Python client must do with it.

The rival parses the bytes and reads address, port and health of every endpoint, and keeps nothing.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

ENDPOINTS = 10_000
ROUNDS = 15


def push(endpoints: int = ENDPOINTS) -> bytes:
    """A ClusterLoadAssignment as istiod sends it: weights everywhere, one locality."""
    from envoy.config.endpoint.v3 import endpoint_pb2

    message = endpoint_pb2.ClusterLoadAssignment(
        cluster_name="outbound|9090||greeter.default.svc.cluster.local"
    )
    group = message.endpoints.add()
    group.locality.region = "region"
    group.locality.zone = "zone"
    group.load_balancing_weight.value = endpoints
    for number in range(endpoints):
        entry = group.lb_endpoints.add()
        socket = entry.endpoint.address.socket_address
        socket.address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        socket.port_value = 9090
        entry.health_status = 1
        entry.load_balancing_weight.value = 1
    return message.SerializeToString()


def walk(raw: bytes) -> int:
    """Parse and read what matters, nothing else."""
    from envoy.config.endpoint.v3 import endpoint_pb2

    message = endpoint_pb2.ClusterLoadAssignment.FromString(raw)
    usable = 0
    for group in message.endpoints:
        for entry in group.lb_endpoints:
            socket = entry.endpoint.address.socket_address
            if entry.health_status <= 1 and socket.address and socket.port_value:
                usable += 1
    return usable


def measure(endpoints: int = ENDPOINTS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Best times of interleaved rounds, and what the result occupies.

    :returns: ``walk_ms``, ``decode_ms``, their ``ratio``, ``repush_ms`` (the session recognising the
        same bytes again) and ``bytes_per_endpoint`` (of the decoded model, without the raw bytes).
    """
    from pyrpc_xds.bootstrap import Node
    from pyrpc_xds.xds.decode.endpoint import decode_cluster_load_assignment
    from pyrpc_xds.xds.decode.envelope import DiscoveryResponse, RawResource
    from pyrpc_xds.xds.session import Session
    from pyrpc_xds.xds.types import EDS

    raw = push(endpoints)
    session = Session(Node("node"))
    session.subscribe(EDS, decode_cluster_load_assignment(raw).name, _Deaf())
    session.opened(0.0)
    session.requests()

    def receive() -> None:
        # bytes(bytearray()) makes new bytes, as the wire does: a hash kept in the object would flatter.
        again = bytes(bytearray(raw))
        resources = (RawResource(EDS.type_url, again),)
        session.received(DiscoveryResponse(EDS.type_url, "1", "1", resources), 0.0)
        session.requests()

    receive()
    best = _best(
        {"walk": lambda: walk(raw), "decode": lambda: decode_cluster_load_assignment(raw), "repush": receive},
        rounds,
    )
    tracemalloc.start()
    kept = decode_cluster_load_assignment(raw)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(kept.endpoints) == endpoints == walk(raw)
    return {
        "endpoints": endpoints,
        "walk_ms": round(best["walk"] * 1e3, 3),
        "decode_ms": round(best["decode"] * 1e3, 3),
        "ratio": round(best["decode"] / best["walk"], 2),
        "repush_ms": round(best["repush"] * 1e3, 3),
        "bytes_per_endpoint": round(size / endpoints, 1),
    }


class _Deaf:
    def on_changed(self, name: str, resource: Any) -> None: ...

    def on_error(self, name: str, error: Exception) -> None: ...

    def on_ambient_error(self, name: str, error: Exception) -> None: ...


def _best(what: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(what, float("inf"))
    for _ in range(rounds):
        for name, function in what.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    print(measure())
