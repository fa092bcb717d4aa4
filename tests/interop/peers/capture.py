"""Write down what the real istiod answers in every case, for tests that run where istiod cannot.

    python -m tests.interop.peers.capture

replaces ``tests/data/istiod/*.json``: for each case its YAML's name and the decoded resources as proto
JSON, with what has no order of its own sorted. Run it after a change of the cases or of istiod's version.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.interop.cases import CASES, Case, normalised
from tests.interop.peers.istiod import IstiodProcess

DATA = Path(__file__).resolve().parents[2] / "data" / "istiod"


def settled(case: Case, address: str) -> dict[str, object]:
    """The answers, once three in a row have been equal."""
    last, repeats = normalised(case.ask(address)), 0
    while repeats < 2:
        time.sleep(0.2)
        now = normalised(case.ask(address))
        repeats, last = (repeats + 1, last) if now == last else (0, now)
    return last


def main() -> int:
    """Capture all cases."""
    DATA.mkdir(parents=True, exist_ok=True)
    for old in DATA.glob("*.json"):
        old.unlink()
    with IstiodProcess() as istiod:
        for case in CASES:
            istiod.apply("")
            istiod.apply(case.text)
            answers = settled(case, istiod.xds_address)
            (DATA / f"{case.name}.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
    print(f"{len(CASES)} cases in {DATA}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
