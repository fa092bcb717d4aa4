"""The demo's end by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pyrpc_xds.cli.demo import interruptible

SIGTERM_WITHIN_AN_IMPORT = """
import os, signal, sys
from pyrpc_xds.cli.demo import embedded

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "pyrpc_xds.controlplane.plane":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except BaseException:  # as the machinery of classes has it, and libraries that try an import
                pass

sys.meta_path.insert(0, Finder())
with embedded():
    print("goes on")
"""


def test_sigterm_within_the_imports_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGTERM_WITHIN_AN_IMPORT], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_sigterm_ends_the_parts_and_exits_as_shells_have_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ended = []
    with pytest.raises(SystemExit) as caught, interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            ended.append("a part")
    assert caught.value.code == 143
    assert ended == ["a part"]
    assert signal.getsignal(signal.SIGTERM) is before
