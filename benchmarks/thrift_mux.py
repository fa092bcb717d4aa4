"""TTHeader: many calls on one connection, beside the same calls on a connection each, beside bare thriftpy2.

Callers are threads, which call our server for threads, or tasks of one loop, which call our server for asyncio.
thriftpy2 has no TTHeader: its clients, one for each caller, speak framed binary to thriftpy2's own servers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from . import greeters, thrift_servers
from .crowd import Crowd, closing_on_failure, compare_crowds, tasks, threads
from .thrift_servers import Server

POOLED = "a connection each"
MULTIPLEXED = "multiplexed"
BARE = "bare thriftpy2"
CALLERS = (1, 16, 256)
CONNECTIONS = 1
"""That multiplexed calls share."""
SECONDS = 30.0


def measure(rounds: int = 15, calls: int = 1600) -> dict[str, Any]:
    """Figures of :func:`compare_crowds` by kind of caller and number of callers.

    :param calls: of all callers together, in each turn.
    """
    figures: dict[str, Any] = {}
    for kind, crowds in (("threads", of_threads), ("asyncio", of_tasks)):
        figures[kind] = {}
        for callers in CALLERS:
            with crowds(callers) as rivals:
                figures[kind][callers_named(callers)] = compare_crowds(
                    rivals, rounds, max(2, calls // callers)
                )
    return figures


def goals(figures: dict[str, Any]) -> list[tuple[str, float, float, str]]:
    """Text, limit, figure and unit; every figure is to be at most its limit."""
    found = []
    for kind, by_callers in figures.items():
        for callers, rivals in by_callers.items():
            ours = rivals[MULTIPLEXED]
            if (kind, callers) == ("threads", callers_named(1)):
                text = f"{kind}, {callers}: p50 of a pooled call to bare framed thriftpy2's: at most 1.5"
                ratio = rivals[POOLED]["p50_us"] / rivals[BARE]["p50_us"]
                found.append((text, 1.5, round(ratio, 3), "x"))
            if callers == callers_named(1):
                text = f"{kind}, {callers}: p50 to a pooled connection: at most 1.15"
                found.append((text, 1.15, ours["p50_ratio"], "x"))
            else:
                text = f"{kind}, {callers}: calls/s of pooled connections to multiplexed: at most 1"
                found.append((text, 1.0, round(1 / ours["ratio"], 3), "x"))
    return found


def callers_named(callers: int) -> str:
    return f"{callers} caller{'s' if callers > 1 else ''}"


def request() -> Any:
    return greeters.thrift_module().HelloRequest(name="Joe")


def transport(port: int) -> Any:
    from pyrpc_xds.transports.thrift import ThriftTransport
    from tests.unit.transports.thrift.fakes import FakeMesh

    mesh = FakeMesh(f"127.0.0.1:{port}")
    return ThriftTransport(mesh), mesh


def limits(multiplexed: int) -> dict[str, Any]:
    from pyrpc_xds.transports.thrift import PoolLimits

    pool = PoolLimits(connections=max(CALLERS), idle=max(CALLERS), multiplexed=multiplexed)
    return {"framing": "ttheader", "pool": pool, "timeout": SECONDS}


def open_connections(mesh: Any) -> int:
    """What a pool says of itself."""
    return int(repr(mesh.endpoints[0].connection).split(" open")[0].split()[-1])


@contextlib.contextmanager
def of_threads(callers: int) -> Iterator[list[Crowd]]:
    service = greeters.thrift_module().Greeter

    def ours(name: str, server: Server, multiplexed: int) -> Crowd:
        thrift, mesh = transport(server.port)
        client = thrift.client(service, "greeter:1", **limits(multiplexed))
        call = partial(client.SayHello, request())
        return Crowd(
            name, threads([call] * callers), mesh.close, server.cpu_ns, partial(open_connections, mesh)
        )

    with (
        thrift_servers.running("threads") as server,
        thrift_servers.running("thriftpy2") as plain,
        closing_on_failure() as rivals,
    ):
        rivals.append(ours(POOLED, server, 0))
        rivals.append(ours(MULTIPLEXED, server, CONNECTIONS))
        rivals.append(bare_threads(BARE, plain, callers))
        yield rivals


def bare_threads(name: str, server: Server, callers: int, port: int = 0) -> Crowd:
    """thriftpy2's clients, framed and binary.

    :param port: where they connect, if it is not the server's own.
    """
    from thriftpy2.rpc import make_client

    trans, proto = thrift_servers.factories("framed binary")
    service = greeters.thrift_module().Greeter
    clients = [
        make_client(
            service,
            "127.0.0.1",
            port or server.port,
            trans_factory=trans,
            proto_factory=proto,
            timeout=int(SECONDS * 1000),
        )
        for _ in range(callers)
    ]

    def close() -> None:
        for each in clients:
            each.close()

    calls = [partial(each.SayHello, request()) for each in clients]
    return Crowd(name, threads(calls), close, server.cpu_ns, lambda: callers)


@contextlib.contextmanager
def of_tasks(callers: int) -> Iterator[list[Crowd]]:
    from thriftpy2.contrib.aio.rpc import make_client

    service = greeters.thrift_module().Greeter

    def ours(name: str, server: Server, multiplexed: int) -> Crowd:
        runner = asyncio.Runner()
        thrift, mesh = transport(server.port)
        client = thrift.aio_client(service, "greeter:1", **limits(multiplexed))
        call = partial(client.SayHello, request())

        async def close() -> None:
            mesh.close()
            # Closed transports let go of their sockets in the loop's next turns.
            await asyncio.sleep(0.01)

        def end() -> None:
            runner.run(close())
            runner.close()

        return Crowd(
            name, tasks(runner, [call] * callers), end, server.cpu_ns, partial(open_connections, mesh)
        )

    def bare(server: Server) -> Crowd:
        runner = asyncio.Runner()
        trans, proto = thrift_servers.aio_factories()

        async def connect() -> list[Any]:
            return [
                await make_client(
                    service,
                    "127.0.0.1",
                    server.port,
                    trans_factory=trans,
                    proto_factory=proto,
                    timeout=int(SECONDS * 1000),
                )
                for _ in range(callers)
            ]

        clients = runner.run(connect())

        async def close() -> None:
            for each in clients:
                each.close()
            await asyncio.sleep(0.01)

        def end() -> None:
            runner.run(close())
            runner.close()

        calls = [partial(each.SayHello, request()) for each in clients]
        return Crowd(BARE, tasks(runner, calls), end, server.cpu_ns, lambda: callers)

    with (
        thrift_servers.running("asyncio") as server,
        thrift_servers.running("thriftpy2-asyncio") as plain,
        closing_on_failure() as rivals,
    ):
        rivals.append(ours(POOLED, server, 0))
        rivals.append(ours(MULTIPLEXED, server, CONNECTIONS))
        rivals.append(bare(plain))
        yield rivals
