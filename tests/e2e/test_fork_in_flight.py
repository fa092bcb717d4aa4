"""Forking while calls are in flight: parent and child go on, each with answers to its own calls."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.interop.peers.ours import our_server
from tests.unit.transports.thrift.peers import Handler, idl

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@pytest.mark.parametrize("multiplexed", [0, 1], ids=["a-connection-each", "shared-connection"])
@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_parent_and_child_of_a_fork_go_on_with_answers_of_their_own(kind: str, multiplexed: int) -> None:
    with our_server("sync", idl.Everything, Handler()) as address:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.forking_calls", kind, str(multiplexed), address],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr
