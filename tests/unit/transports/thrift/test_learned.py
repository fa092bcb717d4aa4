"""The pools of one endpoint for forms that are learned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pyrpc_xds.transports.thrift.connector import ThriftConnector
from pyrpc_xds.transports.thrift.limits import Limits, PoolLimits
from pyrpc_xds.transports.thrift.wire import wire_from


def fork_while_pools_are_looked_at() -> int:
    """The exit code of a child that finds pools; 0: they are the same twice."""
    usual, other = wire_from("buffered", "binary"), wire_from("framed", "binary")
    pool = ThriftConnector(usual, Limits(), PoolLimits()).connect("127.0.0.1:1")
    assert pool.others is not None
    # As another thread holds it, which the child will not have.
    with pool.others._lock:
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(10)
                os._exit(0 if pool.others.of(other) is pool.others.of(other) else 1)
            finally:
                os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_forked_child_finds_pools_that_another_thread_of_the_parent_was_looking_at() -> None:
    # In a process without grpcio, whose fork handlers open descriptors.
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


if __name__ == "__main__":
    sys.exit(fork_while_pools_are_looked_at())
