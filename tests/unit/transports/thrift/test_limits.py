"""Limits, addresses and errors: the small types of the transport."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from thriftpy2.protocol.exc import TProtocolException
from thriftpy2.thrift import TApplicationException, TException
from thriftpy2.transport import TTransportException

from pyrpc_xds.errors import CallError, Code, RemoteProtocolError, UsageError
from pyrpc_xds.transports.thrift import (
    Limits,
    PoolLimits,
    ServerLimits,
    ThriftDeadlineExceeded,
    ThriftProtocolError,
    ThriftUnavailable,
)
from pyrpc_xds.transports.thrift.address import format_address, resolve, split
from pyrpc_xds.transports.thrift.codec import EXCEPTION, codec_for
from pyrpc_xds.transports.thrift.errors import refused, sendable
from pyrpc_xds.transports.thrift.log import RateLimitedLog
from pyrpc_xds.transports.thrift.wire import Wire


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (Limits, {"frame": 0}),
        (Limits, {"frame": 2**31}),
        (Limits, {"depth": 0}),
        (Limits, {"elements": -1}),
        (Limits, {"frame": "1000"}),
        (Limits, {"depth": 1.5}),
        (Limits, {"expansion": 2**62}),
        (Limits, {"inflation": 0.5}),
        (Limits, {"header": None}),
        (PoolLimits, {"connections": 0}),
        (PoolLimits, {"idle": -1}),
        (PoolLimits, {"connect_timeout": 0}),
        (PoolLimits, {"call_timeout": -1.0}),
        (ServerLimits, {"connections": 0}),
        (ServerLimits, {"idle_timeout": 0}),
        (ServerLimits, {"frame_timeout": float("nan")}),
        (ServerLimits, {"handshake_timeout": "10"}),
        (ServerLimits, {"connections": "4"}),
        (ServerLimits, {"in_flight": 1.5}),
        (ServerLimits, {"backlog": 0}),
        (ServerLimits, {"message": 5}),
    ],
)
def test_limits_out_of_range_are_refused(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"^{make.__name__}: .*{next(iter(wrong))}"):
        make(**wrong)
    assert hash(make()) == hash(make())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("name.example:0", ("name.example", 0)),
        ("unix:/tmp/s", ("/tmp/s", -1)),
    ],
)
def test_address_forms(address: str, expected: tuple[str, int]) -> None:
    assert split(address) == expected


@pytest.mark.parametrize(
    "address", ["", "host", ":80", "host:", "host:x", "::1:80", "host:65536", "unix:", "host:-1"]
)
def test_wrong_addresses_are_usage_errors(address: str) -> None:
    with pytest.raises(UsageError, match="address"):
        split(address)


def test_addresses_as_text() -> None:
    assert format_address(socket.AF_INET, ("1.2.3.4", 5)) == "1.2.3.4:5"
    assert format_address(socket.AF_INET6, ("::1", 5, 0, 0)) == "[::1]:5"
    assert format_address(socket.AF_UNIX, "/s") == "unix:/s"
    assert format_address(socket.AF_UNIX, b"\0s") == "unix:\0s"


def test_slow_name_service_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(TimeoutError, match="did not resolve in time"):
        resolve("slow.example:1", time.monotonic() + 0.05)


def test_errors_are_thriftpy2s_and_ours() -> None:
    unavailable, late, wrong = ThriftUnavailable("a"), ThriftDeadlineExceeded("b"), ThriftProtocolError("c")
    for error in (unavailable, late):
        assert isinstance(error, CallError) and isinstance(error, TTransportException)
        assert isinstance(error, TException)
    assert isinstance(wrong, RemoteProtocolError) and isinstance(wrong, TProtocolException)
    assert isinstance(late, socket.timeout)
    assert (unavailable.code, late.code) == (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    assert [str(each) for each in (unavailable, late, wrong)] == ["a", "b", "c"]
    assert repr(late) == "ThriftDeadlineExceeded('b')"
    assert late.type == TTransportException.TIMED_OUT
    assert refused("negative size", 4).type == TProtocolException.NEGATIVE_SIZE
    assert refused("too many elements", 4).type == TProtocolException.SIZE_LIMIT
    for kind, limit in (("too many elements", "elements"), ("nested too deep", "depth")):
        assert str(refused(kind, 4)) == f"{kind} (Limits.{limit}) at byte 4 of the message"
    assert str(refused("unknown type", 4)) == "unknown type at byte 4 of the message"
    assert len({unavailable, late, wrong}) == 3 and unavailable != ThriftUnavailable("a")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (TApplicationException(6, "said so"), 6, "said so"),
        (TApplicationException(), 0, None),
        (TApplicationException(6, b"\xff bytes"), 6, "\\xff bytes"),
        (TApplicationException(6, 404), 6, "404"),
        (TApplicationException(6, "half \ud800"), 6, "half \\ud800"),
        (TApplicationException("oops"), 0, "oops"),
        (TApplicationException(2**31, "large"), 0, "large"),
        (TApplicationException(None, "none"), 0, "none"),
        (TApplicationException(True, "one"), 1, "one"),
    ],
)
def test_application_exception_can_be_encoded_and_shown(given: Any, kind: int, message: str | None) -> None:
    error = sendable(given)
    assert (error.type, error.message) == (kind, message)
    assert isinstance(str(error), str)
    for wire in (Wire(), Wire(compact=True)):
        assert codec_for(wire, Limits()).encode("ping", EXCEPTION, 1, error)


def test_log_counts_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(per_second=2)
    log._second = int(time.monotonic())
    for number in range(5):
        log.warning("line %d", number)
    written = len(caplog.records)
    assert 2 <= written <= 4
    log._second -= 10
    log.warning("later")
    if written == 2:
        assert caplog.messages[-1] == "later (3 such lines left out)"


def test_the_package_does_not_import_thriftpy2() -> None:
    code = "import sys, pyrpc_xds; sys.exit(any(name.split('.')[0] == 'thriftpy2' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
