"""A program that forks, with a Thrift client of the mesh and nothing else that grpcio runs.

(A process that forks while a grpcio *server* of its own is polling may be aborted by grpcio in the child: that is
grpcio's limit, not what is looked at here.)

``python -m tests.e2e.forking before|after TARGET``: fork before or after the first call. Both processes call until
they see v2, say so on standard output, and the exit code is 0 if both did.
"""

from __future__ import annotations

import os
import sys
import time

import pyrpc_xds
from examples.greeter import idl

SECONDS = 30.0


def main() -> int:
    """Fork and follow; the exit code."""
    moment, target = sys.argv[1:]
    module = idl.thrift()
    client = pyrpc_xds.XdsClient.from_env().thrift.client(module.Greeter, target, timeout=10.0)

    def call() -> str:
        return str(client.SayHello(module.HelloRequest(name="x")).id)

    if moment == "after":
        say(call())
    child = os.fork()
    code = 1
    try:
        say(f"{'child' if child == 0 else 'parent'} {call()}")
        deadline = time.monotonic() + SECONDS
        while call() != "v2.0.0":
            if time.monotonic() > deadline:
                return 3
            time.sleep(0.01)
        code = 0
    finally:
        if child == 0:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return code or os.waitstatus_to_exitcode(status)


def say(line: str) -> None:
    """One line, in one write: two processes share the pipe."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
