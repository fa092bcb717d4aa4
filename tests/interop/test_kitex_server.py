"""A real Kitex client calls our Thrift servers, over every transport; what headers carry: test_kitex_ttheader.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

from tests.interop.peers import echo
from tests.interop.peers.echo import ECHOES, EchoHandler, args_class, base, exact, exact_result, idl
from tests.interop.peers.kitex import TRANSPORTS, KitexCall, KitexOutcome, kitex_calls, skip_reason
from tests.interop.peers.ours import KINDS, our_server
from tests.unit.transports.thrift.peers import wait_until

pytestmark = pytest.mark.interop

# Multiplexed: Kitex's client that has many calls on one connection.
PAIRS = [(kind, transport) for kind in KINDS for transport in (*TRANSPORTS, "multiplexed")]


class Caller:
    """Kitex's client of one server, over one transport."""

    def __init__(self, address: str, transport: str) -> None:
        self.address = address
        self.options: dict[str, Any] = {"transport": transport}
        if transport == "multiplexed":
            self.options = {"transport": "TTHeader", "mux": True}

    def call(self, method: str, *arguments: Any, **options: Any) -> KitexCall:
        """One method, once for each struct of arguments."""
        return KitexCall(method, arguments, count=len(arguments) or 1, **self.options, **options)

    def __call__(self, method: str, *arguments: Any, **options: Any) -> list[KitexOutcome]:
        """Make such a call."""
        [outcomes] = kitex_calls(self.address, [self.call(method, *arguments, **options)])
        assert all(each.transport == self.options["transport"] for each in outcomes)
        return outcomes

    def once(self, method: str, **arguments: Any) -> KitexOutcome:
        """One call with these arguments."""
        [outcome] = self(method, args_class(method)(**arguments))
        return outcome


def ask(method: str, value: Any) -> Any:
    """The arguments of a method with one."""
    [name] = echo.fields(args_class(method))
    return args_class(method)(**{name: value})


@pytest.fixture(scope="module", autouse=True)
def kitex() -> None:
    if reason := skip_reason():
        pytest.skip(reason)


@pytest.fixture
def handler() -> EchoHandler:
    return EchoHandler()


@pytest.fixture(params=PAIRS, ids="-".join)
def kitex_client(request: pytest.FixtureRequest, handler: EchoHandler) -> Iterator[Caller]:
    kind, transport = request.param
    with our_server(kind, idl.Echo, handler) as address:
        yield Caller(address, transport)


def test_every_value_comes_back_bit_by_bit(kitex_client: Caller) -> None:
    calls = [
        kitex_client.call(method, *(ask(method, value) for value in values))
        for method, values in ECHOES.items()
    ]
    for call, outcomes in zip(calls, kitex_calls(kitex_client.address, calls), strict=True):
        for value, outcome in zip(ECHOES[call.method], outcomes, strict=True):
            got = exact_result(call.method, outcome.value)
            assert got == exact_result(call.method, value), call.method


def test_we_read_the_values_that_kitex_means(kitex_client: Caller) -> None:
    values = [echo.everything(), *map(echo.random_everything, range(100))]
    described = kitex_client("describe", *(ask("describe", value) for value in values))
    echoed = kitex_client("echoEverything", *(ask("echoEverything", value) for value in values))
    for value, text, back in zip(values, described, echoed, strict=True):
        read = echo.struct_from_json(idl.Everything, json.loads(text.value))
        assert exact(idl.Everything, read) == exact(idl.Everything, value)
        assert exact(idl.Everything, back.value) == exact(idl.Everything, value)


def test_arguments_are_told_apart(kitex_client: Caller) -> None:
    assert kitex_client.once("subtract", left=5, right=7).value == -2


def test_void(kitex_client: Caller) -> None:
    for outcome in (kitex_client.once("nothing"), kitex_client.once("check", good=True)):
        assert outcome.error is None and outcome.result is not None


def test_declared_exceptions(kitex_client: Caller) -> None:
    refused = kitex_client.once("fail", how="refused", text="ünï").result
    assert (refused.success, refused.overloaded) == (None, None)
    assert (refused.refused.why, refused.refused.code) == ("ünï", -7)
    overloaded = kitex_client.once("fail", how="overloaded", text="ünï").result
    assert (overloaded.overloaded.limit, overloaded.overloaded.detail) == (2**40, "ünï".encode())
    assert kitex_client.once("fail", how="not at all", text="text").value == "text"
    assert kitex_client.once("check", good=False).result.refused.why == "not good"
    inherited = kitex_client.once("tag", tag=base.Tag(key="refuse", value="why")).result
    assert (inherited.refused.why, inherited.refused.code) == ("why", 1)


@pytest.mark.parametrize("method", ["undeclared", "panics"])
def test_undeclared_error_is_an_application_error_without_its_text(kitex_client: Caller, method: str) -> None:
    failed, alive = kitex_calls(
        kitex_client.address,
        [
            kitex_client.call(method, *[ask(method, "secret")] * 3),
            kitex_client.call("ping", ask("ping", "still here")),
        ],
    )
    for outcome in failed:
        assert outcome.error is not None
        assert (outcome.error["kind"], outcome.error["type"]) == (
            "application",
            TApplicationException.INTERNAL_ERROR,
        )
        assert f"Echo.{method} failed" in outcome.error["text"] and "secret" not in outcome.error["text"]
    assert alive[0].value == "still here"


@pytest.mark.parametrize(("kind", "transport"), PAIRS)
def test_text_of_an_undeclared_error_where_the_server_exposes_it(
    kind: str, transport: str, handler: EchoHandler
) -> None:
    with our_server(kind, idl.Echo, handler, expose_errors=True) as address:
        outcome = Caller(address, transport).once("undeclared", text="ünï")
    assert outcome.error is not None and "undeclared ünï" in outcome.error["text"]


@pytest.mark.parametrize(("kind", "transport"), PAIRS)
def test_method_that_we_have_not(kind: str, transport: str, handler: EchoHandler) -> None:
    with our_server(kind, base.Base, handler) as address:
        caller = Caller(address, transport)
        assert caller.once("ping", text="inherited by the client's service").value
        unknown = caller.once("echoBool", value=True)
    assert unknown.error is not None
    assert (unknown.error["kind"], unknown.error["type"]) == (
        "application",
        TApplicationException.UNKNOWN_METHOD,
    )
    assert "echoBool" in unknown.error["text"]


def test_oneway(kitex_client: Caller, handler: EchoHandler) -> None:
    shots = [f"shot {number}" for number in range(20)]
    outcomes = kitex_client("fire", *(ask("fire", shot) for shot in shots))
    assert [outcome.error for outcome in outcomes] == [None] * 20
    wait_until(lambda: len(handler.fires) == 20)
    assert sorted(handler.fires) == sorted(shots)


def test_kitexs_timeout_ends_the_call_there_and_harms_no_other(kitex_client: Caller) -> None:
    late, after = kitex_calls(
        kitex_client.address,
        [
            kitex_client.call("sleep", ask("sleep", 500), timeout=0.1),
            kitex_client.call("ping", *(ask("ping", f"text {n}") for n in range(5))),
        ],
    )
    assert late[0].error is not None and late[0].error["kind"] == "timeout"
    assert [each.value for each in after] == [f"text {n}" for n in range(5)]


@pytest.mark.parametrize(("kind", "transport"), PAIRS)
def test_server_that_stops_answers_what_it_has_begun(kind: str, transport: str, handler: EchoHandler) -> None:
    with ThreadPoolExecutor(1) as pool:
        with our_server(kind, idl.Echo, handler) as address:
            running = pool.submit(Caller(address, transport).once, "sleep", milliseconds=400)
            assert handler.sleeping.wait(30)
        assert running.result(30).value == "slept"


@pytest.mark.parametrize("short", [False, True], ids=["pooled", "a-connection-each"])
def test_thousand_calls_at_once_each_get_their_own_answer(kitex_client: Caller, short: bool) -> None:
    texts = [f"caller {number}" * (number % 50) for number in range(1000)]
    outcomes = kitex_client("ping", *(ask("ping", text) for text in texts), concurrency=100, short=short)
    assert [each.value for each in outcomes] == texts


def test_large_values(kitex_client: Caller) -> None:
    text = "é" * 3_000_000
    assert kitex_client.once("echoString", value=text).value == text


def test_result_that_is_absent_is_gos_zero_value(
    kitex_client: Caller, handler: EchoHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "ping", lambda text: None)
    outcome = kitex_client.once("ping", text="x")
    assert outcome.error is None and outcome.result.success is None


def test_value_of_the_wrong_type_is_an_application_error(
    kitex_client: Caller, handler: EchoHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "subtract", lambda left, right: "text")
    outcome = kitex_client.once("subtract", left=1, right=1)
    assert outcome.error is not None
    assert (outcome.error["kind"], outcome.error["type"]) == (
        "application",
        TApplicationException.INTERNAL_ERROR,
    )
