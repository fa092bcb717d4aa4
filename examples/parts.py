"""What the scenarios have in common: processes as pods, YAML with the ports in use, and the test of shares."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# A correct run fails the test of one weighted row once in ten thousand; of 1000 calls, 44 % where 50 % should be
# fail it half the time, 40 % nearly always.
P_VALUE = 0.0001
STOP_SECONDS = 10.0


@contextmanager
def process(
    module: str, *arguments: str, environment: Mapping[str, str], terminate: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs a module; ended with the block.

    :param terminate: it is told to stop by SIGTERM; otherwise the end of its standard input tells it.
    """
    command = [sys.executable, "-m", module, *arguments]
    running = subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        assert running.stdin and running.stdout
        running.stdin.close()
        if terminate:
            running.terminate()
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        running.stdout.close()


def workload(name: str, xds_address: str) -> dict[str, str]:
    """The environment that Kubernetes would give the pod ``name``."""
    # A bootstrap of the caller's own would win over ISTIOD_ADDR.
    own = {"GRPC_XDS_BOOTSTRAP": "", "GRPC_XDS_BOOTSTRAP_CONFIG": ""}
    pod = {"POD_NAME": name, "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}
    return {**own, **pod, "ISTIOD_ADDR": xds_address}


def with_ports(text: str, ports: Mapping[int, int]) -> str:
    """YAML text with the ports in use instead of those that it was written with."""
    return re.sub(r"\b\d{4,5}\b", lambda match: str(ports.get(int(match[0]), match[0])), text)


def probability(expected: Mapping[str, float], seen: Mapping[str, int]) -> float:
    """The chi-square test's p-value: how likely the shares are off by as much as ``seen`` if ``expected`` holds.

    :returns: 0.0 where nothing was seen, or what must not be seen.
    """
    total = sum(seen.values())
    if not total or any(key not in expected for key, count in seen.items() if count):
        return 0.0
    statistic = sum(
        (seen.get(key, 0) - share * total) ** 2 / (share * total) for key, share in expected.items()
    )
    return chi_square(statistic, len(expected) - 1)


def chi_square(statistic: float, freedom: int) -> float:
    """The chance of a chi-square ``statistic`` at least as large, for ``freedom`` degrees of freedom.

    The upper incomplete gamma function at whole and half arguments: Q(a + 1, x) = Q(a, x) + x^a e^-x / G(a + 1).
    """
    if not freedom or not statistic:
        return 1.0
    x = statistic / 2
    a, q = (0.5, math.erfc(math.sqrt(x))) if freedom % 2 else (1.0, math.exp(-x))
    while a < freedom / 2:
        q += math.exp(a * math.log(x) - x - math.lgamma(a + 1))
        a += 1
    return min(1.0, q)


BAR = 16
COLORS = ("cyan", "magenta", "yellow")


def bar(shares: list[float]) -> str:
    """Shares as a coloured bar (rich's markup); shades tell them apart where there is no colour."""
    text, done, drawn = "", 0.0, 0
    for share, color, shade in zip(shares, COLORS, "█▒░", strict=False):
        done += share
        width = round(done * BAR) - drawn
        drawn += width
        text += f"[{color}]{shade * width}[/]"
    return text
