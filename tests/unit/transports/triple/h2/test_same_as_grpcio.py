"""What holds for channels and servers on grpcio's codec holds on nghttp2: the same tests, with the other default."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrpc_xds.transports.triple.options import CODEC_VARIABLE

TRIPLE = Path(__file__).resolve().parents[1]
# A connection of grpcio's beside ours, for streams and futures: it counts sockets.
OTHERWISE = "not test_drained_channel_closes_when_its_last_call_ends"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "subject",
    [
        "bad_input",
        "business",
        "channel",
        "connection",
        "context",
        "fork",
        "generic",
        "health",
        "server",
        "services",
    ],
)
def test_same_tests_pass(subject: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", OTHERWISE]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'own'}", str(TRIPLE / f"test_{subject}.py")],
        cwd=TRIPLE.parents[3],
        env={**os.environ, CODEC_VARIABLE: "nghttp2"},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}", pytrace=False)
