"""The traffic lanes of Bookinfo: as a user plays them in a terminal, and as a browser shows them."""

from __future__ import annotations

import http.client
import importlib
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from examples.bookinfo import scenario
from examples.bookinfo.dyeing import Dye, Dyeing, Rule
from examples.bookinfo.spans import Trace, TraceParent
from examples.parts import chi_square, probability

from .browser import PROGRAM, Browser

# The package's attribute of this name is the command.
cli = importlib.import_module("pyrpc_xds.cli.demo")
ROWS = [(step.title, block.title) for step in scenario.LANES for block in step.blocks]


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pyrpc_xds.cli", "demo", "bookinfo", *arguments]


def test_demo_bookinfo_keeps_every_lane_and_shows_one_request_as_one_tree() -> None:
    done = subprocess.run(
        demo("--json", "--calls", "300"), capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is True
    *rows, trace = report["rows"]
    assert [(row["step"], row["block"]) for row in rows] == ROWS
    for row in rows:
        assert sum(row["seen"].values()) == 300
        assert set(row["seen"]) == set(row["expected"])
        assert row["failures"] == []
    dyed = {row["block"]: row["seen"] for row in rows}["dev lane, dyed by uid: 100"]
    assert dyed == {"reviews-v2 ratings-v2": 300}
    names = [(span["service"], span["version"], span["name"], span["kind"]) for span in trace["spans"]]
    assert sorted(names) == [
        ("details", "v1", "Details.GetBook", "server"),
        ("productpage", "v1", "Details.GetBook", "client"),
        ("productpage", "v1", "GET /api/products/0", "server"),
        ("productpage", "v1", "Reviews.GetReviews", "client"),
        ("ratings", "v2", "Ratings.GetRatings", "server"),
        ("reviews", "v2", "Ratings.GetRatings", "client"),
        ("reviews", "v2", "Reviews.GetReviews", "server"),
    ]
    spans = {span["span"]: span for span in trace["spans"]}
    parents = [
        spans[span["parent"]]
        for span in trace["spans"]
        if span["kind"] == "server" and span["parent"] in spans
    ]
    assert [parent["kind"] for parent in parents] == ["client"] * 3


def test_demo_exits_with_1_where_a_lane_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    off = scenario.Result(scenario.LANES[1], scenario.LANES[1].blocks[0], {"reviews-v2 ratings-v2": 10}, 0.0)
    played = SimpleNamespace(play=lambda *args, **options: [off], Report=scenario.Report)
    monkeypatch.setattr(cli, "scenario_module", lambda name: played)
    done = CliRunner().invoke(cli.demo, ["bookinfo"])
    assert done.exit_code == 1, done.output
    done = CliRunner().invoke(cli.demo, ["bookinfo", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["passed"] is False


def test_demo_of_a_scenario_without_a_page_refuses_web() -> None:
    done = CliRunner().invoke(cli.demo, ["greeter", "--web"])
    assert done.exit_code == 2
    assert "greeter has no page" in done.output


@pytest.mark.parametrize("result", ["passed", "off"])
def test_report_draws_the_chain_of_each_lane_with_its_share(result: str) -> None:
    [block] = [each for each in scenario.LANES[1].blocks if each.headers == {"uid": "100"}]
    seen = {"reviews-v2 ratings-v2": 10} if result == "passed" else {"reviews-v3": 10}
    text = io.StringIO()
    report = scenario.Report(Console(file=text, width=110))
    report(scenario.Result(scenario.LANES[1], block, seen, probability(block.expected, seen)))
    printed = text.getvalue()
    if result == "passed":
        assert "dev lane, dyed by uid: 100 ok" in printed
        assert "└─ reviews v2 ── ratings v2  ★★★★★ red    100.0% of 100%  ████████████████" in printed
    else:
        assert "dev lane, dyed by uid: 100 off" in printed
        assert "├─ reviews v2 ── ratings v2  ★★★★★ red      0.0% of 100%" in printed
        assert "└─ reviews v3                no stars     100.0% of   0%" in printed


# -- what makes the scenario fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "freedom"), [(3.8415, 1), (5.9915, 2), (7.8147, 3), (9.4877, 4), (11.0705, 5)]
)
def test_chi_square_at_the_tables_five_percent(statistic: float, freedom: int) -> None:
    assert chi_square(statistic, freedom) == pytest.approx(0.05, abs=1e-4)


def test_probability_of_shares_that_are_off_or_of_a_chain_that_must_not_answer() -> None:
    assert probability(scenario.THIRTY, {"reviews-v1 ratings-v1": 350, "reviews-v3": 650}) < 1e-6
    assert probability(scenario.DEV, {"reviews-v2 ratings-v2": 999, "reviews-v2 ratings-v1": 1}) == 0.0
    assert probability(scenario.DEV, {}) == 0.0


def page(reviews: str, ratings: str | None, rating: object) -> dict[str, Any]:
    by = {"productpage": "v1", "details": "v1", "reviews": reviews}
    return {"answered_by": by | ({"ratings": ratings} if ratings else {}), "reviews": [{"rating": rating}]}


def test_page_that_shows_other_stars_than_its_versions_give_is_misshown() -> None:
    assert scenario.misshown(page("v2", "v2", {"stars": 5, "color": "red"})) == ""
    assert scenario.misshown(page("v3", None, None)) == ""
    assert scenario.misshown(page("v2", "v2", {"stars": 1, "color": "red"}))
    assert scenario.misshown(page("v2", "v2", {"stars": 5, "color": "black"}))
    assert scenario.misshown(page("v3", None, {"stars": 1, "color": "black"}))


def span(name: str, parent: str, failed: bool = False) -> dict[str, Any]:
    return {"span": name, "parent": parent, "start": 0, "end": 1, "failed": failed}


def test_trace_passes_only_as_one_complete_tree() -> None:
    caller = TraceParent("1" * 32, "caller")
    whole = Trace(caller, {}, (span("a", "caller"), span("b", "a"), span("c", "b")), 3, ())
    assert whole.passed
    assert not replace(whole, spans=whole.spans[:2]).passed
    assert not replace(whole, spans=(*whole.spans[:2], span("c", "lost"))).passed
    assert not replace(whole, spans=(*whole.spans[:2], span("c", "caller"))).passed
    assert not replace(whole, spans=(*whole.spans[:2], span("c", "b", failed=True))).passed
    assert not replace(whole, failures=("502",)).passed


def test_dyeing_by_header_goes_before_the_percentage() -> None:
    dyeing = Dyeing((Rule.parse("uid=100:feature2"),), percent=30.0)
    assert dyeing.dye({"uid": "100"}, 0.0) == Dye("feature2", "header uid: 100")
    assert dyeing.dye({"uid": "101"}, 0.2999) == Dye("dev", "30 % of all")
    assert dyeing.dye({}, 0.3) is None
    assert Dyeing(()).dye({}, 0.0) is None
    assert Dyeing((), percent=100.0).dye({}, 0.999999) is not None


@pytest.mark.parametrize("percent", [-1.0, 100.5, float("nan")])
def test_dyeing_of_a_share_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        Dyeing((), percent=percent)


@pytest.mark.parametrize("text", ["uid=100", "uid:dev", "=100:dev", "uid=100:"])
def test_dyeing_rule_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HEADER=VALUE:LANE"):
        Rule.parse(text)


# -- the page ------------------------------------------------------------------------------------------------------


@dataclass
class Web:
    """The demo serving its page."""

    url: str
    rules: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://").rstrip("/")

    def get(self, **headers: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}api/products/0", headers=headers)
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            shown: dict[str, Any] = json.load(answer)
            return shown

    def put(self, body: str, path: str = "/dyeing") -> int:
        connection = http.client.HTTPConnection(self.address, timeout=30.0)
        try:
            connection.request("PUT", path, body)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


@contextmanager
def serving(listen: str) -> Iterator[Web]:
    process = subprocess.Popen(
        demo("--web", "--json", "--listen", listen), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    try:
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("}"):
                break
        told = json.loads(text)
        yield Web(told["url"], Path(told["rules"]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30.0)
        process.stdout.close()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving("127.0.0.1:0") as served:
        yield served


@pytest.fixture
def undyed(web: Web) -> Iterator[Web]:
    assert web.put('{"percent": 0}') == 200
    yield web
    assert web.put('{"percent": 0}') == 200


def test_entrance_takes_no_lane_from_the_callers_own_baggage(undyed: Web) -> None:
    shown = [undyed.get(baggage="env=dev") for _ in range(5)]
    assert {page["answered_by"]["reviews"] for page in shown} <= {"v1", "v3"}
    assert all(page["baggage"] == {} for page in shown)


def test_entrance_keeps_an_odd_value_of_the_baggage_from_choosing_a_lane(undyed: Web) -> None:
    shown = [undyed.get(**{"end-user": "jason,env=dev"}) for _ in range(5)]
    assert {page["answered_by"]["reviews"] for page in shown} <= {"v1", "v3"}
    dyed = undyed.get(**{"end-user": "jason,env=prod;x", "uid": "100"})
    assert dyed["answered_by"]["reviews"] == dyed["answered_by"]["ratings"] == "v2"


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"percent": 101}', '{"percent": "many"}', "{", "x" * 2000])
def test_entrance_refuses_a_percentage_that_is_none(undyed: Web, body: str) -> None:
    assert undyed.put(body) == 400
    assert undyed.get()["percent"] == 0


def test_entrance_answers_for_unknown_pages_with_404(web: Web) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{web.url}api/products/1", timeout=30.0)
    with refused.value:
        assert refused.value.code == 404


def test_page_takes_another_port_where_its_own_is_taken_and_leaves_no_process_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(f"127.0.0.1:{port}") as served:
            assert served.address.rpartition(":")[2] != str(port)
            assert served.get()["errors"] == []
            group = served.process.pid
        deadline = time.monotonic() + 10.0
        while left := members(group):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def members(group: int) -> list[str]:
    """The command lines of the processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == group:
                found.append(stat.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture
def browser(undyed: Web) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("there is no chromium on PATH (Debian: apt install chromium)")
    with Browser() as opened:
        yield opened
        assert opened.problems == []


READY = "document.body?.dataset.state === 'ready'"
SHOWN = """({
  lane: document.body.dataset.lane,
  facts: document.querySelector('#lane').textContent,
  reviews: document.querySelector('#reviews .who').textContent,
  title: document.querySelector('h1').textContent,
  stars: [...document.querySelectorAll('.stars')].map((each) => each.getAttribute('aria-label')),
  colors: [...document.querySelectorAll('.stars')].map((each) => getComputedStyle(each).color),
  on: [...document.querySelectorAll('#map .on text')].map((each) => each.textContent).sort(),
})"""
RED = "rgb(217, 45, 32)"
DEV = ["details v1", "productpage v1", "ratings v2", "reviews v2"]


def test_page_shows_the_base_lane_in_turn_and_the_dev_lane_behind_the_switch(
    web: Web, browser: Browser
) -> None:
    browser.open(web.url)
    browser.wait(READY)
    seen = {}
    for _ in range(60):
        shown = browser.evaluate(SHOWN)
        assert shown["lane"] == "base"
        assert shown["title"] == "The Comedy of Errors"
        seen[shown["reviews"]] = shown
        if len(seen) == 2:
            break
        browser.evaluate("refresh()")
    one, none = seen["reviews v1 → ratings v1"], seen["reviews v3"]
    assert one["stars"] == ["1 of 5 stars, black"] * 2
    assert one["on"] == ["details v1", "productpage v1", "ratings v1", "reviews v1"]
    assert none["stars"] == []
    assert none["on"] == ["details v1", "productpage v1", "reviews v3"]

    browser.click("#dev")
    browser.wait("document.body.dataset.lane === 'dyed'")
    for _ in range(3):
        shown = browser.evaluate(SHOWN)
        assert shown["reviews"] == "reviews v2 → ratings v2"
        assert shown["stars"] == ["5 of 5 stars, red"] * 2
        assert shown["colors"] == [RED] * 2
        assert shown["on"] == DEV
        assert "header uid: 100" in shown["facts"] and "env=dev" in shown["facts"]
        browser.evaluate("refresh()")
    assert browser.screenshot().startswith(b"\x89PNG")

    browser.click("#dev")
    browser.wait("document.body.dataset.lane === 'base'")
    assert browser.evaluate(SHOWN)["reviews"] != "reviews v2 → ratings v2"


def test_page_dyes_by_the_percentage_of_its_slider(web: Web, browser: Browser) -> None:
    browser.open(web.url)
    browser.wait(READY)
    browser.press("#percent", "End", 35)
    browser.wait("document.body.dataset.lane === 'dyed'")
    assert browser.evaluate(SHOWN)["on"] == DEV
    assert browser.evaluate("document.querySelector('#percent-shown').textContent") == "100 %"
    assert web.get()["percent"] == 100


def test_page_counts_who_answered_a_hundred_requests(web: Web, browser: Browser) -> None:
    assert web.put('{"percent": 50}') == 200
    browser.open(web.url)
    browser.wait(READY)
    browser.click("#hundred")
    browser.wait("document.body.dataset.tally === 'ready'")
    rows = browser.evaluate(
        "[...document.querySelectorAll('#tally > div')].map((row) => [...row.children].map((each) => each.textContent))"
    )
    counts = {name: int(count.removesuffix(" of 100")) for name, _, count in rows}
    assert sum(counts.values()) == 100
    assert set(counts) == {"reviews v1 → ratings v1", "reviews v2 → ratings v2", "reviews v3"}


def test_page_follows_a_change_of_the_rules_file(web: Web, browser: Browser) -> None:
    before = web.rules.read_text()
    try:
        # The base lane's reviews all become v2: the file is what a person would edit.
        changed = before.replace("subset: v1\n      weight: 50", "subset: v2\n      weight: 100")
        changed = changed.replace("subset: v3\n      weight: 50", "subset: v3\n      weight: 0")
        assert changed != before
        web.rules.write_text(changed)
        browser.open(web.url)
        browser.wait(READY)
        browser.wait(
            "refresh().then(() => document.querySelector('#reviews .who').textContent.startsWith('reviews v2'))"
        )
        shown = browser.evaluate(SHOWN)
        assert shown["lane"] == "base"
        assert shown["stars"] == ["1 of 5 stars, red"] * 2
    finally:
        web.rules.write_text(before)
        deadline = time.monotonic() + 20.0
        while {web.get()["answered_by"]["reviews"] for _ in range(10)} & {"v2"}:
            assert time.monotonic() < deadline
