"""Dubbo's service group and version, its timeouts, its attachments in answers: what a server of ours does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.triple import (
    TripleTransport,
    response_attachments,
    set_response_attachments,
    timeouts,
)
from tests.unit.transports.triple.fakes import FakeMesh

PATH = "/org.apache.dubbo.sample.Greeter/SayHello"


class Servicer:
    """Answers with its own name, sync or asyncio."""

    def __init__(self, pb: Any, name: str) -> None:
        self._pb = pb
        self._name = name

    def SayHello(self, request: Any, context: Any) -> Any:
        return self._pb.User(id=self._name, name=f"{context.time_remaining():.0f}")

    SayHelloServerStream = SayHelloClientStream = SayHelloStream = None


class AioServicer(Servicer):
    async def SayHello(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        return super().SayHello(request, context)


@pytest.fixture(params=["sync", "asyncio"])
async def start(request: pytest.FixtureRequest, pb: Any, pb_grpc: Any) -> AsyncIterator[Any]:
    """Starts a server with servicers of ``(name, group, version)``; a channel to it that threads may use."""
    aio = request.param == "asyncio"
    async with contextlib.AsyncExitStack() as stack:

        async def begin(*variants: tuple[str, str | None, str | None], **options: Any) -> Any:
            triple = TripleTransport(FakeMesh())
            server: Any = (triple.aio_server if aio else triple.server)(address="127.0.0.1:0", **options)
            for name, group, version in variants:
                servicer = (AioServicer if aio else Servicer)(pb, name)
                server.add(pb_grpc.add_GreeterServicer_to_server, servicer, group=group, version=version)
            await server.start() if aio else server.start()

            async def stop() -> None:
                if aio:
                    await server.stop(0)
                else:
                    server.stop(0).wait(5)
                del server._server

            stack.push_async_callback(stop)
            return Calling(f"127.0.0.1:{server.port}", pb, pb_grpc, stack)

        yield begin


class Calling:
    """Calls SayHello on one address."""

    def __init__(self, address: str, pb: Any, pb_grpc: Any, stack: contextlib.AsyncExitStack) -> None:
        self.mesh = FakeMesh(address)
        self._pb, self._pb_grpc = pb, pb_grpc
        self.address = address
        stack.callback(self.mesh.close)

    async def say(self, metadata: Any = None, timeout: float | None = 10.0, **selected: str) -> Any:
        with TripleTransport(self.mesh).channel("xds:///greeter:80", **selected) as channel:
            stub = self._pb_grpc.GreeterStub(channel)
            return await asyncio.to_thread(
                stub.SayHello, self._pb.HelloRequest(name="x"), timeout=timeout, metadata=metadata
            )


async def test_group_and_version_of_the_channel_select_the_service(start: Any) -> None:
    calling = await start(("plain", None, None), ("one", "", "1.0.0"), ("g-one", "g", "1.0.0"))
    assert (await calling.say()).id == "plain"
    assert (await calling.say(version="1.0.0")).id == "one"
    assert (await calling.say(group="g", version="1.0.0")).id == "g-one"
    assert (await calling.say(version="0.0.0")).id == "plain"
    assert (await calling.say([("tri-service-version", "1.0.0")], version="9.9.9")).id == "one"


async def test_group_and_version_of_an_asyncio_channel_select_the_service(
    start: Any, pb: Any, pb_grpc: Any
) -> None:
    calling = await start(("plain", None, None), ("one", "g", "1.0.0"))
    transport = TripleTransport(calling.mesh)
    async with transport.aio_channel("xds:///greeter:80", group="g", version="1.0.0") as channel:
        assert (await pb_grpc.GreeterStub(channel).SayHello(pb.HelloRequest(), timeout=10)).id == "one"


async def test_another_version_is_unimplemented_and_named(start: Any) -> None:
    calling = await start(("plain", None, None), ("one", "", "1.0.0"))
    with pytest.raises(grpc.RpcError) as caught:
        await calling.say(group="g2", version="9.9.9")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details().startswith(
        "no implementation found for service group g2 and service version 9.9.9"
    )


async def test_call_without_a_version_does_not_reach_a_versioned_service(start: Any) -> None:
    calling = await start(("one", "", "1.0.0"))
    with pytest.raises(grpc.RpcError, match="no implementation found") as caught:
        await calling.say()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_service_that_never_had_a_version_answers_to_all(start: Any) -> None:
    calling = await start(("plain", None, None))
    assert (await calling.say(group="g", version="1.0.0")).id == "plain"


async def test_servers_own_version_is_that_of_services_without_one(start: Any) -> None:
    calling = await start(("one", None, None), ("two", None, "2.0.0"), version="1.0.0")
    assert (await calling.say(version="1.0.0")).id == "one"
    assert (await calling.say(version="2.0.0")).id == "two"


async def test_methods_are_found_in_dubbo_javas_spelling(start: Any, pb: Any) -> None:
    calling = await start(("plain", None, None))
    async with grpc.aio.insecure_channel(calling.address) as channel:
        say = channel.unary_unary(
            PATH.replace("SayHello", "sayHello"),
            request_serializer=pb.HelloRequest.SerializeToString,
            response_deserializer=pb.User.FromString,
        )
        assert (await say(pb.HelloRequest(), timeout=10)).id == "plain"


@pytest.mark.parametrize("path", [PATH[:-2], "/no.Such/Method", "/", "//", "/x"])
async def test_unknown_method_is_unimplemented(start: Any, path: str) -> None:
    calling = await start(("plain", None, None), ("one", "", "1.0.0"))
    async with grpc.aio.insecure_channel(calling.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_version_that_cannot_travel_is_refused() -> None:
    with pytest.raises(UsageError, match="tri-service-version"):
        TripleTransport(FakeMesh("127.0.0.1:1")).channel("xds:///greeter:80", version="1\n0")


async def test_timeout_of_dubbo_java_is_what_remains(start: Any) -> None:
    calling = await start(("plain", None, None))
    assert int((await calling.say([("tri-service-timeout", "2000")])).name) <= 2
    assert 5 < int((await calling.say([("tri-service-timeout", "60000")])).name) <= 10


async def test_timeout_of_dubbo_go_is_what_remains_where_the_call_has_no_deadline(start: Any) -> None:
    calling = await start(("plain", None, None))
    assert 1 <= int((await calling.say([("timeout", "3s")], timeout=None)).name) <= 3
    assert 5 < int((await calling.say([("timeout", "3s")])).name) <= 10


@pytest.mark.parametrize(
    ("pairs", "left", "seconds"),
    [
        ((("tri-service-timeout", "2000"),), 10.0, 2.0),
        ((("tri-service-timeout", "2000"),), 1.0, None),
        ((("tri-service-timeout", "2000"),), None, 2.0),
        ((("timeout", "3s"),), None, 3.0),
        ((("timeout", "3s"),), 10.0, None),
        ((("timeout", "not a duration"),), None, None),
        ((("timeout", "0s"), ("tri-service-timeout", "0")), None, None),
        ((("timeout", "3s"), ("tri-service-timeout", "2000"), ("timeout", "9s")), None, 2.0),
        ((("tri-service-timeout", b"2000"),), None, None),
        ((), None, None),
    ],
)
def test_timeouts_of_dubbo_beside_grpcs(pairs: Any, left: float | None, seconds: float | None) -> None:
    assert timeouts.of(pairs, left) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3s", 3.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("1h2m3s", 3723.0),
        ("7us", 7e-6),
        ("7\u00b5s", 7e-6),
        ("9ns", 9e-9),
        ("", None),
        ("3", None),
        ("-3s", None),
        ("3s ", None),
        ("3s\n", None),
        ("s", None),
        ("1" * 400 + "s", None),
        ("1s" * 7, None),
        (b"3s", None),
    ],
)
def test_go_durations(text: Any, seconds: float | None) -> None:
    assert timeouts.duration(text) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["12345678901234", "-1", "1.5", "", "1s", "\u0661"])
def test_milliseconds_that_are_none_are_ignored(text: str) -> None:
    assert timeouts.of((("tri-service-timeout", text),), None) is None


class TestResponseAttachments:
    @staticmethod
    def sync_kinds() -> Iterator[tuple[str, Any]]:
        def unary(request: Any, context: Any) -> bytes:
            if hasattr(context, "trailing_metadata"):  # not with threads of asyncio servers
                context.set_trailing_metadata((("own", "1"), ("user", "replaced")))
            else:
                set_response_attachments({"own": "1"})
            set_response_attachments({"User": "Joe"})
            set_response_attachments({"camelBack": "x"})
            return b""

        def stream(request: Any, context: Any) -> Iterator[bytes]:
            yield unary(request, context)

        yield "unary_unary", unary
        yield "unary_stream", stream
        yield "stream_unary", unary
        yield "stream_stream", stream

    @staticmethod
    def aio_kinds() -> Iterator[tuple[str, Any]]:
        async def unary(request: Any, context: Any) -> bytes:
            context.set_trailing_metadata((("own", "1"), ("user", "replaced")))
            set_response_attachments({"User": "Joe"})
            set_response_attachments({"camelBack": "x"})
            return b""

        async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
            yield await unary(request, context)

        yield "unary_unary", unary
        yield "unary_stream", stream
        yield "stream_unary", unary
        yield "stream_stream", stream

    @pytest.mark.parametrize("kinds", ["sync", "asyncio", "threads"])
    async def test_arrive_under_their_names_beside_the_trailers_of_the_handler(self, kinds: str) -> None:
        made = self.aio_kinds() if kinds == "asyncio" else self.sync_kinds()
        methods = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(behavior) for kind, behavior in made}
        options: Any = {"handlers": [grpc.method_handlers_generic_handler("any.Service", methods)]}
        triple = TripleTransport(FakeMesh())
        server: Any
        if kinds == "sync":
            server = triple.server(address="127.0.0.1:0", **options)
            server.start()
        else:
            server = triple.aio_server(address="127.0.0.1:0", max_workers=2, **options)
            await server.start()

        def call_all() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                for kind in methods:
                    method = getattr(channel, kind)(f"/any.Service/{kind}")
                    argument = iter([b""]) if kind.startswith("stream") else b""
                    if kind.endswith("stream"):
                        call = method(argument, timeout=10)
                        assert list(call) == [b""]
                    else:
                        call = method.with_call(argument, timeout=10)[1]
                    trailers = call.trailing_metadata()
                    assert response_attachments(trailers) == {"own": "1", "User": "Joe", "camelBack": "x"}
                    assert ("camelback", "x") in trailers

        await asyncio.to_thread(call_all)
        if kinds == "sync":
            server.stop(0).wait(5)
        else:
            await server.stop(0)
        del server._server

    def test_outside_of_a_handler_are_refused(self) -> None:
        with pytest.raises(UsageError, match="no call"):
            set_response_attachments({"a": "b"})

    def test_of_dubbo_java_get_their_names_back(self) -> None:
        trailers = (
            ("camelback", "1"),
            ("plain", "2"),
            ("tri-header-convert", "%7B%22camelback%22%3A%22camelBack%22%7D"),
            ("grpc-status-details-bin", b""),
        )
        assert response_attachments(trailers) == {"camelBack": "1", "plain": "2"}

    @pytest.mark.parametrize(
        "text",
        [
            "%7B",
            "[]",
            "null",
            '{"camelback": 1}',
            '{"camelback": "other"}',
            '{"camelback": {"a": "b"}}',
            "{" * 20_000,
            '{"a":' * 4_000,
            "[" * 10_000,
            "\xff",
        ],
    )
    def test_names_that_are_no_names_are_ignored(self, text: str) -> None:
        assert response_attachments((("camelback", "1"), ("tri-header-convert", text))) == {"camelback": "1"}

    def test_of_nothing(self) -> None:
        assert response_attachments(None) == {}
