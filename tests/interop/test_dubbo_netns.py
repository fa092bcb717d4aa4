"""The network namespace that Dubbo's peers run in holds what it promises."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import netns
from tests.interop.peers.built import PeerUnavailable

pytestmark = pytest.mark.interop


@pytest.fixture
def namespace() -> Iterator[netns.Namespace]:
    if reason := netns.skip_reason():
        pytest.skip(reason)
    made = netns.Namespace()
    yield made
    made.close()


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def connect(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


def listen() -> int:
    """The port of a socket on every interface, kept for as long as the namespace."""
    return int(netns.on_close.enter_context(socket.create_server(("", 0))).getsockname()[1])


def fail() -> None:
    raise LookupError("nothing here")


def start() -> int:
    """The process id of a child that does not end by itself."""
    return netns.on_close.enter_context(subprocess.Popen(["sleep", "1000"])).pid


def wait() -> None:
    socket.create_server(("", 0)).accept()


def test_nothing_but_loopback_is_there_and_it_works(namespace: netns.Namespace) -> None:
    assert namespace.run(interfaces) == ["lo"]
    assert namespace.run(connect, "127.0.0.1", namespace.run(listen)) == "connected"


def test_server_on_every_interface_cannot_be_reached_from_outside(namespace: netns.Namespace) -> None:
    assert connect("127.0.0.1", namespace.run(listen)) == "ConnectionRefusedError"


def test_failure_inside_is_told_with_its_traceback(namespace: netns.Namespace) -> None:
    with pytest.raises(netns.FailedInside, match=r"in fail[\s\S]*LookupError: nothing here"):
        namespace.run(fail)
    assert namespace.run(interfaces) == ["lo"]


def test_function_that_takes_too_long_ends_the_namespace_with_all_in_it(namespace: netns.Namespace) -> None:
    child = Path("/proc", str(namespace.run(start)))
    assert child.exists()
    with pytest.raises(PeerUnavailable, match="said nothing in"):
        namespace.run(wait, seconds=0.5)
    until = time.monotonic() + 10
    while child.exists() and "zombie" not in (child / "status").read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.exists() or "zombie" in (child / "status").read_text()


def test_user_namespace_serves_where_one_is_not_root() -> None:
    command = ("unshare", "-rn")
    if isinstance(reason := netns.entering(command), str):
        pytest.skip(reason)
    namespace = netns.Namespace(command)
    try:
        assert namespace.run(interfaces) == ["lo"]
        assert namespace.run(connect, "127.0.0.1", namespace.run(listen)) == "connected"
    finally:
        namespace.close()
