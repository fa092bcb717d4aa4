"""Forking while calls are in flight: parent and child go on, each with connections and answers of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.interop.peers.ours import our_server
from tests.unit.transports.thrift.peers import Handler, idl

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
shared_or_not = pytest.mark.parametrize("multiplexed", [0, 1], ids=["a-connection-each", "shared-connection"])


def run(program: str, *args: str) -> None:
    """Run a program of this folder with the address of a server behind its arguments."""
    with our_server("sync", idl.Everything, Handler()) as address:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.e2e.{program}", *args, address],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr


@shared_or_not
@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_parent_and_child_of_a_fork_go_on_with_connections_of_their_own(kind: str, multiplexed: int) -> None:
    run("forking_calls", kind, str(multiplexed))


@shared_or_not
def test_child_that_leaves_the_loop_of_its_parent_takes_no_answer_from_it(multiplexed: int) -> None:
    run("forking_in_loop", str(multiplexed))
