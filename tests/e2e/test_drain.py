"""SIGTERM to a server that drains: it goes on taking calls, says so to probes, and ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.interop.peers.ours import our_client
from tests.unit.transports.thrift.peers import idl

ROOT = Path(__file__).resolve().parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG = 60.0  # more than any test takes

PROGRAM = """
import asyncio, signal, sys, threading, time
sys.path.insert(0, {root!r})
import grpc
from pyrpc_xds.transports.thrift import ThriftTransport
from pyrpc_xds.transports.triple import TripleTransport
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

def announce(address):
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        time.sleep(0.01)
    print(address, flush=True)

async def asynchronous():
    if {protocol!r} == "triple":
        server = TripleTransport(FakeMesh()).aio_server(address="127.0.0.1:0", handlers=[Echo()], drain={drain})
        threading.Thread(target=announce, args=(server.port,)).start()
        await server.serve()
    else:
        server = ThriftTransport(FakeMesh()).aio_server(idl.Everything, Handler(), "127.0.0.1:0")
        await server.start()
        threading.Thread(target=announce, args=(server.address.rpartition(":")[2],)).start()
        await server.serve(drain={drain})

def synchronous():
    if {protocol!r} == "triple":
        server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0", handlers=[Echo()], drain={drain})
        threading.Thread(target=announce, args=(server.port,)).start()
        server.serve()
    else:
        server = ThriftTransport(FakeMesh()).server(idl.Everything, Handler(), "127.0.0.1:0").start()
        threading.Thread(target=announce, args=(server.address.rpartition(":")[2],)).start()
        server.serve(drain={drain})

synchronous() if {kind!r} == "sync" else asyncio.run(asynchronous())
"""


@contextlib.contextmanager
def server(protocol: str, kind: str, drain: float) -> Iterator[tuple[subprocess.Popen[str], str]]:
    text = PROGRAM.format(root=str(ROOT), protocol=protocol, kind=kind, drain=drain)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def call(protocol: str, address: str) -> str:
    """One call over a connection of its own."""
    if protocol == "triple":
        with grpc.insecure_channel(address) as channel:
            return bytes(channel.unary_unary("/any.Service/Method")(b"data", timeout=10)).decode()
    with our_client("sync", idl.Everything, address) as client:
        return str(client.ping("data"))


every_server = pytest.mark.parametrize(
    ("protocol", "kind"), [(p, k) for p in ("triple", "thrift") for k in ("sync", "asyncio")]
)


@every_server
def test_draining_server_takes_new_connections_until_a_second_signal(protocol: str, kind: str) -> None:
    with server(protocol, kind, LONG) as (process, address):
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)  # without a drain it would have ended long ago
        assert call(protocol, address) == "data"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@every_server
def test_drain_ends_by_itself(protocol: str, kind: str) -> None:
    with server(protocol, kind, 0.3) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_draining_server_is_not_ready_and_yet_alive(kind: str) -> None:
    with server("triple", kind, LONG) as (process, address), grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        ready, alive = health_pb2.HealthCheckRequest(), health_pb2.HealthCheckRequest(service="liveness")
        watch = health.Watch(ready, timeout=30)
        assert next(watch).status == SERVING
        assert health.Check(alive, timeout=10).status == SERVING
        process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        assert health.Check(ready, timeout=10).status == NOT_SERVING
        assert health.Check(alive, timeout=10).status == SERVING
        process.send_signal(signal.SIGTERM)
        assert list(watch) == []
        assert process.wait(20) == 0
