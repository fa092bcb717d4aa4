"""The context of a handler: what came with its call, what goes on with its own calls, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pyrpc_xds
from pyrpc_xds import attachments, current_attachments
from pyrpc_xds.transports.triple import TripleTransport, incoming_attachments
from tests.unit.transports.triple.fakes import FakeMesh

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
CAME = (("user", "admin"), ("rpc-persist-lane", "dev"), ("rpc-transit-zone", "a"), ("blob-bin", b"\xff"))


class Seen:
    """What handlers saw: the context's attachments, those given by grpc's context, and what would go on."""

    def __init__(self) -> None:
        self.all: list[tuple[dict[str, str], dict[str, str], dict[str, str]]] = []

    def note(self, context: Any) -> None:
        self.all.append(
            (
                dict(pyrpc_xds.incoming_attachments()),
                dict(incoming_attachments(context)),
                dict(current_attachments()),
            )
        )


def sync_handlers(seen: Seen) -> dict[str, Any]:
    def unary(request: Any, context: Any) -> bytes:
        seen.note(context)
        return b"answer"

    def stream(request: Any, context: Any) -> Iterator[bytes]:
        yield b"answer"
        seen.note(context)
        yield b"answer"

    return handlers(unary, stream, unary, stream)


def aio_handlers(seen: Seen) -> dict[str, Any]:
    async def unary(request: Any, context: Any) -> bytes:
        await asyncio.sleep(0)
        seen.note(context)
        return b"answer"

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"answer"
        seen.note(context)
        yield b"answer"

    async def writer(request: Any, context: Any) -> None:
        await context.write(b"answer")
        seen.note(context)
        await context.write(b"answer")

    return handlers(unary, stream, unary, writer)


def handlers(*behaviors: Any) -> dict[str, Any]:
    return {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(behavior)
        for kind, behavior in zip(KINDS, behaviors, strict=True)
    }


def generic(methods: dict[str, Any]) -> list[Any]:
    return [grpc.method_handlers_generic_handler("any.Service", methods)]


def call_all(channel: Any, metadata: Any = None) -> None:
    """Every kind of call once, in the order of KINDS."""
    for kind in KINDS:
        method = getattr(channel, kind)(f"/any.Service/{kind}")
        answer = method(iter([b"x"]) if kind.startswith("stream") else b"x", metadata=metadata, timeout=10)
        if kind.endswith("stream"):
            assert list(answer) == [b"answer"] * 2


@contextlib.contextmanager
def plain_channel(server: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@contextlib.contextmanager
def serving(methods: dict[str, Any], **options: Any) -> Iterator[Any]:
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", handlers=generic(methods), **options)
    server.start()
    yield server
    server.stop(0).wait(5)
    del server._server


@contextlib.asynccontextmanager
async def serving_aio(methods: dict[str, Any], **options: Any) -> AsyncIterator[Any]:
    server = TripleTransport(FakeMesh()).aio_server(
        address="127.0.0.1:0", handlers=generic(methods), **options
    )
    await server.start()
    yield server
    await server.stop(0)


EXPECTED = ({"user": "admin", "lane": "dev", "zone": "a"},) * 2 + ({"lane": "dev"},)


def test_handlers_see_what_came_and_pass_on_what_is_persistent() -> None:
    seen = Seen()
    with serving(sync_handlers(seen)) as server, plain_channel(server) as channel:
        call_all(channel, CAME)
    assert seen.all == [EXPECTED] * 4


@pytest.mark.parametrize("made", [aio_handlers, sync_handlers], ids=["coroutines", "threads"])
async def test_handlers_of_asyncio_servers_see_it_too(made: Any) -> None:
    seen = Seen()
    with attachments({"of": "the starter"}):
        starting = serving_aio(made(seen), max_workers=2)
        server = await starting.__aenter__()
    with plain_channel(server) as channel:
        await asyncio.to_thread(call_all, channel, CAME)
    assert seen.all == [EXPECTED] * 4
    await starting.__aexit__(None, None, None)
    server._server = None


def test_calls_do_not_see_each_others() -> None:
    seen = Seen()
    with serving(sync_handlers(seen), max_workers=1) as server, plain_channel(server) as channel:
        call_all(channel, CAME)
        call_all(channel)
    assert seen.all[4:] == [({}, {}, {})] * 4


async def test_task_of_an_asyncio_server_does_not_carry_its_starters_context() -> None:
    seen = Seen()
    token = context.attach(baggage.set_baggage("lane", "starter"))
    with attachments({"user": "starter"}, persistent=True):
        starting = serving_aio(aio_handlers(seen))
        server = await starting.__aenter__()
    context.detach(token)
    with plain_channel(server) as channel:
        await asyncio.to_thread(call_all, channel)
    assert seen.all == [({}, {}, {})] * 4
    await starting.__aexit__(None, None, None)


def test_interceptors_of_the_application_see_it_as_well() -> None:
    found = []

    class Note(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            found.append(dict(pyrpc_xds.incoming_attachments()))
            return continuation(details)

    with serving(sync_handlers(Seen()), interceptors=[Note()]) as server, plain_channel(server) as channel:
        channel.unary_unary("/any.Service/unary_unary")(b"x", metadata=(("user", "admin"),))
    assert found == [{"user": "admin"}]


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
async def test_stream_that_is_dropped_half_way_is_closed_in_peace(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stream(request: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"answer"
        finally:
            loop.call_soon_threadsafe(closed.set)

    async def aio_stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"answer"
        finally:
            closed.set()

    methods = {"endless": grpc.unary_stream_rpc_method_handler(stream if kind == "sync" else aio_stream)}
    with contextlib.ExitStack() as stack:
        if kind == "sync":
            server = stack.enter_context(serving(methods))
        else:
            starting = serving_aio(methods)
            server = await starting.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_stream("/any.Service/endless")(b"x", metadata=(("traceparent", TRACE),))
            assert await call.read() == b"answer"
            call.cancel()
            await asyncio.wait_for(closed.wait(), 5)
        if kind == "asyncio":
            await starting.__aexit__(None, None, None)
            server._server = None
    assert not [record for record in caplog.records if "opentelemetry" in record.name]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Chain:
    """entrance -> middle -> end: services that know nothing of lanes, attachments or traces but their spans."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        stack.callback(provider.shutdown)
        self.tracer = provider.get_tracer("test")
        self.seen: dict[str, dict[str, str]] = {}
        self._stack = stack
        self.end = self.hop("end", None)
        self.middle = self.hop("middle", self.end)

    def hop(self, name: str, following: Any) -> Any:
        """A server whose handler calls the next; a method on a channel to it."""

        def handle(request: bytes, _: Any) -> bytes:
            with self.tracer.start_as_current_span(name):
                came = pyrpc_xds.incoming_attachments()
                self.seen[name] = {key: came[key] for key in came if key != "traceparent"}
                return bytes(following(request, timeout=10)) if following else b"end"

        server = self._stack.enter_context(serving({"hop": grpc.unary_unary_rpc_method_handler(handle)}))
        mesh = FakeMesh(f"127.0.0.1:{server.port}")
        self._stack.callback(mesh.close)
        channel = TripleTransport(mesh).channel(f"xds:///{name}:80")
        setattr(self, f"{name}_router", mesh.routers[0])
        return channel.unary_unary("/any.Service/hop")


