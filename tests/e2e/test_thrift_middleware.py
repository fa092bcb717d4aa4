"""Middleware on both sides, several services on one port, and servers that signals stop."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from thriftpy2.parser import load_fp
from thriftpy2.thrift import TApplicationException

import pyrpc_xds
from pyrpc_xds.errors import UsageError
from pyrpc_xds.transports.thrift import (
    ThriftProtocolError,
    ThriftTransport,
    ThriftUnavailable,
    current_call,
    reply_metadata,
)
from pyrpc_xds.transports.thrift.codec import REPLY, codec_for
from pyrpc_xds.transports.thrift.limits import Limits
from pyrpc_xds.transports.thrift.wire import Wire
from tests.interop.peers.ours import KINDS, our_client, our_server
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, listening, wait_until

ROOT = Path(__file__).parents[2]
other = load_fp(
    io.StringIO("service Other { string ping(1: string text), i32 twice(1: i32 value) }"), "mw_other_thrift"
)


class Noting(Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes

    def ping(self, text: str) -> str:
        self.notes.append(f"handler {text}")
        if text == "fail":
            raise ValueError("secret")
        current_call().set_backward({"user": current_call().incoming.get("user", "")})
        return text


class OtherHandler:
    def ping(self, text: str) -> str:
        return f"other {text} for {current_call().service}.{current_call().method}"

    def twice(self, value: int) -> int:
        return 2 * value


def noting(kind: str, name: str, notes: list[str]) -> Any:
    def before(method: str, args: Any) -> None:
        notes.append(f"{name} {method} {args.text}")
        args.text += name[-1]

    def middleware(method: str, args: Any, next: Any) -> Any:
        before(method, args)
        try:
            return f"{next(args)}<{name[-1]}"
        except Exception as error:
            notes.append(f"{name} saw {type(error).__name__}")
            raise

    async def coroutine(method: str, args: Any, next: Any) -> Any:
        before(method, args)
        try:
            return f"{await next(args)}<{name[-1]}"
        except Exception as error:
            notes.append(f"{name} saw {type(error).__name__}")
            raise

    return middleware if kind == "sync" else coroutine


@pytest.fixture(params=[(c, s) for c in KINDS for s in KINDS], ids="-".join)
def kinds(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("framing", ["framed", "ttheader"])
def test_middleware_is_called_in_order_around_calls_and_handlers(
    kinds: tuple[str, str], framing: str
) -> None:
    notes: list[str] = []
    client_kind, server_kind = kinds
    ours = [noting(client_kind, name, notes) for name in ("client 1", "client 2")]
    theirs = [noting(server_kind, name, notes) for name in ("server 3", "server 4")]
    with (
        our_server(server_kind, idl.Everything, Noting(notes), middleware=theirs) as address,
        our_client(client_kind, idl.Everything, address, framing=framing, middleware=ours) as client,
    ):
        assert client.ping("x") == "x1234<4<3<2<1"
        assert client.with_options(timeout=5.0).ping(text="y") == "y1234<4<3<2<1"
    assert notes[:5] == [
        "client 1 ping x",
        "client 2 ping x1",
        "server 3 ping x12",
        "server 4 ping x123",
        "handler x1234",
    ]


def test_middleware_sees_what_calls_raise(kinds: tuple[str, str]) -> None:
    notes: list[str] = []
    client_kind, server_kind = kinds

    class Failing(Noting):
        def ping(self, text: str) -> str:
            raise ValueError("secret")

    with (
        our_server(
            server_kind, idl.Everything, Failing(notes), middleware=[noting(server_kind, "server 1", notes)]
        ) as address,
        our_client(
            client_kind, idl.Everything, address, middleware=[noting(client_kind, "client 2", notes)]
        ) as client,
        pytest.raises(TApplicationException, match="failed"),
    ):
        client.ping("x")
    assert notes[2:] == ["server 1 saw ValueError", "client 2 saw TApplicationException"]


def test_middleware_sets_attachments_sees_the_call_and_answers_in_its_place() -> None:
    seen: list[str] = []

    def dye(method: str, args: Any, next: Any) -> Any:
        with pyrpc_xds.attachments({"user": "admin"}), reply_metadata() as reply:
            result = next(args)
            seen.append(reply.backward["user"])
            return result

    def guard(method: str, args: Any, next: Any) -> Any:
        call = current_call()
        seen.append(f"{call.method} {call.incoming['user']}")
        if args.text == "refuse":
            raise TApplicationException(TApplicationException.INTERNAL_ERROR, "refused by middleware")
        return next(args)

    notes: list[str] = []
    with (
        our_server("sync", idl.Everything, Noting(notes), middleware=[guard]) as address,
        our_client("sync", idl.Everything, address, framing="ttheader", middleware=[dye]) as client,
    ):
        assert client.ping("x") == "x"
        with pytest.raises(TApplicationException, match="refused by middleware"):
            client.ping("refuse")
    assert seen == ["ping admin", "admin", "ping admin"]
    assert notes == ["handler x"]


def test_middleware_that_calls_next_again_makes_another_call(kinds: tuple[str, str]) -> None:
    client_kind, server_kind = kinds
    notes: list[str] = []

    def twice(method: str, args: Any, next: Any) -> Any:
        next(args)
        return next(args)

    async def twice_async(method: str, args: Any, next: Any) -> Any:
        await next(args)
        return await next(args)

    with (
        our_server(server_kind, idl.Everything, Noting(notes)) as address,
        our_client(
            client_kind,
            idl.Everything,
            address,
            middleware=[twice if client_kind == "sync" else twice_async],
        ) as client,
    ):
        assert client.ping("x") == "x"
    assert notes == ["handler x"] * 2


# -- several services on one port ------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["framed", "buffered", "ttheader", "theader"])
@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_services_of_one_port_are_told_apart_by_name(
    kinds: tuple[str, str], framing: str, protocol: str
) -> None:
    client_kind, server_kind = kinds
    options = {"framing": framing, "protocol": protocol}
    services = {"second": (other.Other, OtherHandler())}
    with our_server(server_kind, idl.Everything, Handler(), services=services) as address:
        with our_client(client_kind, idl.Everything, address, **options) as client:
            assert client.ping("x") == "x"
            assert client.reverse({"k": "v"}) == {"v": "k"}
        with our_client(
            client_kind, idl.Everything, address, multiplexed_service="Everything", **options
        ) as client:
            assert client.ping("x") == "x"
            assert client.echo(idl.Item(labels={1: "x"})) == idl.Item(labels={1: "x"})
        with our_client(client_kind, other.Other, address, multiplexed_service="second", **options) as client:
            assert client.ping("x") == "other x for Other.ping"
            assert client.twice(21) == 42
        with (
            our_client(client_kind, other.Other, address, multiplexed_service="third", **options) as client,
            pytest.raises(TApplicationException, match="third:ping") as unknown,
        ):
            client.ping("x")
        assert unknown.value.type == TApplicationException.UNKNOWN_METHOD


@pytest.mark.parametrize("name", ["", "a:b"])
def test_names_that_no_service_can_have(name: str) -> None:
    transport = ThriftTransport(FakeMesh("127.0.0.1:1"))
    with pytest.raises(UsageError, match="service name"):
        transport.client(other.Other, "x:1", multiplexed_service=name)
    with pytest.raises(UsageError, match="service name"):
        transport.server(idl.Everything, Handler(), "127.0.0.1:0", services={name: (other.Other, object())})


def test_answer_to_another_method_is_refused_where_it_could_be_decoded_out_of_step() -> None:
    codec = codec_for(Wire(), Limits())
    # A map<string, string>, for which thriftpy2 takes whatever has string types on the wire.
    answer = codec.encode("other", REPLY, 1, idl.Everything.ping_result(success="x"))

    def serve(sock: Any) -> None:
        while sock.recv(65536):
            sock.sendall(answer)

    with (
        listening(serve) as address,
        our_client("sync", idl.Everything, address, framing="framed") as client,
        pytest.raises(ThriftProtocolError, match="the answer is to b'other'"),
    ):
        client.echo(idl.Item())


# -- signals ---------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, signal, sys, threading, time
sys.path.insert(0, {root!r})
from pyrpc_xds.transports.thrift import ThriftTransport
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl

class Slow(Handler):
    def ping(self, text):
        if text == "slow":
            print("slow", flush=True)
            time.sleep(1.0)
        if text == "endless":
            print("endless", flush=True)
            time.sleep(20.0)
        return text

transport = ThriftTransport(FakeMesh())

def announce(server):
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        time.sleep(0.01)
    time.sleep(0.05)
    print(server.address, flush=True)

async def main():
    server = transport.aio_server(idl.Everything, Slow(), "127.0.0.1:0")
    await server.start()
    threading.Thread(target=announce, args=(server,)).start()
    await server.serve()

if {kind!r} == "sync":
    server = transport.server(idl.Everything, Slow(), "127.0.0.1:0")
    server.start()
    threading.Thread(target=announce, args=(server,)).start()
    server.serve()
else:
    asyncio.run(main())
print("over", flush=True)
import os
os._exit(0)  # a handler that was cut off still has its thread
"""


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    text = PROGRAM.format(root=str(ROOT), kind=request.param)
    with subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def call_in_background(address: str, text: str) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def call() -> None:
        with our_client("sync", idl.Everything, address, timeout=30.0) as client:
            try:
                outcome.append(client.ping(text))
            except ThriftUnavailable as error:
                outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, outcome


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_server_once_running_calls_are_answered(
    program: subprocess.Popen[str], number: int
) -> None:
    assert program.stdout is not None
    address = program.stdout.readline().strip()
    thread, outcome = call_in_background(address, "slow")
    assert program.stdout.readline() == "slow\n"
    program.send_signal(number)
    thread.join(20)
    assert outcome == ["slow"]
    assert program.stdout.readline() == "over\n"
    assert program.wait(20) == 0


