"""What the Triple transport adds to grpcio, without a control plane: ``python -m benchmarks.triple``.

One greeter process, one client process. grpcio calls it, and so do we through a ``direct:///`` target, by
turns, blocking and from asyncio. ``begin`` is the part of a call that is ours: attachments, route, pick,
connection. The comparison with grpcio's own ``xds:///`` and with Envoy, in a mesh, is ``python -m
benchmarks.run --only triple``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns, process_time_ns
from typing import Any

from . import greeters, mesh
from .rounds import Rival, compare, percentile

NAME = "Joe"
BEGIN_CALLS = 20_000


@dataclass
class AioRival(Rival):
    """A rival whose calls are awaited, on a loop of its own.

    ``call`` returns an awaitable.
    """

    loop: asyncio.AbstractEventLoop | None = None

    def turn(self, calls: int, warm_up: int) -> None:
        assert self.loop is not None
        self.loop.run_until_complete(self._turn(calls, warm_up))

    async def _turn(self, calls: int, warm_up: int) -> None:
        call: Callable[[], Any] = self.call
        for _ in range(warm_up):
            await call()
        times = []
        used = process_time_ns()
        for _ in range(calls):
            start = perf_counter_ns()
            await call()
            times.append(perf_counter_ns() - start)
        self.cpu.append((process_time_ns() - used) / calls / 1000)
        times.sort()
        self.p50.append(percentile(times, 50) / 1000)
        self.p99.append(percentile(times, 99) / 1000)


def client() -> Any:
    """A client that never asks a control plane."""
    import pyrpc_xds

    # The bootstrap is needed for a client to be made; a direct target never asks the control plane.
    environment = {"GRPC_XDS_BOOTSTRAP_CONFIG": mesh.bootstrap("127.0.0.1:1")}
    return pyrpc_xds.XdsClient.from_env(environment)


def _say(channel: Any) -> Callable[[], Any]:
    protos, services = greeters.proto_modules()
    return partial(services.GreeterStub(channel).SayHello, protos.HelloRequest(name=NAME))


def bare(port: int) -> Rival:
    """grpcio, blocking."""
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    return Rival("bare grpcio", _say(channel), channel.close)


def ours(port: int) -> Rival:
    """This package, blocking."""
    xds = client()
    return Rival("pyrpc-xds", _say(xds.triple.channel(f"direct:///127.0.0.1:{port}")), xds.close)


def bare_aio(port: int) -> Rival:
    """grpcio, asyncio."""
    import grpc.aio

    loop = asyncio.new_event_loop()

    async def make() -> Any:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    channel = loop.run_until_complete(make())

    def close() -> None:
        loop.run_until_complete(channel.close())
        loop.close()

    return AioRival("bare grpc.aio", _say(channel), close, loop=loop)


def ours_aio(port: int) -> Rival:
    """This package, asyncio."""
    loop = asyncio.new_event_loop()
    xds = client()
    channel = xds.triple.aio_channel(f"direct:///127.0.0.1:{port}")

    def close() -> None:
        loop.run_until_complete(channel.close())
        xds.close()
        loop.close()

    return AioRival("pyrpc-xds aio", _say(channel), close, loop=loop)


#: The rivals of each comparison, the yardstick first: from the greeter's port to what calls it.
ADAPTERS: Mapping[str, tuple[Callable[[int], Rival], ...]] = {
    "blocking": (bare, ours),
    "asyncio": (bare_aio, ours_aio),
}


def begin(port: int) -> dict[str, float]:
    """Microseconds that a call takes before grpcio has it, without metadata and with one pair."""
    xds = client()
    channel = xds.triple.channel(f"direct:///127.0.0.1:{port}")
    call = _say(channel)
    call()
    method = call.func._method  # type: ignore[attr-defined]
    figures = {}
    for name, metadata in (("no_metadata_us", None), ("one_pair_us", (("user", "admin"),))):
        best = float("inf")
        for _ in range(5):
            start = perf_counter_ns()
            for _ in range(BEGIN_CALLS):
                channel._ready(method, None, metadata, None)
            best = min(best, (perf_counter_ns() - start) / BEGIN_CALLS / 1000)
        figures[name] = round(best, 2)
    xds.close()
    return figures


def measure(
    rounds: int = 40,
    calls: int = 100,
    adapters: Mapping[str, tuple[Callable[[int], Rival], ...]] = ADAPTERS,
) -> dict[str, Any]:
    """The figures of every comparison, and of :func:`begin`.

    :param rounds: how often every rival has its turn.
    :param calls: calls of one turn.
    """
    with greeters.running("triple", "v1") as port:
        figures: dict[str, Any] = {
            name: compare([make(port) for make in makes], rounds, calls) for name, makes in adapters.items()
        }
        figures["begin"] = begin(port)
    return figures


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    print(json.dumps(measure(5, 50) if quick else measure(), indent=2))
