"""Many callers of one channel, in a mesh: ours beside grpcio's own ``xds:///``, threads and asyncio tasks.

Every rival calls the same greeter process, by the same routes from the same control plane. The yardstick runs twice,
under two names: by how much it differs from itself is what these rounds cannot tell apart.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import greeters, mesh
from .crowd import Crowd, closing_on_failure, compare_crowds, tasks, threads
from .envoy import WEIGHTS
from .rounds import against

CALLERS = (1, 16, 64)
GRPC_XDS, AGAIN, OURS = "grpcio xds:///", "the same again", "pyrpc-xds"
NAME = "Joe"
FIRST_CALL_SECONDS = 20.0

Make = Callable[[], tuple[Any, Callable[[], object]]]
"""Opens a channel; with what closes it."""


def blocking(callers: int, rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    """Threads that share a channel."""
    import grpc

    import pyrpc_xds

    def grpcs() -> tuple[Any, Callable[[], object]]:
        channel = grpc.insecure_channel(mesh.target("triple"))
        return channel, channel.close

    def ours() -> tuple[Any, Callable[[], object]]:
        xds = pyrpc_xds.XdsClient.from_env()
        return xds.triple.channel(mesh.target("triple")), xds.close

    def crowd(name: str, make: Make) -> Crowd:
        channel, close = make()
        call = _say(channel)
        call(timeout=FIRST_CALL_SECONDS, wait_for_ready=True)
        return Crowd(name, threads([call] * callers), close)

    with closing_on_failure() as crowds:
        for name, make in ((GRPC_XDS, grpcs), (OURS, ours), (AGAIN, grpcs)):
            crowds.append(crowd(name, make))
    return _compared(crowds, rounds, calls)


def of_asyncio(callers: int, rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    """Tasks of one event loop that share a channel."""
    import grpc.aio

    import pyrpc_xds

    with asyncio.Runner() as runner, pyrpc_xds.XdsClient.from_env() as xds:

        async def opened(open_channel: Callable[[], Any]) -> Any:
            channel = open_channel()
            await _say(channel)(timeout=FIRST_CALL_SECONDS, wait_for_ready=True)
            return channel

        def crowd(name: str, open_channel: Callable[[], Any]) -> Crowd:
            channel = runner.run(opened(open_channel))
            return Crowd(name, tasks(runner, [_say(channel)] * callers), lambda: runner.run(channel.close()))

        grpcs = partial(grpc.aio.insecure_channel, mesh.target("triple"))
        ours = partial(xds.triple.aio_channel, mesh.target("triple"))
        with closing_on_failure() as crowds:
            for name, open_channel in ((GRPC_XDS, grpcs), (OURS, ours), (AGAIN, grpcs)):
                crowds.append(crowd(name, open_channel))
        return _compared(crowds, rounds, calls)


def _say(channel: Any) -> Callable[..., Any]:
    protos, services = greeters.proto_modules()
    return partial(services.GreeterStub(channel).SayHello, protos.HelloRequest(name=NAME))


def _compared(crowds: Sequence[Crowd], rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    """The ratios are those of the p50; under ``together``, of the time in which all callers make a call (the inverse
    of the throughput)."""
    figures = compare_crowds(crowds, rounds, calls)
    base = crowds[0]
    for crowd in crowds:
        together = against([1 / rate for rate in crowd.rate], [1 / rate for rate in base.rate])
        figures[crowd.name] |= {**against(crowd.p50, base.p50), "together": together}
    return figures


def measure(rounds: int = 40, calls: int = 400, control_plane: str = "embedded") -> dict[str, Any]:
    """The figures by kind and number of callers.

    :param rounds: how often every rival has its turn.
    :param calls: calls of one turn, all callers together.
    """
    with greeters.running("triple", "v1") as port:
        world = mesh.documents({"triple": dict.fromkeys(WEIGHTS, port)})
        with mesh.CONTROL_PLANES[control_plane](world) as address:
            os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = mesh.bootstrap(address)
            return {
                f"{kind}, {callers}": run(callers, rounds, max(1, calls // callers))
                for kind, run in (("threads", blocking), ("asyncio", of_asyncio))
                for callers in CALLERS
            }
