"""The real istiod as a test peer: built once into a cache outside the tree, started on loopback.

``skip_reason()`` says why it cannot run here (no Go, or what the build printed); tests pass it on to
pytest.skip so that ``-rs`` shows it. ``IstiodProcess`` runs one: ``.xds_address``, ``.apply(yaml_text)``.
"""

from __future__ import annotations

import functools
import json
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from .built import PeerProcess, PeerUnavailable, built, run, tool

SOURCE = Path(__file__).resolve().parent.parent / "istiod"
BUILD_SECONDS = 1200.0  # the first build compiles all of istiod; measured 4 minutes on 2 busy cores
START_SECONDS = 30.0
APPLY_SECONDS = 30.0


@functools.cache
def build() -> Path:
    """The istiod program, built if this version of it is not in the cache yet.

    Raises PeerUnavailable.
    """
    return built("istiod-peer", SOURCE, [], _build) / "istiod-peer"


def _build(folder: Path) -> None:
    go = tool("go", "the real istiod")
    environment = {"GOFLAGS": "-buildvcs=false -mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    run([go, "build", "-ldflags=-s -w", "-o", "istiod-peer", "."], folder, BUILD_SECONDS, environment)


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

    Parameters: ``config`` is the YAML text to start from. Raises PeerUnavailable if it does not come up within
    START_SECONDS, with its own words.
    """

    def __init__(self, config: str = "") -> None:
        self._config = config
        self._process: PeerProcess | None = None
        self.xds_address = ""
        self.admin_address = ""

    def start(self) -> IstiodProcess:
        """Start it and wait until it serves."""
        with tempfile.TemporaryDirectory(prefix="istiod-peer-") as folder:
            Path(folder, "config.yaml").write_text(self._config)
            addresses = ["--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            self._process = PeerProcess([str(build()), *addresses, "--config", folder])
            try:
                serves = self._process.read(START_SECONDS)
            except PeerUnavailable:
                self.stop()
                raise
        self.xds_address, self.admin_address = serves["xds"], serves["admin"]
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
        if process is not None:
            process.close()

    def __enter__(self) -> IstiodProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
