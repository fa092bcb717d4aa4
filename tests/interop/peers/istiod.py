"""The real istiod as a test peer: built once into a cache outside the tree, started on loopback.

``skip_reason()`` says why it cannot run here (no Go, or what the build printed); tests pass it on to
pytest.skip so that ``-rs`` shows it. ``IstiodProcess`` runs one: ``.xds_address``, ``.apply(yaml_text)``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from .built import PeerUnavailable, cache_folder, exclusive, run, tool

SOURCE = Path(__file__).resolve().parent.parent / "istiod"
BUILD_SECONDS = 1200.0  # the first build compiles all of istiod; measured 4 minutes on 2 busy cores
START_SECONDS = 30.0
APPLY_SECONDS = 30.0


class IstiodUnavailable(PeerUnavailable):
    """istiod cannot be started here; the message says why."""


def source_hash() -> str:
    """A hash of go.mod, go.sum and every Go file: the key under which the built program is kept."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCE.glob("*.go"), SOURCE / "go.mod", SOURCE / "go.sum"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def build() -> Path:
    """The istiod program, built if this version of it is not in the cache yet.

    Raises PeerUnavailable.
    """
    go = tool("go", "the real istiod")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key = source_hash()
    program = folder / f"istiod-{key}"
    if program.exists():
        return program
    with exclusive(folder / f"istiod-{key}.lock"):
        if program.exists():
            return program
        partial = folder / f"istiod-{key}.partial"
        environment = {
            "GOFLAGS": "-buildvcs=false -mod=readonly",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }
        command = [go, "build", "-ldflags=-s -w", "-o", str(partial), "."]
        run(command, SOURCE, BUILD_SECONDS, environment)
        os.replace(partial, program)
    return program


@functools.cache
def skip_reason() -> str | None:
    """Why istiod cannot run here, or None if it can. Builds it on first use."""
    try:
        build()
    except PeerUnavailable as reason:
        return str(reason)
    return None


class IstiodProcess:
    """One istiod on loopback. A context manager; the program also ends when this process does.

    Parameters: ``config`` is the YAML text to start from; ``verbose`` passes istiod's own log on to standard
    error. Raises IstiodUnavailable if it does not come up within START_SECONDS.
    """

    def __init__(self, config: str = "", *, verbose: bool = False) -> None:
        self._config = config
        self._verbose = verbose
        self._process: subprocess.Popen[str] | None = None
        self.xds_address = ""
        self.admin_address = ""

    def start(self) -> IstiodProcess:
        """Start it and wait until it serves."""
        command = [str(build()), "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        if self._verbose:
            command.append("--verbose")
        with (
            tempfile.TemporaryDirectory(prefix="istiod-peer-") as folder,
            tempfile.TemporaryFile("w+") as log,
        ):
            Path(folder, "config.yaml").write_text(self._config)
            self._process = subprocess.Popen(
                [*command, "--config", folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._verbose else log,
                text=True,
            )
            assert self._process.stdout is not None
            watchdog = threading.Timer(START_SECONDS, self._process.kill)
            watchdog.start()
            line = self._process.stdout.readline()
            watchdog.cancel()
            if not line:
                self._process.wait()
                self.stop()
                log.seek(0)
                tail = "; ".join(log.read().strip().splitlines()[-3:])
                raise IstiodUnavailable(f"istiod did not become ready within {START_SECONDS:.0f} s: {tail}")
        addresses = json.loads(line)
        self.xds_address, self.admin_address = addresses["xds"], addresses["admin"]
        return self

    def apply(self, yaml_text: str) -> dict[str, int]:
        """Replace all of istiod's world by these documents; what was created, updated and deleted.

        Raises ValueError with istiod's own words if it refuses a document; then nothing has changed.
        """
        request = urllib.request.Request(
            f"http://{self.admin_address}/config", data=yaml_text.encode(), method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=APPLY_SECONDS) as response:
                answer: dict[str, int] = json.load(response)
                return answer
        except urllib.error.HTTPError as refused:
            with refused:
                raise ValueError(refused.read().decode().strip()) from None

    def debug(self, page: str) -> str:
        """One of istiod's own debug pages, such as ``configz`` or ``endpointz``."""
        with urllib.request.urlopen(f"http://{self.admin_address}/debug/{page}", timeout=10.0) as response:
            text: str = response.read().decode()
            return text

    def stop(self) -> None:
        """End it, by closing its standard input and, if that is not enough, by force."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> IstiodProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
