"""Forking after calls: the child opens channels of its own, the parent keeps its."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrpc_xds.errors import ConfigError
from pyrpc_xds.transports.triple.h2 import library
from pyrpc_xds.transports.triple.options import CODEC_VARIABLE

ROOT = Path(__file__).resolve().parents[4]

SERVER = """
import grpc
from concurrent.futures import ThreadPoolExecutor
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: context.peer().encode())
server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any.Service", {"Peer": handler}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination(60)
"""

# The child's answer and the parent's, each the address that the server saw.
CLIENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests.unit.transports.triple.fakes import FakeMesh
from pyrpc_xds.transports.triple import TripleTransport

mesh = FakeMesh("127.0.0.1:" + sys.argv[2])
channel = TripleTransport(mesh).channel("xds:///any:80")
peer = channel.unary_unary("/any.Service/Peer")
before = peer(b"", timeout=10).decode()
# As if other threads were opening a channel and connecting it, which the child will not have.
connection = mesh.routers[0].endpoints["127.0.0.1:" + sys.argv[2]].connection
locks = connection._lock, connection._connecting
for lock in locks:
    lock.acquire()
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        os.write(write, peer(b"", timeout=5))
    finally:
        os._exit(0)
for lock in locks:
    lock.release()
os.waitpid(child, 0)
print(before, os.read(read, 100).decode(), peer(b"", timeout=10).decode())
"""


def run(client: str, support: str | None) -> list[str]:
    """What a client prints that is given the port of a server of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    if support:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = support
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, "-c", client, str(ROOT), port],
                capture_output=True,
                text=True,
                timeout=30,
                env=environment,
            )
        finally:
            server.kill()
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def nghttp2() -> None:
    try:
        library.load()
    except ConfigError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("support", [None, "1"], ids=["default", "GRPC_ENABLE_FORK_SUPPORT"])
def test_child_of_a_fork_has_connections_of_its_own(support: str | None) -> None:
    own_connections(support)


@pytest.mark.usefixtures("nghttp2")
def test_child_of_a_fork_has_connections_of_its_own_on_nghttp2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODEC_VARIABLE, "nghttp2")
    own_connections(None)


def own_connections(support: str | None) -> None:
    before, child, after = run(CLIENT, support)
    assert before == after
    assert child.startswith("ipv4:127.0.0.1:") and child != before


# A connection of the parent's that one of its threads is reading from.
READ = """
import contextlib, os, socket, sys, threading, time
sys.path.insert(0, sys.argv[1])
from pyrpc_xds.transports.triple.h2 import library

ours, theirs = socket.socketpair()
session = library.load().Session(False, 1000, 1000, 65535, 0)
descriptor = ours.detach()
session.attach(descriptor)
def wait():
    with contextlib.suppress(EOFError):
        session.fetch(10_000)
reader = threading.Thread(target=wait)
reader.start()
while not session.being_read:
    time.sleep(0.01)
child = os.fork()
if child == 0:
    session.close(True)
    os._exit(os.path.exists(f"/proc/self/fd/{descriptor}"))
print("kept" if os.waitpid(child, 0)[1] else "closed", "read" if session.being_read else "lost")
theirs.close()
reader.join()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are listed by Linux alone")
@pytest.mark.usefixtures("nghttp2")
def test_child_of_a_fork_keeps_no_connection_that_a_thread_of_its_parent_reads() -> None:
    """Its peer would not see it end with the parent."""
    assert run(READ, None) == ["closed", "read"]


# Streams to an endpoint that leaves while it is connected, which take a channel of grpcio's of their own on nghttp2.
LEAVING = """
import gc, os, sys, time
sys.path.insert(0, sys.argv[1])
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.test_connection import sockets
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint

address = "127.0.0.1:" + sys.argv[2]
mesh = FakeMesh(address)
channel = TripleTransport(mesh).channel("xds:///any:80", codec="nghttp2")
router = mesh.routers[-1]
made = Endpoint._made
def leaves(endpoint, seconds):
    connection = made(endpoint, seconds)
    router.serve()
    return connection
Endpoint._made = leaves
before = sockets()
for _ in range(3):
    router.serve(address)
    assert channel.unary_unary("/any.Service/Peer").future(b"", timeout=10).result(10)
gc.collect()
until = time.monotonic() + 5
while sockets() > before and time.monotonic() < until:
    time.sleep(0.01)
print(sockets() - before)
os._exit(0)
"""


@pytest.mark.parametrize("support", [None, "1"], ids=["default", "GRPC_ENABLE_FORK_SUPPORT"])
@pytest.mark.usefixtures("nghttp2")
def test_channel_to_an_endpoint_that_left_closes_with_its_call(support: str | None) -> None:
    assert run(LEAVING, support) == ["0"]


# What other threads of the parent may hold at the fork, and futures that they were about to begin.
HELD = """
import faulthandler, os, sys, threading, traceback
sys.path.insert(0, sys.argv[1])
import grpc
from tests.unit.transports.triple.fakes import FakeMesh
from pyrpc_xds.transports.triple import TripleTransport

mesh = FakeMesh(default_wait=10)
triple = TripleTransport(mesh)
channel = triple.channel("xds:///any:80")
channel.subscribe(lambda state: None)  # the thread that watches is the parent's
waiting = channel.unary_unary("/any.Service/Any").future(b"")
threads = channel._target.threads
held = [triple._targets._lock, channel._lock, channel._connectivity._lock, waiting._condition, threads._lock]
for lock in held:
    lock.acquire()
threads._free = 0
child = os.fork()
if child == 0:
    try:
        faulthandler.dump_traceback_later(10, exit=True)
        assert waiting.code() is grpc.StatusCode.CANCELLED
        told = threading.Event()
        channel.subscribe(lambda state: told.set())
        assert told.wait(5)
        before = threading.active_count()
        later = channel.unary_unary("/any.Service/Any").future(b"", timeout=5)
        assert threading.active_count() == before + 1  # not in this thread
        later.cancel()
        triple.channel("xds:///other:80").close()
        channel.close()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
for lock in held:
    lock.release()
status = os.waitpid(child, 0)[1]
assert not waiting.done()
mesh.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_child_of_a_fork_waits_for_no_thread_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", HELD, str(ROOT)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