@pytest.fixture
def chain() -> Iterator[Chain]:
    with contextlib.ExitStack() as stack:
        chain = Chain(stack)
        yield chain
    chain.__dict__.clear()


def routed(router: Any) -> dict[str, str]:
    return {
        name: value
        for name, value in router.snapshot.routed[-1][1].items()
        if name in ("lane", "user", "baggage")
    }


def test_persistent_attachments_route_every_hop_and_transient_ones_the_first(chain: Chain) -> None:
    with attachments({"lane": "dev"}, persistent=True), attachments({"user": "admin"}):
        assert chain.middle(b"x", timeout=10) == b"end"
    assert chain.seen == {"middle": {"lane": "dev", "user": "admin"}, "end": {"lane": "dev"}}
    assert routed(chain.middle_router) == {"lane": "dev", "user": "admin"}
    assert routed(chain.end_router) == {"lane": "dev"}


def test_baggage_routes_every_hop(chain: Chain) -> None:
    token = context.attach(baggage.set_baggage("env", "dev"))
    try:
        assert chain.middle(b"x", timeout=10) == b"end"
    finally:
        context.detach(token)
    assert routed(chain.middle_router) == routed(chain.end_router) == {"baggage": "env=dev"}
    chain.middle(b"x", timeout=10)
    assert routed(chain.end_router) == {}


def test_spans_of_a_chain_are_one_tree(chain: Chain) -> None:
    with chain.tracer.start_as_current_span("entrance"):
        chain.middle(b"x", timeout=10)
    spans = {span.name: span for span in chain.exporter.get_finished_spans()}
    assert {span.context.trace_id for span in spans.values()} == {spans["entrance"].context.trace_id}
    assert spans["entrance"].parent is None
    assert spans["middle"].parent.span_id == spans["entrance"].context.span_id
    assert spans["end"].parent.span_id == spans["middle"].context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN
