"""Servers of both kinds with an HTTP port."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

import pyrpc_xds
from pyrpc_xds.errors import BusinessError
from pyrpc_xds.transports.triple import TripleTransport, set_response_attachments
from pyrpc_xds.transports.triple.http import HttpOptions
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.http import clients


class Greeter:
    """Does what the names of its requests tell it to."""

    def __init__(self, pb: Any, name: str) -> None:
        self.pb = pb
        self.name = name
        self.contexts: list[Any] = []
        self.ended: list[str] = []

    def SayHello(self, request: Any, context: Any) -> Any:
        self.contexts.append(context)
        verb, _, rest = request.name.partition(":")
        if verb == "sleep":
            context.add_callback(lambda: self.ended.append(rest))
            time.sleep(float(rest))
        if verb == "hold":
            gone = threading.Event()
            context.add_callback(gone.set)
            if gone.wait(20):
                self.ended.append(rest)
        return self.say(request, context)

    def say(self, request: Any, context: Any) -> Any:
        verb, _, rest = request.name.partition(":")
        name = f"Hello {request.name}"
        if verb == "left":
            left = context.time_remaining()
            name = "none" if left is None else f"{left:.0f}"
        elif verb == "inherited":
            remaining = pyrpc_xds.time_remaining()
            name = "none" if remaining is None else f"{remaining:.0f}"
        elif verb == "attachments":
            name = json.dumps(dict(pyrpc_xds.incoming_attachments()))
        elif verb == "lasting":
            name = json.dumps(dict(pyrpc_xds.current_attachments()))
        elif verb == "metadata":
            found = {key: value for key, value in context.invocation_metadata() if key in ("cookie", rest)}
            name = str(sorted(found.items()))
        elif verb == "back":
            set_response_attachments({"camelBack": rest})
        elif verb == "binary":
            context.set_trailing_metadata((("data-bin", b"\xff\x00"),))
        elif verb == "business":
            raise BusinessError(4711, rest)
        elif verb == "bug":
            raise ZeroDivisionError(rest)
        elif verb == "raise":
            raise (getattr(builtins, rest, None) or getattr(asyncio, rest))(rest)
        elif verb == "callback":
            context.add_callback(sys.exit)
        elif verb == "code":
            context.set_code(grpc.StatusCode.ALREADY_EXISTS)
            context.set_details(rest)
        elif verb == "long":
            name = "x" * int(rest)
        elif verb == "peer":
            name = context.peer()
        return self.pb.User(name=name, id=self.name, age=7)

    def SayHelloServerStream(self, request: Any, context: Any) -> Any:
        yield self.pb.User()

    SayHelloClientStream = SayHelloStream = None


class Aborting(Greeter):
    def say(self, request: Any, context: Any) -> Any:
        if request.name.startswith("abort:"):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.name[6:])
        if request.name == "initial":
            context.send_initial_metadata((("early", "bird"),))
        return super().say(request, context)


class AioGreeter(Greeter):
    async def SayHello(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.contexts.append(context)
        verb, _, rest = request.name.partition(":")
        if verb == "sleep":
            context.add_done_callback(lambda _: self.ended.append(rest))
            await asyncio.sleep(float(rest))
        if verb == "hold":
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.ended.append(rest)
                raise
        if verb == "abort":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, rest)
        if verb == "initial":
            await context.send_initial_metadata((("early", "bird"),))
        return self.say(request, context)


class Serving:
    """A server that runs.

    :ivar port: that of HTTP.
    """

    def __init__(self, server: Any, port: int, greeter: Greeter, aio: bool) -> None:
        self.server = server
        self.port = port
        self.greeter = greeter
        self.aio = aio

    async def ask(self, name: str, form: Callable[..., Any] = clients.http1, **headers: str) -> Any:
        """SayHello in JSON; ``_`` in header names stands for ``-``."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        body = json.dumps({"name": name}).encode()
        return await asyncio.to_thread(form, self.port, body, clients.JSON | given)

    async def send(self, form: Callable[..., Any], body: bytes, headers: dict[str, str], **rest: str) -> Any:
        return await asyncio.to_thread(form, self.port, body, headers, **rest)

    async def stop(self, grace: float | None = 0) -> None:
        if self.aio:
            await self.server.stop(grace)
        else:
            await asyncio.to_thread(self.server.stop(grace).wait, 15)


@pytest.fixture(params=["sync", "asyncio"])
async def start(request: pytest.FixtureRequest, pb: Any, pb_grpc: Any) -> AsyncIterator[Any]:
    """Starts servers: coroutines on an event loop, functions on threads, and functions beside an event loop."""
    aio = request.param != "sync"
    async with contextlib.AsyncExitStack() as stack:

        async def begin(
            http: HttpOptions | None = None, variants: Any = ((None, None),), **options: Any
        ) -> Serving:
            triple = TripleTransport(FakeMesh())
            options.setdefault("max_workers", 4)
            server: Any = (triple.aio_server if aio else triple.server)(address="127.0.0.1:0", **options)
            greeters = []
            for group, version in variants:
                cls = AioGreeter if request.param == "asyncio" else Aborting
                greeters.append(cls(pb, f"{group}/{version}"))
                server.add(pb_grpc.add_GreeterServicer_to_server, greeters[-1], group=group, version=version)
            port = server.add_http_port("127.0.0.1:0", http)
            await server.start() if aio else server.start()
            serving = Serving(server, port, greeters[0], aio)

            async def end() -> None:
                await serving.stop()
                del server._server

            stack.push_async_callback(end)
            return serving

        begin.aio = aio  # type: ignore[attr-defined]
        yield begin


all_kinds = pytest.mark.parametrize("start", ["sync", "threads of asyncio", "asyncio"], indirect=True)
both_versions = pytest.mark.parametrize("form", [clients.http1, clients.http2], ids=["HTTP/1.1", "HTTP/2"])
