"""Messages of streams: ours beside bare grpcio, blocking and asyncio, without a control plane.

``ping-pong`` is one long stream of both kinds on which a message waits for its answer; the others are whole streams of
small messages one way, from their beginning to their end. Each figure is the time of one message.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from . import greeters
from .rounds import Rival, compare
from .triple import AioRival, client

MESSAGES = 200
"""Of a stream one way."""
BARE, OURS = "bare grpcio", "pyrpc-xds"


class PingPong:
    """A stream on which :meth:`once` sends a message and takes the answer."""

    def __init__(self, method: Any, request: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._request = request
        self._stream = method(iter(self._requests.get, None))

    def once(self) -> Any:
        self._requests.put(self._request)
        return next(self._stream)

    def end(self) -> None:
        self._requests.put(None)
        for _ in self._stream:
            pass


class AioPingPong:
    """The same for asyncio."""

    def __init__(self, method: Any, request: Any) -> None:
        self._stream = method()
        self._request = request

    async def once(self) -> Any:
        await self._stream.write(self._request)
        return await self._stream.read()

    async def end(self) -> None:
        await self._stream.done_writing()
        await self._stream.code()


def blocking(name: str, channel: Any, close: Callable[[], object], kind: str) -> Rival:
    """A rival that calls on ``channel``."""
    protos, services = greeters.proto_modules()
    stub = services.GreeterStub(channel)
    request = protos.HelloRequest(name=str(MESSAGES))
    # The first call of ours would be a call that has to wait; streams that begin at once are what is measured.
    stub.SayHello(request, timeout=20, wait_for_ready=True)
    if kind == "ping-pong":
        talk = PingPong(stub.SayHelloStream, request)

        def end() -> None:
            talk.end()
            close()

        return Rival(name, talk.once, end)

    def from_server() -> None:
        count = 0
        for _ in stub.SayHelloServerStream(request):
            count += 1
        assert count == MESSAGES

    def to_server() -> None:
        assert stub.SayHelloClientStream(iter([request] * MESSAGES)).age == MESSAGES

    return Rival(name, from_server if kind == "server stream" else to_server, close)


def of_asyncio(
    name: str, loop: asyncio.AbstractEventLoop, channel: Any, close: Callable[[], Any], kind: str
) -> Rival:
    """A rival that calls on an asyncio ``channel`` of ``loop``.

    :param close: returns an awaitable.
    """
    protos, services = greeters.proto_modules()
    stub = services.GreeterStub(channel)
    request = protos.HelloRequest(name=str(MESSAGES))

    async def begin() -> Any:
        await stub.SayHello(request, timeout=20, wait_for_ready=True)
        return AioPingPong(stub.SayHelloStream, request) if kind == "ping-pong" else None

    async def from_server() -> None:
        count = 0
        async for _ in stub.SayHelloServerStream(request):
            count += 1
        assert count == MESSAGES

    async def requests() -> AsyncIterator[Any]:
        for _ in range(MESSAGES):
            yield request

    async def to_server() -> None:
        assert (await stub.SayHelloClientStream(requests())).age == MESSAGES

    talk = loop.run_until_complete(begin())

    async def end() -> None:
        if talk is not None:
            await talk.end()
        await close()

    call = talk.once if talk is not None else from_server if kind == "server stream" else to_server
    return AioRival(name, call, lambda: loop.run_until_complete(end()), loop=loop)


KINDS = ("ping-pong", "server stream", "client stream")


def pairs(port: int, loop: asyncio.AbstractEventLoop, kind: str) -> Iterator[tuple[str, list[Rival]]]:
    """The rivals of one kind of stream: blocking, then asyncio."""
    import grpc.aio

    target = f"direct:///127.0.0.1:{port}"
    plain = grpc.insecure_channel(f"127.0.0.1:{port}")
    xds = client()
    ours = xds.triple.channel(target)
    yield "blocking", [blocking(BARE, plain, plain.close, kind), blocking(OURS, ours, xds.close, kind)]

    async def opened() -> Any:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    aio = loop.run_until_complete(opened())
    aio_xds = client()
    aio_ours = aio_xds.triple.aio_channel(target)

    async def close() -> None:
        await aio_ours.close()
        aio_xds.close()

    yield (
        "asyncio",
        [of_asyncio(BARE, loop, aio, aio.close, kind), of_asyncio(OURS, loop, aio_ours, close, kind)],
    )


def measure(rounds: int = 40, messages: int = 1000) -> dict[str, Any]:
    """The figures by kind of stream, microseconds a message.

    :param rounds: how often every rival has its turn.
    :param messages: of one turn, about.
    """
    figures: dict[str, Any] = {}
    with greeters.running("triple", "v1") as port, asyncio.Runner() as runner:
        for kind in KINDS:
            each = 1 if kind == "ping-pong" else MESSAGES
            calls = max(2, messages // each)
            for form, rivals in pairs(port, runner.get_loop(), kind):
                found = compare(rivals, rounds, calls, warm_up=max(1, calls // 10))
                figures[f"{kind}, {form}"] = {name: per_message(of, each) for name, of in found.items()}
    return figures


def per_message(figure: dict[str, Any], messages: int) -> dict[str, Any]:
    """The figures of a stream as those of one of its messages."""
    shared = {name: round(figure[name] / messages, 2) for name in ("p50_us", "p99_us", "cpu_us")}
    return {**figure, **shared, "messages_per_s": round(1e6 * messages / figure["p50_us"])}
