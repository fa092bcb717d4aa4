"""Peers that are built once: a cache outside the tree, and processes that speak JSON lines."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
ANSWER_SECONDS = 60.0
LOG_BYTES = 4000  # of a log that an error shows


class PeerUnavailable(RuntimeError):
    """A peer cannot be built or started here; the message says why."""


def cache_folder() -> Path:
    """Where built peers are kept: $XDG_CACHE_HOME/pyrpc-xds-peers, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pyrpc-xds-peers"


def tool(name: str, peer: str) -> str:
    """The path of a program that building ``peer`` needs.

    :raises PeerUnavailable: it is not on PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise PeerUnavailable(f"{peer} needs {name!r}, which is not on PATH")
    return found


def run(
    command: list[str], folder: Path, seconds: float, environment: Mapping[str, str] | None = None
) -> str:
    """The standard output of a build step.

    :raises PeerUnavailable: it failed or took too long; with what it said last.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"{' '.join(command[:3])} took more than {seconds:.0f} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise PeerUnavailable(f"{' '.join(command[:3])} failed: {'; '.join(said) or done.returncode}")
    return done.stdout


def built(name: str, source: Path, extra: Iterable[Path], build: Callable[[Path], None]) -> Path:
    """The folder of a built peer, built if this version of it is not in the cache yet.

    :param source: the peer's sources; copied to the folder.
    :param extra: files elsewhere that it is made of.
    :param build: builds in the folder it is given.
    :raises PeerUnavailable: from ``build``.
    """
    digest = hashlib.sha256()
    for path in sorted([*(p for p in source.rglob("*") if p.is_file()), *extra]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")

    def make(folder: Path) -> None:
        shutil.copytree(source, folder)
        build(folder)

    return kept(f"{name}-{digest.hexdigest()[:16]}", make)


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of a name in the cache, made if it is not there yet.

    :param make: makes a folder at the path it is given.
    :raises PeerUnavailable: from ``make``.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    with exclusive(cache / f"{name}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=cache) as made:
                partial = Path(made) / "partial"
                make(partial)
                partial.rename(folder)
    return folder


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an advisory lock, so that of several processes one builds and the others wait."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class PeerProcess:
    """A running peer: prints JSON values, one a line, and ends when its standard input closes.

    :param command: what to run.
    :param folder: where to run it.
    """

    def __init__(self, command: list[str], folder: Path | None = None) -> None:
        self._name = Path(command[0]).name
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (lives as long as this)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # so that what it has started can be ended with it
        )

    def read(self, seconds: float = ANSWER_SECONDS) -> Any:
        """The next value.

        :raises PeerUnavailable: none came in time, or the peer has ended; with what it logged last.
        """
        assert self._process.stdout is not None
        watchdog = threading.Timer(seconds, self._kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        watchdog.join()
        if not line:
            self._process.wait()
            raise PeerUnavailable(f"{self._name} said nothing in {seconds:.0f} s: {self.logged()}")
        return json.loads(line)

    def ask(self, value: Any, seconds: float = ANSWER_SECONDS) -> Any:
        """Write a value and read the answer.

        :raises PeerUnavailable: as :meth:`read`.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: reading says why
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        return self.read(seconds)

    def logged(self) -> str:
        """The end of what it, and what it has started, wrote to standard error."""
        # pread: the offset is shared with the processes that are still writing.
        log = self._log.fileno()
        return os.pread(log, LOG_BYTES, max(0, os.fstat(log).st_size - LOG_BYTES)).decode(errors="replace")

    def terminate(self) -> None:
        """Have it stop as a rollout does: SIGTERM. :meth:`close` must follow."""
        self._process.terminate()

    def close(self) -> None:
        """End it, by closing its standard input and, if that is not enough, by force."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
