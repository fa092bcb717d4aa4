"""A program that forks in a coroutine, with a call of its Thrift client in flight in the same loop.

``python -m tests.e2e.forking_in_loop MULTIPLEXED ADDRESS``: the child ends by an exception, so that its copy of the
loop cancels the call and closes. The two loops share a selector of the system: the parent must have the answer
nevertheless. The exit code is 0 if it has it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pyrpc_xds
from pyrpc_xds.transports.thrift import PoolLimits
from tests.e2e.mesh import environment
from tests.unit.transports.thrift.peers import idl

SECONDS = 10.0


async def call_and_fork(client: Any) -> None:
    assert await client.ping("before") == "before"
    call = asyncio.create_task(client.ping("across"))
    await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        raise SystemExit
    os.waitpid(child, 0)
    assert await call == "across"
    assert await client.ping("after") == "after"


def main() -> int:
    """Call, fork, wait; the exit code."""
    multiplexed, address = sys.argv[1:]
    parent = os.getpid()
    xds = pyrpc_xds.XdsClient.from_env(environment("127.0.0.1:9"))
    client = xds.thrift.aio_client(
        idl.Everything,
        f"direct:///{address}",
        framing="ttheader",
        timeout=SECONDS,
        pool=PoolLimits(multiplexed=int(multiplexed)),
    )
    try:
        asyncio.run(call_and_fork(client))
    finally:
        if os.getpid() != parent:
            os._exit(0)
    client.close()
    xds.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
