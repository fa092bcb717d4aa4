"""Asyncio servers whose caller goes away: the handler's task is cancelled, and its own calls with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import pyrpc_xds
from pyrpc_xds.transports.thrift import PoolLimits
from tests.e2e.mesh import environment
from tests.interop.peers.ttheader_bytes import CALL, Frame, message, pack
from tests.unit.transports.thrift.peers import Handler, idl

PROTOCOLS = ("thrift", "triple")
SECONDS = 20.0
Behavior = Callable[[], Awaitable[None]]


class Hop:
    """What a handler does and how it ended."""

    def __init__(self, behave: Behavior) -> None:
        self.behave = behave
        self.entered = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.entered.set()
        try:
            await self.behave()
        except asyncio.CancelledError:
            self.ended.set_result("cancelled")
            raise
        except Exception as error:
            self.ended.set_result(repr(error))
        else:
            self.ended.set_result("done")


async def forever() -> None:
    await asyncio.sleep(3600)


@asynccontextmanager
async def serving(xds: pyrpc_xds.XdsClient, protocol: str, hop: Hop) -> AsyncIterator[str]:
    server: Any
    if protocol == "thrift":

        class Served(Handler):
            async def ping(self, text: str) -> str:  # type: ignore[override]
                await hop.run()
                return text

        server = xds.thrift.aio_server(idl.Everything, Served(), "127.0.0.1:0")
        await server.start()
        address = server.address
    else:

        async def ping(request: bytes, context: Any) -> bytes:
            await hop.run()
            return request

        methods = {"ping": grpc.unary_unary_rpc_method_handler(ping)}
        server = xds.triple.aio_server(
            handlers=[grpc.method_handlers_generic_handler("any.Service", methods)]
        )
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


@asynccontextmanager
async def calling(xds: pyrpc_xds.XdsClient, protocol: str, address: str) -> AsyncIterator[Behavior]:
    """One call of our own client."""
    if protocol == "thrift":
        async with xds.thrift.aio_client(
            idl.Everything, f"direct:///{address}", framing="ttheader"
        ) as client:

            async def ping() -> None:
                await client.ping("x")

            yield ping
    else:
        async with xds.triple.aio_channel(f"direct:///{address}") as channel:
            method = channel.unary_unary("/any.Service/ping")

            async def call() -> None:
                await method(b"", timeout=SECONDS)

            yield call


@asynccontextmanager
async def asked(protocol: str, address: str) -> AsyncIterator[None]:
    """A caller of another make, which waits for as long as the block runs, and then goes away."""
    if protocol == "thrift":
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        arguments = idl.Everything.ping_args(text="x")
        writer.write(pack(Frame(message("ping", CALL, 1, arguments), ints={9: "ping"})))
        yield
        writer.close()
        await writer.wait_closed()
    else:
        async with grpc.aio.insecure_channel(address) as channel:
            method: Any = channel.unary_unary  # type: ignore[call-arg]
            call = method("/any.Service/ping")(b"")
            waiting = asyncio.ensure_future(call.code())
            yield
            call.cancel()
            await waiting


@pytest.fixture
def xds() -> Any:
    with pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:9")) as client:
        yield client


async def within(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        return await awaitable


@pytest.mark.parametrize("last", PROTOCOLS)
@pytest.mark.parametrize("middle", PROTOCOLS)
async def test_caller_that_goes_away_cancels_the_whole_chain(
    xds: pyrpc_xds.XdsClient, middle: str, last: str
) -> None:
    end = Hop(forever)
    async with serving(xds, last, end) as address, calling(xds, last, address) as call:
        hop = Hop(call)
        async with serving(xds, middle, hop) as front:
            async with asked(middle, front):
                await within(end.entered.wait())
            assert await within(hop.ended) == "cancelled"
            assert await within(end.ended) == "cancelled"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_our_own_clients_cancel_the_handler_when_their_task_is(
    xds: pyrpc_xds.XdsClient, protocol: str
) -> None:
    end = Hop(forever)
    async with serving(xds, protocol, end) as address, calling(xds, protocol, address) as call:
        task = asyncio.ensure_future(call())
        await within(end.entered.wait())
        task.cancel()
        assert await within(end.ended) == "cancelled"
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_tasks_that_a_handler_has_started_go_on(xds: pyrpc_xds.XdsClient, protocol: str) -> None:
    background: list[asyncio.Task[Any]] = []
    end, may_call = Hop(lambda: asyncio.sleep(0)), asyncio.Event()
    async with serving(xds, protocol, end) as address, calling(xds, protocol, address) as call:

        async def later() -> None:
            await may_call.wait()
            await call()

        async def start() -> None:
            with pyrpc_xds.detached():
                background.append(asyncio.ensure_future(later()))
            await forever()

        hop = Hop(start)
        async with serving(xds, protocol, hop) as front:
            async with asked(protocol, front):
                await within(hop.entered.wait())
            assert await within(hop.ended) == "cancelled"
            may_call.set()
            await within(background[0])
            assert await within(end.ended) == "done"


async def test_call_on_a_shared_connection_ends_for_its_caller_alone(xds: pyrpc_xds.XdsClient) -> None:
    # TTHeader has no word for cancelling: only the end of a connection says it, and others use this one.
    may_end = asyncio.Event()

    async def held() -> None:
        await may_end.wait()

    end = Hop(held)
    async with (
        serving(xds, "thrift", end) as address,
        xds.thrift.aio_client(
            idl.Everything,
            f"direct:///{address}",
            framing="ttheader",
            pool=PoolLimits(connections=1, multiplexed=1),
        ) as client,
    ):
        task = asyncio.ensure_future(client.ping("x"))
        await within(end.entered.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        assert await within(end.ended) == "done"
