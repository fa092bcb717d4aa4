"""The greeter of the interoperability tests, with our servers; dubbo-go and Dubbo Java have the same.

What comes before the colon in a request's name says what to do:

=======================  ===================================================================================
``attachments``          answer with the attachments that the handler sees, as JSON in the user's name
``reply:NAME=VALUE``     send that attachment back, beside the answer
``error:CODE:MESSAGE``   fail with that status
``plain:MESSAGE``        fail with the language's ordinary exception
``business:MESSAGE``     ours alone: fail with UNKNOWN and dubbo-go's 17 in grpc-status-details-bin
``panic:MESSAGE``        fail as a bug would
``sleep:MILLISECONDS``   answer late
``deadline``             answer with the milliseconds that are left, or ``none`` (not in Java)
anything else            answer with ``Hello`` and the name
=======================  ===================================================================================

The server stream answers three times: with the name first, then twice with what the verb gives; the user's age
is the number of the answer. The client stream answers with all names, the bidirectional one answers each.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from typing import Any

import grpc
from google.rpc import status_pb2

from examples.greeter import idl

STATUS = {status.value[0]: status for status in grpc.StatusCode}


class _Greeter:
    def __init__(self, version: str) -> None:
        self._version = version
        self._lock = threading.Lock()
        self.attempts: Counter[str] = Counter()

    def _user(self, name: str, age: int = 21) -> Any:
        return idl.protobuf()[0].User(name=name, id=self._version, age=age)

    def _verb(self, name: str, context: Any) -> tuple[str, Any]:
        """What the asyncio and the sync greeter have to do otherwise: a verb with its argument."""
        with self._lock:
            self.attempts[name] += 1
        verb, _, rest = name.partition(":")
        match verb:
            case "attachments":
                seen: dict[str, list[str]] = {}
                for key, value in context.invocation_metadata():
                    text = value if isinstance(value, str) else f"hex:{value.hex()}"
                    seen.setdefault(key, []).append(text)
                return "answer", json.dumps(seen)
            case "reply":
                key, _, value = rest.partition("=")
                context.set_trailing_metadata(((key, value),))
            case "error":
                code, _, message = rest.partition(":")
                return "abort", (STATUS[int(code)], message)
            case "business":
                status = status_pb2.Status(code=17, message=rest)
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
                return "abort", (grpc.StatusCode.UNKNOWN, rest)
            case "plain" | "panic":
                raise ValueError(rest)
            case "sleep":
                return "sleep", int(rest) / 1000
            case "deadline":
                left = context.time_remaining()
                # grpcio has a year or an enormous number for no deadline at all.
                return "answer", "none" if left is None or left > 1e6 else str(int(left * 1000))
        return "answer", f"Hello {name}"


class Greeter(_Greeter):
    """For :meth:`pyrpc_xds.transports.triple.TripleTransport.server`."""

    def SayHello(self, request: Any, context: Any) -> Any:
        what, value = self._verb(request.name, context)
        if what == "abort":
            context.abort(*value)
        if what == "sleep":
            time.sleep(value)
            value = f"Hello {request.name}"
        return self._user(value)

    def SayHelloServerStream(self, request: Any, context: Any) -> Any:
        yield self._user(request.name, 0)
        for number in (1, 2):
            user = self.SayHello(request, context)
            user.age = number
            yield user

    def SayHelloClientStream(self, requests: Any, context: Any) -> Any:
        names = []
        for request in requests:
            self.SayHello(request, context)
            names.append(request.name)
        return self._user(f"Hello {', '.join(names)}")

    def SayHelloStream(self, requests: Any, context: Any) -> Any:
        for request in requests:
            yield self.SayHello(request, context)


class AioGreeter(_Greeter):
    """For :meth:`pyrpc_xds.transports.triple.TripleTransport.aio_server`."""

    async def SayHello(self, request: Any, context: Any) -> Any:
        what, value = self._verb(request.name, context)
        if what == "abort":
            await context.abort(*value)
        if what == "sleep":
            await asyncio.sleep(value)
            value = f"Hello {request.name}"
        return self._user(value)

    async def SayHelloServerStream(self, request: Any, context: Any) -> Any:
        yield self._user(request.name, 0)
        for number in (1, 2):
            user = await self.SayHello(request, context)
            user.age = number
            yield user

    async def SayHelloClientStream(self, requests: Any, context: Any) -> Any:
        names = []
        async for request in requests:
            await self.SayHello(request, context)
            names.append(request.name)
        return self._user(f"Hello {', '.join(names)}")

    async def SayHelloStream(self, requests: Any, context: Any) -> Any:
        async for request in requests:
            yield await self.SayHello(request, context)
