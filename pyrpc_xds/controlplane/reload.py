"""Notice that a folder's YAML has changed, however the change was made.

Editors replace files by renaming others over them, and Kubernetes swaps a symbolic link that all files of
a mounted ConfigMap go through. Both change what the names lead to without touching a file that is being
watched, so file events only say *look again*; what counts is whether the files differ from before.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import ConfigError, missing_extra
from .documents import config_files

logger = logging.getLogger(__name__)

# Changes within this time of each other are one.
DEBOUNCE_MILLISECONDS = 50
# Without any event the files are looked at this often: network file systems send none.
POLL_MILLISECONDS = 1000


def fingerprint(path: Path) -> str:
    """Equal as long as the YAML files of ``path`` have the same names and contents."""
    digest = hashlib.sha256()
    try:
        files = config_files(path)
    except (ConfigError, OSError):
        return ""
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            content = b"unreadable"
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class FolderWatch:
    """Calls back, from a thread of its own, after each change of a folder's YAML.

    :param path: the folder, or one file.
    :param changed: called once for each change; what it raises is logged.
    """

    def __init__(self, path: Path, changed: Callable[[], object]) -> None:
        self._path = path
        self._changed = changed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch. Raises ConfigError if the watching library is not installed."""
        try:
            import watchfiles  # noqa: F401
        except ImportError:
            raise missing_extra("control-plane", "watchfiles", "watching a folder") from None
        before = fingerprint(self._path)
        self._thread = threading.Thread(
            target=self._run, args=(before,), name="xds-config-watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; at most about two seconds."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * POLL_MILLISECONDS / 1000)
            self._thread = None

    def _run(self, before: str) -> None:
        while not self._stop.is_set():
            try:
                for _ in self._events():
                    if self._stop.is_set():
                        return
                    before = self._look(before)
            except OSError:  # it went away just as it was to be watched
                before = self._look(before)
                self._stop.wait(POLL_MILLISECONDS / 1000)

    def _events(self) -> Iterable[object]:
        """One each time that something may have changed."""
        from watchfiles import watch

        # The folder itself may be a link that is swapped, or be replaced: its parent tells of that.
        watched = {self._path.parent, self._path} if self._path.is_dir() else {self._path.parent}
        return watch(
            *watched,
            watch_filter=None,
            debounce=DEBOUNCE_MILLISECONDS,
            step=DEBOUNCE_MILLISECONDS // 2,
            stop_event=self._stop,
            rust_timeout=POLL_MILLISECONDS,
            yield_on_timeout=True,
            recursive=False,
            raise_interrupt=False,
        )

    def _look(self, before: str) -> str:
        """Call back if the folder has changed since ``before``; what it is now."""
        now = fingerprint(self._path)
        if now != before:
            try:
                self._changed()
            except Exception:
                logger.exception("the configuration in %s could not be taken over", self._path)
        return now
