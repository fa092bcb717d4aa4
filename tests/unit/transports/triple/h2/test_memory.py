"""What calls and streams on nghttp2 keep in memory, as the system counts it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrpc_xds.transports.triple.h2 import library
from pyrpc_xds.transports.triple.h2.endpoint import Endpoint
from tests.unit.transports.triple.h2.test_codec import Pair

RESIDENT = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not RESIDENT.exists(), reason="Linux alone tells it so")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def h2() -> Any:
    return library.load()


def test_stream_that_is_never_all_framed_keeps_only_what_waits(h2: Any) -> None:
    pair = Pair(h2)
    stream = pair.client.request(pair.block, (), b"")
    [served] = pair.server.receive(pair.client.send())
    pair.server.respond(served, pair.head, ())
    messages = (b"%04d" % number * (5_000 + number % 700) for number in range(10_000))
    sent: list[bytes] = []
    taken = checked = 0
    before = resident()
    while taken < 60_000_000:
        while served.queued < 200_000:
            sent.append(next(messages))
            pair.server.data(served, sent[-1])
        pair.client.receive(pair.server.send())
        assert served.queued
        while (message := stream.take()) is not None:
            assert message[5:] == sent.pop(0)
            taken += len(message)
            checked += 1
        pair.server.receive(pair.client.send())
    assert checked > 1_000
    assert resident() - before < 20_000_000


def test_messages_of_calls_that_are_over_do_not_wait_for_the_garbage_collector(
    serve: Callable[..., Any], endpoint: Callable[..., Endpoint]
) -> None:
    server = serve({"Echo": ("unary_unary", lambda request, context: request)})
    there = endpoint(f"127.0.0.1:{server.port}")
    echo = there.unary_unary(("unary_unary", "/T/Echo", None, None), lambda: pytest.fail("it went to grpcio"))
    message = b"x" * 4_000_000
    assert echo(message, timeout=20) == message
    gc.disable()
    try:
        before = resident()
        for _ in range(60):
            assert len(echo(message, timeout=20)) == len(message)
        assert resident() - before < 150_000_000
    finally:
        gc.enable()
