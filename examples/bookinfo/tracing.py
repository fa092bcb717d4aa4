"""Spans by OpenTelemetry's SDK, one line of JSON each on standard output.

A request is traced if its caller says so (the sampled flag of ``traceparent``), so a thousand measured requests cost
nothing. The SDK is the application's; pyrpc_xds carries what its propagators write.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

tracer = trace.get_tracer("examples.bookinfo")


class JsonLines(SpanExporter):
    """Writes each span when it ends."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            sys.stdout.write(json.dumps(as_dict(span)) + "\n")
        sys.stdout.flush()
        return SpanExportResult.SUCCESS


def as_dict(span: ReadableSpan) -> dict[str, Any]:
    """A span as the scenario reads it; times in nanoseconds since 1970."""
    context, parent = span.context, span.parent
    return {
        "trace": trace.format_trace_id(context.trace_id),
        "span": trace.format_span_id(context.span_id),
        "parent": trace.format_span_id(parent.span_id) if parent else None,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "service": span.resource.attributes["service.name"],
        "version": span.resource.attributes["service.version"],
        "start": span.start_time,
        "end": span.end_time,
        "failed": not span.status.is_ok,
    }


def install(service: str, version: str) -> None:
    """Have this process write the spans of traced requests."""
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_OFF),
        resource=Resource.create({"service.name": service, "service.version": version}),
    )
    provider.add_span_processor(SimpleSpanProcessor(JsonLines()))
    trace.set_tracer_provider(provider)


class Traced:
    """An object whose methods each run in a span: a handler (``SERVER``) or a client (``CLIENT``)."""

    def __init__(self, wrapped: object, name: str, kind: trace.SpanKind) -> None:
        self._wrapped = wrapped
        self._name = name
        self._kind = kind

    def __getattr__(self, method: str) -> Callable[..., Any]:
        inner = getattr(self._wrapped, method)

        def run(*args: Any) -> Any:
            with tracer.start_as_current_span(f"{self._name}.{method}", kind=self._kind):
                return inner(*args)

        return run


def handler(wrapped: object) -> Traced:
    """A service's object with a span around each call that it serves."""
    return Traced(wrapped, type(wrapped).__name__, trace.SpanKind.SERVER)


def client(wrapped: object, service: str) -> Traced:
    """A client with a span around each call that it makes."""
    return Traced(wrapped, service, trace.SpanKind.CLIENT)
