"""Our Thrift servers beside thriftpy2's, called by the same bare clients; and a call that goes through Envoy.

Envoy stands where a sidecar would, between the client and thriftpy2's server for threads, as thrift_proxy.
"""

from __future__ import annotations

import contextlib
from typing import Any

from tests.interop.peers import envoy as envoy_peer

from . import envoy, thrift_servers
from .crowd import closing_on_failure, compare_crowds
from .thrift_mux import bare_threads, callers_named

BARE = "thriftpy2, threads"
NAMES = {
    "thriftpy2": BARE,
    "threads": "ours, threads",
    "thriftpy2-asyncio": "thriftpy2, asyncio",
    "asyncio": "ours, asyncio",
}
ENVOY = "thriftpy2, threads, behind Envoy"
CALLERS = (1, 16)


def measure(rounds: int = 15, calls: int = 1600) -> dict[str, Any]:
    """Figures of :func:`compare_crowds` by number of callers, and under ``absent`` why a rival is.

    :param calls: of all callers together, in each turn.
    """
    figures: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for callers in CALLERS:
        with contextlib.ExitStack() as stack:
            servers = {kind: stack.enter_context(thrift_servers.running(kind)) for kind in NAMES}
            with closing_on_failure() as rivals:
                for kind, name in NAMES.items():
                    rivals.append(bare_threads(name, servers[kind], callers))
                reason = envoy_peer.skip_reason()
                if reason is None:
                    plain = servers["thriftpy2"]
                    config = envoy.config(
                        thrift=dict.fromkeys(envoy.WEIGHTS, plain.port),
                        # It is not called.
                        triple=dict.fromkeys(envoy.WEIGHTS, plain.port),
                    )
                    sidecar = stack.enter_context(envoy_peer.EnvoyProcess(config))
                    rivals.append(bare_threads(ENVOY, plain, callers, sidecar.port("thrift")))
                else:
                    absent[ENVOY] = reason
            figures[callers_named(callers)] = compare_crowds(rivals, rounds, max(2, calls // callers))
    return {**figures, "absent": absent}


def goals(figures: dict[str, Any]) -> list[tuple[str, float, float | None, str]]:
    """Text, limit, figure and unit; every figure is to be at most its limit."""
    found: list[tuple[str, float, float | None, str]] = []
    for callers, rivals in figures.items():
        ours, theirs = rivals[NAMES["asyncio"]], rivals[NAMES["thriftpy2-asyncio"]]
        text = f"{callers}: calls/s of thriftpy2's asyncio server to ours: at most 1"
        found.append((text, 1.0, round(theirs["calls_per_s"] / ours["calls_per_s"], 3), "x"))
        text = f"{callers}: calls/s behind Envoy to our server for threads: at most 1"
        behind = rivals.get(ENVOY)
        ours = rivals[NAMES["threads"]]
        seen = None if behind is None else round(behind["calls_per_s"] / ours["calls_per_s"], 3)
        found.append((text, 1.0, seen, "x"))
        text = f"{callers}: server's CPU a call to thriftpy2's for threads: at most 1.5"
        found.append((text, 1.5, round(ours["server_cpu_us"] / rivals[BARE]["server_cpu_us"], 3), "x"))
    return found
