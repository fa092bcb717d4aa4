"""Forking after calls: the child opens channels of its own, the parent keeps its."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("support", [None, "1"], ids=["default", "GRPC_ENABLE_FORK_SUPPORT"])
def test_child_of_a_fork_has_connections_of_its_own(support: str | None) -> None:
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
                [sys.executable, "-c", CLIENT, str(ROOT), port],
                capture_output=True,
                text=True,
                timeout=30,
                env=environment,
            )
        finally:
            server.kill()
    assert done.returncode == 0, done.stderr
    before, child, after = done.stdout.split()
    assert before == after
    assert child.startswith("ipv4:127.0.0.1:") and child != before


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
held = [triple._targets._lock, channel._lock, channel._connectivity._lock, waiting._condition]
for lock in held:
    lock.acquire()
while triple._targets.threads.acquire(blocking=False):
    pass
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
