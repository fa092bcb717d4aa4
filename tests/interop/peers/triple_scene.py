"""Servers and clients of the greeter, ours and Dubbo's, side by side in one network namespace.

These functions run in a :class:`.netns.Namespace`; what they start lives as long as it.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, Literal, cast

from examples.greeter import idl
from pyrpc_xds import XdsClient
from pyrpc_xds.bootstrap import Bootstrap, Node, Server
from pyrpc_xds.errors import ConfigError
from pyrpc_xds.transports.triple.h2 import library

from . import calls, dubbo_go, dubbo_java, greeter
from .built import PeerProcess
from .netns import on_close

#: ``nghttp2``: ours, blocking, over that codec in place of grpcio's.
Side = Literal["sync", "nghttp2", "asyncio", "dubbo-go", "dubbo-java"]
VERSION = "v1.0.0"
#: ``GROUP/VERSION`` of the Dubbo services that the servers have beside the one with neither.
VARIANTS = ("g1/1.0.0", "/2.0.0")
_PEERS: dict[str, Any] = {"dubbo-go": dubbo_go, "dubbo-java": dubbo_java}
_OURS: dict[str, Any] = {}
_CODECS = {"sync": "grpcio", "nghttp2": "nghttp2"}


def codec_missing() -> str | None:
    """Why Triple on nghttp2 cannot run here, or ``None``."""
    try:
        library.load()
    except ConfigError as reason:
        return str(reason)
    return None


@functools.cache
def _xds() -> XdsClient:
    """A client without a control plane: its targets here are ``direct:///``."""
    return on_close.enter_context(XdsClient(Bootstrap((Server("127.0.0.1:1"),), Node("interop"))))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of our asyncio sides, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="interop-loop", daemon=True)
    thread.start()
    on_close.callback(loop.call_soon_threadsafe, loop.stop)
    return loop


def on_loop(work: Coroutine[Any, Any, Any], seconds: float = 50.0) -> Any:
    """Run ``work`` on the asyncio sides' loop."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(seconds)


def _peer(process: PeerProcess) -> PeerProcess:
    on_close.callback(process.close)
    return process


@functools.cache
def address(side: Side) -> str:
    """The address of that side's server, started when it is first asked for."""
    services = idl.protobuf()[1]
    if side in {"sync", "nghttp2"}:
        _OURS[side] = greeter.Greeter(VERSION)
        server = _xds().triple.server(address="127.0.0.1:0", codec=_CODECS[side])
        services.add_GreeterServicer_to_server(_OURS[side], server)
        server.start()
        on_close.callback(lambda: server.stop(0).wait(10))
        return f"127.0.0.1:{server.port}"
    if side == "asyncio":

        async def start() -> Any:
            _OURS[side] = greeter.AioGreeter(VERSION)
            server = _xds().triple.aio_server(address="127.0.0.1:0")
            services.add_GreeterServicer_to_server(_OURS[side], server)
            await server.start()
            return server

        aio_server = on_loop(start())
        on_close.callback(lambda: on_loop(aio_server.stop(0)))
        return f"127.0.0.1:{aio_server.port}"
    return str(_peer(_PEERS[side].server(VERSION, VARIANTS)).read()["address"])


@functools.cache
def _client(side: Side) -> PeerProcess:
    return _peer(_PEERS[side].client())


def call(client: Side, server: Side, wanted: calls.Call) -> calls.Outcome:
    """Have one side call another."""
    wanted = {**wanted, "address": address(server)}
    if client in {"sync", "nghttp2"}:
        return calls.make(_xds(), wanted, _CODECS[client])
    if client == "asyncio":
        return cast(calls.Outcome, on_loop(calls.make_aio(_xds(), wanted)))
    return calls.normalised(_client(client).ask(wanted))


def attempts(server: Side, name: str) -> int:
    """How many calls with a request of this name one of our servers has got."""
    return int(_OURS[server].attempts[name]) if server in _OURS else 0
