"""What this package uses of grpcio beyond its public API, named one by one: a grpcio that changes it fails here first.

The state of a channel without grpcio's polling threads, the registry that keeps channels for forked children, and the
calls that a sync server counts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc

from pyrpc_xds.transports.triple.connectivity import SHUTDOWN

CONNECTING_STATES = {0, 1, 3}  # IDLE, CONNECTING, TRANSIENT_FAILURE: nothing listens on port 1


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    with grpc.insecure_channel("ipv4:127.0.0.1:1") as channel:
        yield channel


def test_channel_tells_its_state_as_a_number(channel: grpc.Channel) -> None:
    assert channel._channel.check_connectivity_state(False) in CONNECTING_STATES


def test_channel_waits_for_another_state_until_a_deadline(channel: grpc.Channel) -> None:
    inner = channel._channel
    inner.watch_connectivity_state(inner.check_connectivity_state(False), 0.0)  # long past: returns
    assert inner.check_connectivity_state(False) in CONNECTING_STATES


def test_closed_channel_has_no_state() -> None:
    channel = grpc.insecure_channel("ipv4:127.0.0.1:1")
    channel.close()
    with pytest.raises(ValueError):
        channel._channel.check_connectivity_state(False)


def test_asyncio_channel_tells_its_state_as_a_number_after_its_end_too() -> None:
    async def states() -> tuple[int, int]:
        channel = grpc.aio.insecure_channel("ipv4:127.0.0.1:1")
        state = channel._channel.check_connectivity_state  # type: ignore[attr-defined]
        before = state(False)
        await channel.close()
        return before, state(False)

    open_state, closed_state = asyncio.run(states())
    assert open_state in CONNECTING_STATES
    assert closed_state == SHUTDOWN


def test_channel_leaves_the_registry_of_forks(channel: grpc.Channel) -> None:
    cygrpc.fork_unregister_channel(channel)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_channel_takes_registered_methods_as_generated_stubs_say(kind: str) -> None:
    assert "_registered_method" in inspect.signature(getattr(grpc.Channel, kind)).parameters


def test_sync_server_counts_its_calls_under_a_lock() -> None:
    pool = ThreadPoolExecutor(1)
    server: Any = grpc.server(pool, maximum_concurrent_rpcs=7)
    state = server._state
    with state.lock:
        assert (state.active_rpc_count, state.maximum_concurrent_rpcs) == (0, 7)
    server.start()  # which frees its pollers
    server.stop(None).wait(5)
    pool.shutdown()
