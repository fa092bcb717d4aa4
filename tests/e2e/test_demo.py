"""The README's demo, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys


def test_demo_greeter_plays_the_tutorial_over_triple_and_thrift_and_every_distribution_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyrpc_xds.cli", "demo", "greeter", "--json", "--calls", "500"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is True
    # Four steps, of which the third is measured with and without the attachment; two protocols.
    assert len(report["rows"]) == 10
    assert {row["protocol"] for row in report["rows"]} == {"triple", "thrift"}
    for row in report["rows"]:
        assert sum(row["seen"].values()) == 500
        assert row["failures"] == []
        assert set(row["seen"]) == set(row["expected"])
