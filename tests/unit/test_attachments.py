"""Attachments: context-bound, validated where they are set."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from opentelemetry import baggage, context

from pyrpc_xds.attachments import (
    _Quiet,
    add_copies,
    attachments,
    current_attachments,
    incoming_attachments,
    persistent_attachments,
    served,
    serving,
)
from pyrpc_xds.errors import UsageError


def test_names_are_lower_cased_and_the_block_ends_them() -> None:
    with attachments({"User": "admin"}):
        assert current_attachments() == {"user": "admin"}
    assert current_attachments() == {}


def test_inner_blocks_add_and_override() -> None:
    with attachments({"user": "admin", "lane": "a"}), attachments({"USER": "joe"}):
        assert current_attachments() == {"user": "joe", "lane": "a"}


def test_an_error_in_the_block_ends_them_too() -> None:
    with pytest.raises(ZeroDivisionError), attachments({"user": "admin"}):
        raise ZeroDivisionError
    assert current_attachments() == {}


def test_other_threads_do_not_see_them() -> None:
    seen: list[dict[str, str]] = []
    with attachments({"user": "admin"}):
        thread = threading.Thread(target=lambda: seen.append(dict(current_attachments())))
        thread.start()
        thread.join()
    assert seen == [{}]


async def test_each_task_has_its_own_and_inherits_those_of_its_creator() -> None:
    async def work(user: str) -> dict[str, str]:
        with attachments({"user": user}):
            await asyncio.sleep(0)
            return dict(current_attachments())

    with attachments({"lane": "dev"}):
        results = await asyncio.gather(work("a"), work("b"))
    assert results == [{"lane": "dev", "user": "a"}, {"lane": "dev", "user": "b"}]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "cannot travel"),
        ("a b", "x", "cannot travel"),
        ("a:b", "x", "cannot travel"),
        (":path", "x", "cannot travel"),
        ("grpc-status", "0", "not starting with grpc-"),
        ("Grpc-Timeout", "1S", "not starting with grpc-"),
        ("te", "x", "the transport writes it"),
        ("Content-Type", "x", "the transport writes it"),
        ("näme", "x", "cannot travel"),
        ("name\n", "x", "cannot travel"),
        ("user", "a\r\nx: y", "printable ASCII"),
        ("user", "a\0", "printable ASCII"),
        ("user", "ü", "quote"),
        ("user", 1, "str"),
        (1, "x", "str"),
    ],
)
def test_what_cannot_travel_as_a_header_is_refused_where_it_is_set(
    name: object, value: object, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason), attachments({name: value}):  # type: ignore[dict-item]
        pass


@pytest.mark.parametrize("wrong", [3, [("user", "admin")], None, "user=admin"])
def test_what_is_no_mapping_is_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"it is a mapping, such as \{'user': 'admin'\}"), attachments(wrong):
        pass


def test_persistent_ones_are_known_by_name_and_an_inner_transient_value_is_not_persistent() -> None:
    with attachments({"lane": "dev"}, persistent=True):
        assert persistent_attachments() == {"lane"}
        with attachments({"user": "joe"}):
            assert persistent_attachments() == {"lane"}
            assert current_attachments() == {"lane": "dev", "user": "joe"}
        with attachments({"Lane": "other"}):
            assert persistent_attachments() == frozenset()
    assert persistent_attachments() == frozenset()


def test_a_handler_sees_what_came_and_passes_on_only_what_is_persistent() -> None:
    with (
        attachments({"of": "the thread around"}, persistent=True),
        serving({"user": "joe", "lane": "dev"}, {"lane": "dev"}),
    ):
        assert incoming_attachments() == {"user": "joe", "lane": "dev"}
        assert current_attachments() == {"lane": "dev"}
        assert persistent_attachments() == {"lane"}
        with attachments({"more": "x"}):
            assert incoming_attachments() == {"user": "joe", "lane": "dev"}
    assert incoming_attachments() == {}


def test_opentelemetry_baggage_goes_out_as_a_header_and_comes_in_as_baggage() -> None:
    token = context.attach(baggage.set_baggage("env", "dev"))
    try:
        sent = dict(current_attachments())
    finally:
        context.detach(token)
    assert sent["baggage"] == "env=dev"
    assert "baggage" not in current_attachments()
    with serving(sent):
        assert baggage.get_baggage("env") == "dev"
        assert current_attachments()["baggage"] == "env=dev"
    assert baggage.get_baggage("env") is None


def test_a_trace_goes_on_over_two_hops_as_one() -> None:
    first = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serving({"traceparent": first}):
        hop = dict(current_attachments())
    assert hop["traceparent"].split("-")[1] == first.split("-")[1]


def test_an_attachment_wins_over_what_opentelemetry_injects_under_its_name() -> None:
    token = context.attach(baggage.set_baggage("env", "dev"))
    try:
        with attachments({"baggage": "env=mine"}):
            assert current_attachments()["baggage"] == "env=mine"
    finally:
        context.detach(token)


def test_malformed_trace_headers_of_a_peer_are_ignored() -> None:
    with serving({"traceparent": "nonsense", "baggage": ";;==,,"}):
        assert "traceparent" not in current_attachments()


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """No warning has been given so far."""
    monkeypatch.setattr(_Quiet, "until", 0.0)
    return caplog


# As Go has it: any bytes, which TTHeader brings as they are.
NO_TEXT = b"env=\xff\xfe".decode("utf-8", "surrogateescape")


def test_baggage_of_a_peer_that_is_no_text_is_left_out_and_the_trace_goes_on(
    warned: pytest.LogCaptureFixture,
) -> None:
    def served_call() -> tuple[dict[str, str], dict[str, str]]:
        served({"traceparent": OLD, "baggage": NO_TEXT})
        return dict(incoming_attachments()), dict(current_attachments())

    for _ in range(3):
        seen, going = contextvars.copy_context().run(served_call)
        assert seen == {"traceparent": OLD, "baggage": NO_TEXT}
        assert going == {"traceparent": OLD}
    assert [each.levelname for each in warned.records] == ["WARNING"]
    assert "cannot be read" in warned.text


@pytest.mark.parametrize(("name", "value"), [("env", "\udcff"), ("\udcff", "x")])
def test_baggage_that_cannot_travel_is_not_sent_and_the_trace_is(
    name: str, value: str, warned: pytest.LogCaptureFixture
) -> None:
    with serving({"traceparent": OLD}):
        token = context.attach(baggage.set_baggage(name, value))
        try:
            assert dict(current_attachments()) == {"traceparent": OLD}
        finally:
            context.detach(token)
    assert "OpenTelemetry's context" in warned.text


def test_what_a_propagator_writes_that_cannot_travel_is_not_sent(
    warned: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(carrier: dict[str, str]) -> None:
        carrier.update({"Traceparent": OLD, "Baggage": "\u00fcmlaut=secret", "x-more": "a\r\nb"})

    monkeypatch.setattr("opentelemetry.propagate.inject", inject)
    with serving({"traceparent": OLD}):
        assert dict(current_attachments()) == {"traceparent": OLD}
    assert "baggage, x-more" in warned.text and "secret" not in warned.text


def test_a_context_that_another_task_ends_is_left_alone() -> None:
    async def handler() -> dict[str, str]:
        with serving({"baggage": "env=dev"}, {"lane": "a"}):
            await asyncio.sleep(0)
            return dict(current_attachments())

    async def both() -> list[dict[str, str]]:
        return await asyncio.gather(handler(), handler())

    assert asyncio.run(both()) == [{"baggage": "env=dev", "lane": "a"}] * 2


def test_served_lasts_to_the_end_of_the_context_and_leaves_out_what_was_around() -> None:
    def served_call() -> tuple[dict[str, str], dict[str, str]]:
        served({"lane": "dev", "user": "admin", "baggage": "b=2"}, {"lane": "dev"})
        return dict(incoming_attachments()), dict(current_attachments())

    token = context.attach(baggage.set_baggage("a", "1"))
    with attachments({"of": "the starter"}):
        seen, going = contextvars.copy_context().run(served_call)
    context.detach(token)
    assert seen == {"lane": "dev", "user": "admin", "baggage": "b=2"}
    assert going == {"lane": "dev", "baggage": "b=2"}
    assert incoming_attachments() == current_attachments() == {}


OLD, NEW, OTHER = (f"00-{digit * 32}-{span * 16}-01" for digit, span in (("a", "1"), ("a", "2"), ("b", "3")))


@pytest.mark.parametrize(
    ("came", "copies", "counts"),
    [
        pytest.param(
            {},
            {"traceparent": OLD, "tracestate": "v=1", "baggage": "env=dev"},
            {"traceparent": OLD, "tracestate": "v=1", "baggage": "env=dev"},
            id="the-hop-knows-no-opentelemetry",
        ),
        pytest.param(
            {"traceparent": NEW, "tracestate": "v=2", "baggage": "env=new"},
            {"traceparent": OLD, "tracestate": "v=1", "baggage": "env=dev"},
            {"traceparent": NEW, "tracestate": "v=2", "baggage": "env=new"},
            id="the-newer-wins",
        ),
        pytest.param(
            {"traceparent": NEW},
            {"traceparent": OLD, "tracestate": "v=1", "baggage": "env=dev"},
            {"traceparent": NEW},
            id="what-a-hop-of-the-trace-has-dropped-stays-dropped",
        ),
        pytest.param(
            {"traceparent": OTHER},
            {"traceparent": OLD, "tracestate": "v=1", "baggage": "env=dev"},
            {"traceparent": OTHER, "baggage": "env=dev"},
            id="a-trace-of-its-own-says-that-the-hop-has-read-nothing",
        ),
        pytest.param(
            {"traceparent": OTHER},
            {"baggage": "env=dev"},
            {"traceparent": OTHER, "baggage": "env=dev"},
            id="baggage-without-a-trace",
        ),
        pytest.param(
            {"baggage": "env=new"},
            {"traceparent": OLD, "baggage": "env=dev"},
            {"traceparent": OLD, "baggage": "env=new"},
            id="only-baggage-came",
        ),
        pytest.param(
            {"traceparent": "nonsense"},
            {"traceparent": "", "baggage": "env=dev"},
            {"traceparent": "nonsense", "baggage": "env=dev"},
            id="nonsense",
        ),
    ],
)
def test_persistent_copies_of_opentelemetrys_headers_count_where_nothing_newer_came(
    came: dict[str, str], copies: dict[str, str], counts: dict[str, str]
) -> None:
    values = dict(came)
    add_copies(values, copies)
    assert values == counts


def test_a_handler_without_baggage_does_not_have_that_of_whoever_started_the_server() -> None:
    token = context.attach(baggage.set_baggage("of", "the starter"))
    try:
        with serving({"user": "admin"}):
            assert baggage.get_all() == {}
        assert baggage.get_baggage("of") == "the starter"
    finally:
        context.detach(token)
