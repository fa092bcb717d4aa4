"""Triple over HTTP, in JSON and without IDL, between our sides and Dubbo's; run in a :class:`.netns.Namespace`."""

from __future__ import annotations

import functools
import subprocess
from typing import Any

import grpc

from examples.greeter import idl
from pyrpc_xds.errors import BusinessError
from pyrpc_xds.transports.triple import GenericService

from . import calls, greeter, triple_scene
from .netns import on_close

GREETER = "org.apache.dubbo.sample.Greeter"
PLAIN = "org.apache.dubbo.sample.Plain"
CURL_SECONDS = 20


def _refuse(message: str) -> str:
    raise BusinessError(17, message)


_METHODS = {
    "greet": lambda name: f"Hello {name}",
    "add": lambda left, right: left + right,
    "person": lambda given: {**given, "seen": True},
    "refuse": _refuse,
}


def _filled(server: Any, servicer: Any) -> tuple[Any, str]:
    idl.protobuf()[1].add_GreeterServicer_to_server(servicer, server)
    server.add_generic(PLAIN, _METHODS)
    return server, f"127.0.0.1:{server.add_http_port('127.0.0.1:0')}"


@functools.cache
def addresses(asyncio: bool) -> dict[str, str]:
    """Where a server of ours speaks gRPC and HTTP."""
    triple = triple_scene._xds().triple
    if not asyncio:
        server, http = _filled(triple.server(address="127.0.0.1:0"), greeter.Greeter(triple_scene.VERSION))
        server.start()
        on_close.callback(lambda: server.stop(0).wait(10))
        return {"grpc": f"127.0.0.1:{server.port}", "http": http}

    async def start() -> Any:
        # Plain functions run on threads.
        made = triple.aio_server(address="127.0.0.1:0", max_workers=4)
        made, http = _filled(made, greeter.AioGreeter(triple_scene.VERSION))
        await made.start()
        return made, http

    made, http = triple_scene.on_loop(start())
    on_close.callback(lambda: triple_scene.on_loop(made.stop(0)))
    return {"grpc": f"127.0.0.1:{made.port}", "http": http}


def _http(server: str) -> str:
    """The address where a side speaks HTTP: Dubbo's have one port for everything."""
    if server in ("sync", "asyncio"):
        return addresses(server == "asyncio")["http"]
    return triple_scene.address(server)  # type: ignore[arg-type]


def curl(server: str, path: str, *options: str) -> list[Any]:
    """Status, content type, body and the headers that begin with ``trailer-`` of curl's answer."""
    command = ["curl", "--silent", "--show-error", "--include", "--max-time", str(CURL_SECONDS), *options]
    done = subprocess.run([*command, f"http://{_http(server)}{path}"], capture_output=True, check=True)
    head, _, body = done.stdout.rpartition(b"\r\n\r\n") if b"\r\n\r\n" in done.stdout else (b"", b"", b"")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    trailers = {name: value for name, value in headers.items() if name.startswith("trailer-")}
    return [
        int(lines[0].split()[1]),
        headers.get("content-type", ""),
        body.decode("utf-8", "replace"),
        trailers,
    ]


def dubbo_calls(client: Any, asyncio: bool, port: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Have Dubbo call our server's gRPC or HTTP port."""
    answer = triple_scene._client(client).ask({**wanted, "address": addresses(asyncio)[port]})
    return dict(calls.normalised(answer))


def invoke(server: Any, asyncio: bool, serialization: str, method: str, args: list[Any]) -> list[Any]:
    """What a method without IDL of Dubbo's server returns to us, or its error: class, code and text."""
    target = f"direct:///{triple_scene.address(server)}"
    xds = triple_scene._xds()

    async def call_async() -> Any:
        async with xds.triple.aio_channel(target) as channel:
            return await GenericService(channel, PLAIN, serialization=serialization).invoke(
                method, args, timeout=20
            )

    try:
        if asyncio:
            return [triple_scene.on_loop(call_async())]
        with xds.triple.channel(target) as channel:
            return [
                GenericService(channel, PLAIN, serialization=serialization).invoke(method, args, timeout=20)
            ]
    except grpc.RpcError as error:
        return [type(error).__name__, error.code().value[0], error.details()]
