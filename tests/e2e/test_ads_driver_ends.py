"""How a driver ends: closed, with its interpreter, or in the child of a fork."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from pyrpc_xds.bootstrap import Bootstrap, Server
from pyrpc_xds.errors import UsageError
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import LDS
from tests.e2e.ads_server import AdsServer, serving
from tests.e2e.driving import NODE, WAIT, Recorder, driving
from tests.unit.xds.build import (
    listener,
)

server = pytest.fixture(serving)


@pytest.mark.parametrize("state", ["never started", "connected", "connecting", "refused"])
def test_close_in_any_state_is_quick_quiet_and_repeatable(
    state: str, server: AdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = {
            "connecting": f"127.0.0.1:{mute.getsockname()[1]}",
            "refused": "127.0.0.1:1",
        }.get(state, server.address)
        driver = AdsDriver(Bootstrap((Server(address),), NODE))
        watcher = Recorder()
        server.set(LDS.type_url, listener("a"))
        if state != "never started":
            driver.subscribe(LDS, "a", watcher)
        if state == "connected":
            watcher.next("changed")
        if state == "refused":
            watcher.next("error")
        driver.close(timeout=5)
        driver.close(timeout=5)
        assert driver._thread is None or not driver._thread.is_alive()
    with pytest.raises(UsageError, match="closed"):
        driver.subscribe(LDS, "a", watcher)
    driver.unsubscribe(LDS, "a", watcher)
    assert "Traceback" not in caplog.text


def test_close_from_a_watcher_stops_the_thread(server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    closed = threading.Event()

    class Closing(Recorder):
        def on_changed(self, name: str, resource: Any) -> None:
            driver.close()
            closed.set()

    with driving(server.address) as driver:
        driver.subscribe(LDS, "a", Closing())
        assert closed.wait(WAIT)
        assert driver._thread is not None
        driver._thread.join(WAIT)
        assert not driver._thread.is_alive()


_EXIT = """
import sys
from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Node, Server
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import LDS

class Watcher:
    def on_changed(self, name, resource): print("changed", flush=True)
    def on_error(self, name, error): print("error", flush=True)
    on_ambient_error = on_error

driver = AdsDriver(Bootstrap((Server(sys.argv[1]),), Node("a~b~c~d")))
driver.subscribe(LDS, "a", Watcher())
if sys.argv[2] == "wait":
    import time
    time.sleep(0.5)
"""


@pytest.mark.parametrize("moment", ["wait", "at once"])
@pytest.mark.parametrize("reachable", [True, False])
def test_interpreter_exits_clean_with_an_open_driver(moment: str, reachable: bool, server: AdsServer) -> None:
    server.set(LDS.type_url, listener("a"))
    address = server.address if reachable else "127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", _EXIT, address, moment],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr


_FORK = """
import os, sys
from pyrpc_xds.bootstrap import Bootstrap, ChannelCredentials, Node, Server
from pyrpc_xds.xds.driver import AdsDriver
from pyrpc_xds.xds.types import LDS

driver = AdsDriver(Bootstrap((Server(sys.argv[1]),), Node("a~b~c~d")))
driver.call(lambda: None)
import time
time.sleep(0.2)
child = os.fork()
if child == 0:
    assert not driver.running, driver
    assert driver.dump()["resources"] == []
    driver.call(lambda: os._exit(7))
    time.sleep(5)
    os._exit(1)
assert driver.running
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
driver.close()
"""


def test_forked_child_starts_afresh_and_the_parent_goes_on(server: AdsServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK, server.address], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
