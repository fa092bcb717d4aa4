"""A lane, carried by OpenTelemetry's baggage alone, through a real Kitex service: Python → Kitex → Python.

The service in the middle is Kitex as it is, or Kitex with kitex-contrib/obs-opentelemetry, on both of its sides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider

from pyrpc_xds.attachments import attachments, current_attachments
from pyrpc_xds.transports.thrift import current_call
from tests.interop.peers.echo import EchoHandler, idl
from tests.interop.peers.kitex import KitexServer, skip_reason
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server

pytestmark = pytest.mark.interop

TRACER = TracerProvider().get_tracer("test")


class End(EchoHandler):
    """The end of the chain.

    :ivar lane: OpenTelemetry's baggage there, :ivar trace: its trace id, :ivar going: what a call of its own would
        carry, :ivar strings: the header as it came.
    """

    lane: dict[str, Any]
    trace: int
    going: dict[str, str]
    strings: dict[str, str]

    def seen(self) -> Any:
        self.lane = dict(baggage.get_all())
        self.trace = trace.get_current_span().get_span_context().trace_id
        self.going = dict(current_attachments())
        header = current_call().header
        assert header is not None
        self.strings = dict(header.strings)
        return idl.Seen()


@pytest.fixture
def end() -> End:
    return End()


@contextlib.contextmanager
def through(kind: str, end: End, *hops: bool) -> Iterator[OurClient]:
    """A client whose calls of ``seen`` go through Kitex services, with OpenTelemetry or without, to ``end``."""
    if reason := skip_reason():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(our_server(kind, idl.Echo, end))
        for otel in reversed(hops):
            address = stack.enter_context(KitexServer(next=address, otel=otel)).address
        yield stack.enter_context(our_client(kind, idl.Echo, address, framing="ttheader"))


@contextlib.contextmanager
def lane(value: str) -> Iterator[None]:
    token = context.attach(baggage.set_baggage("env", value))
    try:
        yield
    finally:
        context.detach(token)


@pytest.mark.parametrize("kind", KINDS)
def test_lane_survives_kitex_without_opentelemetry(kind: str, end: End) -> None:
    with through(kind, end, False) as client, lane("dev"), TRACER.start_as_current_span("start") as span:
        client.seen()
    assert "RPC_TRANSIT_baggage" not in end.strings
    assert end.strings["RPC_PERSIST_baggage"] == "env=dev"
    assert end.lane == {"env": "dev"}
    assert end.trace == span.get_span_context().trace_id
    assert end.going["baggage"] == "env=dev"


def test_lane_survives_several_of_them(end: End) -> None:
    with through("sync", end, False, False) as client, lane("dev"):
        client.seen()
    assert end.lane == {"env": "dev"}


@pytest.mark.parametrize("kind", KINDS)
def test_lane_goes_through_kitex_with_opentelemetry_in_one_trace(kind: str, end: End) -> None:
    with through(kind, end, True) as client, lane("dev"), TRACER.start_as_current_span("start") as span:
        client.seen()
    assert end.strings["RPC_TRANSIT_baggage"] == "env=dev"
    assert end.lane == {"env": "dev"}
    assert end.trace == span.get_span_context().trace_id
    # The span of the hop, and not ours, is the parent.
    assert end.strings["RPC_TRANSIT_traceparent"] != end.strings["RPC_PERSIST_traceparent"]
    assert end.going["traceparent"] == end.strings["RPC_TRANSIT_traceparent"]


def test_baggage_that_a_hop_has_changed_wins_over_the_copy_that_it_passes_on(end: End) -> None:
    with through("sync", end, True) as client, lane("dev"), attachments({"set-baggage": "env=prod,by=kitex"}):
        client.seen()
    assert end.strings["RPC_PERSIST_baggage"] == "env=dev"
    assert end.lane == {"env": "prod", "by": "kitex"}
    assert sorted(end.going["baggage"].split(",")) == ["by=kitex", "env=prod"]


def test_baggage_dropped_by_a_handler_is_sent_on_by_kitexs_suite_itself(end: End) -> None:
    # It sends all the metainfo that came, with what it injects on top; so ours is not to blame.
    with (
        through("sync", end, True) as client,
        lane("dev"),
        TRACER.start_as_current_span("start"),
        attachments({"set-baggage": "none"}),
    ):
        client.seen()
    assert end.strings["RPC_TRANSIT_baggage"] == "env=dev"
    assert end.lane == {"env": "dev"}


def test_lane_survives_a_hop_without_opentelemetry_before_one_with_it(end: End) -> None:
    with (
        through("sync", end, False, True) as client,
        lane("dev"),
        TRACER.start_as_current_span("start") as span,
    ):
        client.seen()
    # The second hop has seen nothing of the trace, and begun its own.
    assert "RPC_TRANSIT_baggage" not in end.strings
    assert end.trace != span.get_span_context().trace_id
    assert end.lane == {"env": "dev"}


def test_lane_survives_a_hop_with_opentelemetry_before_one_without_it(end: End) -> None:
    with through("sync", end, True, False) as client, lane("dev"):
        client.seen()
    assert end.lane == {"env": "dev"}


def test_copies_of_the_lane_are_no_persistent_attachments_of_the_application(end: End) -> None:
    with through("sync", end, False) as client, lane("dev"), attachments({"stage": "s"}, persistent=True):
        client.seen()
    assert end.going == {"stage": "s", "baggage": "env=dev"}
