"""Routed calls while the control plane is silent, and in a storm of updates (:mod:`.storm_plane`)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from . import greeters, mesh, push, storm_plane
from .rounds import Rival, compare, percentile

IDLE, STORM = "idle", "storm"
WARM_UP = 200


@dataclass
class Storm(Rival):
    """The calls of its turns are made while the control plane pushes."""

    plane: storm_plane.Running | None = None
    counted: list[dict[str, int]] = field(default_factory=list)

    def turn(self, calls: int, warm_up: int) -> None:
        assert self.plane is not None
        self.plane.go()
        try:
            super().turn(calls, warm_up)
        finally:
            self.counted.append(self.plane.stop())


def measure(rounds: int = 15, calls: int = 3000) -> dict[str, Any]:
    """Figures of :func:`compare` for one caller, what of the pushes was acknowledged, and the goal's ratio."""
    import pyrpc_xds

    storm_plane.raise_open_files()
    with storm_plane.running() as plane:
        os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = mesh.bootstrap(plane.address)
        xds = pyrpc_xds.XdsClient.from_env()
        try:
            client = xds.thrift.client(
                greeters.thrift_module().Greeter, f"xds:///{push.HOST}", framing="framed", timeout=20.0
            )
            call = partial(client.SayHello, greeters.thrift_module().HelloRequest(name="Joe"))
            # Every endpoint gets its connection.
            for _ in range(3 * storm_plane.ENDPOINTS):
                call()
            idle, storm = Rival(IDLE, call), Storm(STORM, call, plane=plane)
            figures = compare([idle, storm], rounds, calls, WARM_UP)
        finally:
            xds.close()
    # What the storm's calls use more than the idle ones, of the processors; some of the pushes come while it warms up.
    share = calls / (calls + WARM_UP)
    pushing = [
        (there - here) * calls / max(1.0, each["pushed"] * share)
        for here, there, each in zip(idle.cpu, storm.cpu, storm.counted, strict=True)
    ]
    ratios = sorted(there / here for here, there in zip(idle.p99, storm.p99, strict=True))
    return {
        "calls": figures,
        "endpoints": storm_plane.ENDPOINTS,
        "pushes_per_s": storm_plane.PER_SECOND,
        "pushed": sum(each["pushed"] for each in storm.counted),
        "acknowledged": sum(each["acknowledged"] for each in storm.counted),
        "cpu_us_a_push": round(median(pushing)),
        "p99_to_idle": round(median(ratios), 3),
        "p99_to_idle_middle_half": [round(percentile(ratios, 25), 3), round(percentile(ratios, 75), 3)],
    }


def goals(figures: dict[str, Any]) -> list[tuple[str, float, float, str]]:
    """Text, limit, figure and unit; every figure is to be at most its limit."""
    return [("p99 in the storm to idle: at most 2", 2.0, figures["p99_to_idle"], "x")]


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(measure(*map(int, sys.argv[1:])), indent=1))
