"""Traffic lanes as a scenario: which requests at the entrance, and which versions must have answered them.

Plays on any control plane: give :func:`play` its xDS address and a way to apply YAML.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..parts import P_VALUE, STOP_SECONDS, probability, process, with_ports, workload
from .report import Report
from .services import COLORS, PRODUCT, STARS
from .spans import Trace, TraceParent

__all__ = ["LANES", "Report", "play", "serve"]

MESH = Path(__file__).parent / "mesh"
PACKAGE = __package__
CALLS = 1000
CALLERS = 4
SETTLE_SECONDS = 20.0
REQUEST_SECONDS = 30.0
TRACE_SECONDS = 5.0

# Service, version, and the port of base.yaml.
WORKLOADS = (
    ("details", "v1", 9101),
    ("reviews", "v1", 9111),
    ("reviews", "v2", 9112),
    ("reviews", "v3", 9113),
    ("ratings", "v1", 9121),
    ("ratings", "v2", 9122),
)
DYES = ("uid=100:dev", "uid=200:feature2", "uid=300:feature3")

# Who answered behind the product page. Reviews v3 asks no ratings.
BASE = {"reviews-v1 ratings-v1": 0.5, "reviews-v3": 0.5}
DEV = {"reviews-v2 ratings-v2": 1.0}
ANY = {
    **{f"reviews-{a} ratings-{b}": 1 / 6 for a in ("v1", "v2") for b in ("v1", "v2")},
    "reviews-v3": 1 / 3,
}


@dataclass(frozen=True)
class Block:
    """Consecutive requests and the share of each chain of versions that they must show.

    :ivar percent: what the entrance dyes of the requests that no rule matches.
    """

    title: str
    headers: Mapping[str, str]
    expected: Mapping[str, float]
    percent: float = 0.0


@dataclass(frozen=True)
class Step:
    """One state of the rules."""

    title: str
    rules: str
    blocks: tuple[Block, ...]


UID, USER = {"uid": "100"}, {"end-user": "jason"}
THIRTY = {chain: share * 0.7 for chain, share in BASE.items()} | {"reviews-v2 ratings-v2": 0.3}
LANES = (
    Step("no rule", "rules-0-none.yaml", (Block("any version", {}, ANY),)),
    Step(
        "lanes",
        "rules-1-lanes.yaml",
        (
            Block("base lane", {}, BASE),
            Block("dev lane, dyed by uid: 100", UID, DEV),
            Block("dev lane, beside another member of the baggage", {**UID, **USER}, DEV),
            Block("30 % dyed into the dev lane", {}, THIRTY, percent=30.0),
            Block(
                "feature2 lane (uid: 200), which only ratings has",
                {"uid": "200"},
                {"reviews-v1 ratings-v2": 0.5, "reviews-v3": 0.5},
            ),
            Block("feature3 lane (uid: 300), which nobody has", {"uid": "300"}, BASE),
        ),
    ),
)


@dataclass(frozen=True)
class Result:
    """What a block showed.

    :ivar probability: of a deviation at least as large if the shares are right (chi-square test).
    :ivar failures: requests that failed or showed what the versions do not show, settling included.
    """

    step: Step
    block: Block
    seen: Mapping[str, int]
    probability: float
    failures: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the shares are as expected and no request was lost."""
        return self.probability > P_VALUE and not self.failures

    @property
    def calls(self) -> int:
        """How many requests were measured."""
        return sum(self.seen.values())

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "step": self.step.title,
            "block": self.block.title,
            "headers": dict(self.block.headers),
            "percent": self.block.percent,
            "expected": dict(self.block.expected),
            "seen": dict(self.seen),
            "probability": self.probability,
            "failures": list(self.failures),
            "passed": self.passed,
        }