def test_second_signal_cuts_off_what_runs(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    address = program.stdout.readline().strip()
    thread, outcome = call_in_background(address, "endless")
    assert program.stdout.readline() == "endless\n"
    program.send_signal(signal.SIGTERM)

    def refuses() -> bool:
        with our_client("sync", idl.Everything, address) as client:
            try:
                client.ping("x")
            except ThriftUnavailable:
                return True
        return False

    wait_until(refuses)
    program.send_signal(signal.SIGTERM)
    thread.join(20)
    assert isinstance(outcome[0], ThriftUnavailable)
    assert program.stdout.readline() == "over\n"


def test_server_on_another_thread_is_stopped_by_stop() -> None:
    server = ThriftTransport(FakeMesh()).server(idl.Everything, Handler(), "127.0.0.1:0")
    thread = threading.Thread(target=server.serve)
    thread.start()
    wait_until(lambda: bool(server.address))
    server.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_asyncio_server_is_stopped_by_stop_and_by_cancelling() -> None:
    async def main() -> None:
        transport = ThriftTransport(FakeMesh())
        for cancel in (False, True):
            server = transport.aio_server(idl.Everything, Handler(), "127.0.0.1:0")
            await server.start()
            serving = asyncio.create_task(server.serve())
            await asyncio.sleep(0.01)
            if cancel:
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
            else:
                await server.stop()
                await serving

    asyncio.run(main())
