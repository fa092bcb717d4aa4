"""The listening socket of the asyncio server, where the process can hold no more connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyrpc_xds.transports.thrift import aio_listener
from pyrpc_xds.transports.thrift.address import listen
from pyrpc_xds.transports.thrift.aio_listener import AioListener
from pyrpc_xds.transports.thrift.log import RateLimitedLog
from tests.unit.transports.thrift.test_listener import Full


async def test_listener_that_is_closed_during_its_pause_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_listener, "_PAUSE", 0.01)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    full = Full(listen("127.0.0.1:0", 8))
    listener = AioListener(full, asyncio.Protocol, "owner", RateLimitedLog())  # type: ignore[arg-type]
    listener._accept()
    await listener.close()
    await asyncio.sleep(0.05)
    assert not problems
