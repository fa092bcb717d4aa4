"""maximum_concurrent_rpcs is one limit for the calls of gRPC and of HTTP together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.unit.transports.triple.conftest import eventually
from tests.unit.transports.triple.http import clients
from tests.unit.transports.triple.http.conftest import Serving, both_versions

EXCEEDED = "Concurrent RPC limit exceeded!"
Say = Callable[[Serving, str], Any]

every_server = pytest.mark.parametrize(
    ("start", "codec"),
    [("sync", {}), ("sync", {"codec": "nghttp2"}), ("threads of asyncio", {}), ("asyncio", {})],
    indirect=["start"],
    ids=["sync", "nghttp2", "threads of asyncio", "asyncio"],
)


@pytest.fixture
def say(pb: Any, pb_grpc: Any) -> Iterator[Say]:
    """A call over gRPC; gives its future."""
    channels = []

    def call(serving: Serving, name: str) -> Any:
        channels.append(grpc.insecure_channel(f"127.0.0.1:{serving.server.port}"))
        return pb_grpc.GreeterStub(channels[-1]).SayHello.future(pb.HelloRequest(name=name), timeout=10)

    yield call
    for channel in channels:
        channel.close()


async def seen(serving: Serving, calls: int) -> None:
    await asyncio.to_thread(eventually, lambda: len(serving.greeter.contexts) == calls)


async def served(serving: Serving) -> None:
    """Calls are served. A call's answer may be there before its place is free."""
    for _ in range(200):
        if (answer := await serving.ask("Joe")).status != 429:
            break
        await asyncio.sleep(0.01)
    assert answer.status == 200


async def code(call: Any) -> grpc.StatusCode:
    return await asyncio.to_thread(call.code)


@every_server
@both_versions
async def test_call_of_http_takes_the_place_of_one_of_grpc(
    start: Any, codec: Any, form: Any, say: Say
) -> None:
    serving = await start(maximum_concurrent_rpcs=2, **codec)
    running = [asyncio.create_task(serving.ask("sleep:1", form)) for _ in range(2)]
    await seen(serving, 2)
    refused = say(serving, "Joe")
    assert await code(refused) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.details() == EXCEEDED
    answer = await serving.ask("Joe", form)
    assert (answer.status, answer.said) == (429, {"code": "resource_exhausted", "message": EXCEEDED})
    assert [(await call).status for call in running] == [200, 200]
    assert await code(say(serving, "Joe")) is grpc.StatusCode.OK


@every_server
async def test_call_of_grpc_takes_the_place_of_one_of_http(start: Any, codec: Any, say: Say) -> None:
    serving = await start(maximum_concurrent_rpcs=1, **codec)
    running = say(serving, "sleep:1")
    await seen(serving, 1)
    assert (await serving.ask("Joe")).status == 429
    assert await code(say(serving, "Joe")) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await code(running) is grpc.StatusCode.OK
    await served(serving)


@every_server
async def test_refused_and_failed_calls_leave_their_places(start: Any, codec: Any, say: Say) -> None:
    serving = await start(maximum_concurrent_rpcs=1, **codec)
    for _ in range(3):
        assert (await serving.ask("abort:no")).status == 412
        await served(serving)
        assert await code(say(serving, "abort:no")) is grpc.StatusCode.FAILED_PRECONDITION
        await served(serving)
        nothing = await serving.send(clients.http1, b"{}", clients.JSON, path="/none.Such/Method")
        assert nothing.status == 404
        await served(serving)


@every_server
async def test_call_that_its_caller_gives_up_leaves_its_place(start: Any, codec: Any, say: Say) -> None:
    serving = await start(maximum_concurrent_rpcs=1, **codec)
    running = say(serving, "sleep:0.5")
    await seen(serving, 1)
    running.cancel()
    await served(serving)