class Entrance:
    """The product page from outside.

    :ivar failures: of all requests since it was last read.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.failures: list[str] = []

    def visit(self, count: int, headers: Mapping[str, str]) -> Counter[str]:
        """Request the page and count which chains answered."""
        shares = [count // CALLERS + (each < count % CALLERS) for each in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS, "browser") as callers:
            return sum(callers.map(lambda share: self._visit(share, headers), shares), Counter())

    def wait(self) -> None:
        """Return when the page is complete for the first time; what failed until then does not count.

        :raises RuntimeError: it never is.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self.visit(1, {}):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the page stays incomplete: {self.failures[-1]}")
            time.sleep(0.05)
        self.failures = []

    def settle(self, block: Block) -> None:
        """Request until a whole run of requests shows exactly the expected chains, or the time is up."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if set(self.visit(60, block.headers)) == set(block.expected):
                return

    def dye(self, percent: float) -> None:
        """Set the dyeing percentage."""
        with self._connection() as connection:
            connection.request("PUT", "/dyeing", json.dumps({"percent": percent}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"PUT /dyeing: {answer.status} {answer.read().decode()}")
            answer.read()

    def _visit(self, count: int, headers: Mapping[str, str]) -> Counter[str]:
        seen: Counter[str] = Counter()
        with self._connection() as connection:
            for _ in range(count):
                connection.request("GET", f"/api/products/{PRODUCT}", headers=dict(headers))
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {body.decode()[:300]}")
                    continue
                page = json.loads(body)
                seen[chain(page)] += 1
                if wrong := misshown(page):
                    self.failures.append(wrong)
        return seen

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self.address, timeout=REQUEST_SECONDS)
        try:
            yield connection
        finally:
            connection.close()


def chain(page: Mapping[str, Any]) -> str:
    """The versions behind a page, such as ``reviews-v1 ratings-v1``."""
    by = page["answered_by"]
    return " ".join(f"{service}-{by[service]}" for service in ("reviews", "ratings") if service in by)


def misshown(page: Mapping[str, Any]) -> str:
    """What a page shows that the versions which answered do not give; empty: it is as it must be."""
    by = page["answered_by"]
    color, stars = COLORS.get(by["reviews"]), STARS.get(by.get("ratings", ""))
    rating = {"stars": stars, "color": color} if color else None
    for review in page["reviews"]:
        if review["rating"] != rating:
            return f"{chain(page)} showed {review['rating']} instead of {rating}"
    return ""


class Pod:
    """A running workload, and the spans that it writes."""

    def __init__(self, name: str, running: subprocess.Popen[str]) -> None:
        self._name = name
        self._running = running
        self._spans: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, name="spans")

    def address(self) -> str:
        """Where it listens; waits until it does."""
        assert self._running.stdout
        line = self._running.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} did not start; its error is above")
        self._reader.start()
        return str(json.loads(line)["address"])

    def spans(self) -> list[dict[str, Any]]:
        """Those that have ended so far."""
        return list(self._spans)

    def _read(self) -> None:
        assert self._running.stdout
        for line in self._running.stdout:
            self._spans.append(json.loads(line))

    def close(self) -> None:
        """End it, and read it to its end."""
        self._running.terminate()
        if self._reader.ident is not None:
            self._reader.join(STOP_SECONDS)
            self._running.kill()
            self._reader.join()


@dataclass(frozen=True)
class Bookinfo:
    """All processes of the scenario.

    :ivar ports: the port of base.yaml -> the port in use.
    """

    entrance: Entrance
    ports: Mapping[int, int]
    pods: tuple[Pod, ...]

    def mesh_yaml(self, rules: str) -> str:
        """base.yaml with the ports in use, and a file of rules."""
        base = with_ports((MESH / "base.yaml").read_text(), self.ports)
        return f"{base}\n---\n{(MESH / rules).read_text()}"

    def trace(self, headers: Mapping[str, str], spans: int) -> Trace:
        """One request, traced.

        :param spans: how many to wait for; fewer if they do not come in time.
        """
        parent = TraceParent.new()
        self.entrance.visit(1, {**headers, "traceparent": str(parent)})
        deadline = time.monotonic() + TRACE_SECONDS
        while True:
            found = [span for pod in self.pods for span in pod.spans() if span["trace"] == parent.trace]
            if len(found) >= spans or time.monotonic() > deadline:
                return Trace(parent, dict(headers), tuple(found), spans, tuple(self.entrance.failures))
            time.sleep(0.02)


@contextmanager
def running(xds_address: str, listen: str = "127.0.0.1:0") -> Iterator[Bookinfo]:
    """Every service in a process of its own.

    :param listen: of the product page; the others take free ports.
    """
    with ExitStack() as stack:

        def start(module: str, name: str, *arguments: str) -> Pod:
            environment = workload(name, xds_address)
            started = process(f"{PACKAGE}.{module}", *arguments, environment=environment)
            pod = Pod(name, stack.enter_context(started))
            stack.callback(pod.close)
            return pod

        dyes = [argument for dye in DYES for argument in ("--dye", dye)]
        page = start("productpage", "productpage-v1", "--listen", listen, *dyes)
        services = [
            (port, start("server", f"{service}-{version}", "--service", service, "--version", version))
            for service, version, port in WORKLOADS
        ]
        ports = {port: int(pod.address().rpartition(":")[2]) for port, pod in services}
        yield Bookinfo(Entrance(page.address()), ports, (page, *(pod for _, pod in services)))


def play(
    xds_address: str,
    apply: Callable[[str], object],
    *,
    steps: tuple[Step, ...] = LANES,
    calls: int = CALLS,
    on_result: Callable[[Result | Trace], None] = lambda result: None,
) -> list[Result | Trace]:
    """Play the steps, and trace one request of the dev lane; all processes live through all of it.

    :param apply: gives the control plane a whole new set of YAML documents.
    :param on_result: is told each result as it comes.
    """
    results: list[Result | Trace] = []

    def tell(result: Result | Trace) -> None:
        results.append(result)
        on_result(result)

    with running(xds_address) as bookinfo:
        entrance = bookinfo.entrance
        apply(bookinfo.mesh_yaml(steps[0].rules))
        entrance.wait()
        for step in steps:
            apply(bookinfo.mesh_yaml(step.rules))
            for block in step.blocks:
                entrance.dye(block.percent)
                entrance.settle(block)
                seen = entrance.visit(calls, block.headers)
                failures, entrance.failures = tuple(entrance.failures[:5]), []
                tell(Result(step, block, seen, probability(block.expected, seen), failures))
        entrance.dye(0)
        # The page, and two for each of the calls to details, to reviews and to ratings.
        tell(bookinfo.trace({**UID, **USER}, spans=7))
    return results


@contextmanager
def serve(xds_address: str, apply: Callable[[str], object], listen: str) -> Iterator[str]:
    """The product page for a browser, with the rules of the lanes; gives its URL.

    :param listen: ``host:port``; where the port is taken, any free one.
    """
    with running(xds_address, free(listen)) as bookinfo:
        apply(bookinfo.mesh_yaml(LANES[-1].rules))
        bookinfo.entrance.wait()
        yield f"http://{bookinfo.entrance.address}/"


def free(listen: str) -> str:
    """``listen`` if nobody listens there, else with port 0."""
    host, _, port = listen.rpartition(":")
    with suppress(OSError), socket.create_server((host, int(port))):
        return listen
    return f"{host}:0"
