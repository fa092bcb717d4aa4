"""What Triple has above gRPC, between our sides and Dubbo's: functions that run in a :class:`.netns.Namespace`."""

from __future__ import annotations

import functools
from typing import Any

import grpc

from examples.greeter import idl
from pyrpc_xds.errors import BusinessError
from pyrpc_xds.transports.triple import response_attachments, set_response_attachments

from . import calls, greeter, triple_scene
from .netns import on_close


class _Greeter(greeter.Greeter):
    """With our own ways to refuse and to answer."""

    def SayHello(self, request: Any, context: Any) -> Any:
        verb, _, rest = request.name.partition(":")
        if verb == "business":
            code, _, message = rest.partition(":")
            raise BusinessError(int(code), message)
        if verb == "back":
            name, _, value = rest.partition("=")
            set_response_attachments({name: value})
        return super().SayHello(request, context)


@functools.cache
def address(asyncio: bool) -> str:
    """The address of a server of ours with the same variants as Dubbo's have in :mod:`.triple_scene`."""
    add = idl.protobuf()[1].add_GreeterServicer_to_server
    variants = [("", ""), ("g1", "1.0.0"), ("", "2.0.0")]

    def filled(server: Any) -> Any:
        for group, version in variants:
            name = f"{triple_scene.VERSION} {group}/{version}" if version else triple_scene.VERSION
            server.add(add, _Greeter(name), group=group, version=version)
        return server

    if not asyncio:
        server = filled(triple_scene._xds().triple.server(address="127.0.0.1:0"))
        server.start()
        on_close.callback(lambda: server.stop(0).wait(10))
        return f"127.0.0.1:{server.port}"

    async def start() -> Any:
        # Sync handlers: grpc.aio runs them on threads.
        made = filled(triple_scene._xds().triple.aio_server(address="127.0.0.1:0", max_workers=4))
        await made.start()
        return made

    made = triple_scene.on_loop(start())
    on_close.callback(lambda: triple_scene.on_loop(made.stop(0)))
    return f"127.0.0.1:{made.port}"


def call_ours(client: Any, asyncio: bool, wanted: calls.Call) -> calls.Outcome:
    """Have Dubbo call our server."""
    wanted = {**wanted, "address": address(asyncio)}
    return calls.normalised(triple_scene._client(client).ask(wanted))


def raised(server: Any, kind: str, name: str, asyncio: bool) -> list[Any]:
    """What a call of Dubbo's server raises here: class, business code, message, gRPC's code."""
    target = f"direct:///{triple_scene.address(server)}"
    messages, services = idl.protobuf()
    request = messages.HelloRequest(name=name)

    def described(error: Any) -> list[Any]:
        business = getattr(error, "business_code", -1)
        return [type(error).__name__, business, error.details(), error.code().value[0]]

    async def call_async() -> list[Any]:
        async with triple_scene._xds().triple.aio_channel(target) as channel:
            stub = services.GreeterStub(channel)
            try:
                if kind == "unary":
                    await stub.SayHello(request, timeout=20)
                else:
                    async for _ in stub.SayHelloServerStream(request, timeout=20):
                        pass
            except grpc.RpcError as error:
                return described(error)
        raise AssertionError("it succeeded")

    if asyncio:
        found: list[Any] = triple_scene.on_loop(call_async())
        return found
    with triple_scene._xds().triple.channel(target) as channel:
        stub = services.GreeterStub(channel)
        try:
            if kind == "unary":
                stub.SayHello(request, timeout=20)
            else:
                list(stub.SayHelloServerStream(request, timeout=20))
        except grpc.RpcError as error:
            return described(error)
    raise AssertionError("it succeeded")


def answered_with(server: Any, name: str, **selected: str) -> tuple[str, dict[str, str]]:
    """Who answers a channel of that group and version, and the attachments of the answer."""
    messages, services = idl.protobuf()
    target = f"direct:///{triple_scene.address(server)}"
    with triple_scene._xds().triple.channel(target, **selected) as channel:
        stub = services.GreeterStub(channel)
        user, call = stub.SayHello.with_call(messages.HelloRequest(name=name), timeout=20)
        return user.id, dict(response_attachments(call.trailing_metadata()))
