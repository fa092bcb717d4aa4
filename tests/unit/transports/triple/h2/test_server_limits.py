"""What the server on nghttp2 bounds, and what it does with what is beyond: floods, sizes, broken and given-up calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

Serve = Callable[..., Any]


@pytest.fixture
def dial() -> Iterator[Callable[..., grpc.Channel]]:
    made: list[grpc.Channel] = []

    def connect(server: Any, *options: tuple[str, Any]) -> grpc.Channel:
        made.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options))
        return made[-1]

    yield connect
    for channel in made:
        channel.close()


Dial = Callable[..., grpc.Channel]


def failure(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=5)
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


class TestRequests:
    def test_stream_whose_handler_is_not_found_yet_loses_no_message(self, serve: Serve, dial: Dial) -> None:
        all_sent = threading.Event()

        class Slow(grpc.ServerInterceptor):
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                all_sent.wait(5)
                time.sleep(0.2)
                return continuation(details)

        def requests() -> Iterator[bytes]:
            yield from [b"x" * 900] * 10
            all_sent.set()

        server = serve(
            {"Total": ("stream_unary", lambda requests, context: b"%d" % len(b"".join(requests)))},
            interceptors=[Slow()],
            options=[("grpc.max_receive_message_length", 1000)],
        )
        assert dial(server).stream_unary("/T/Total")(requests(), timeout=10) == b"9000"

    def test_message_that_is_too_large_is_resource_exhausted_in_streams_too(
        self, serve: Serve, dial: Dial
    ) -> None:
        server = serve(
            {
                "Echo": ("unary_unary", lambda request, context: request),
                "Total": ("stream_unary", lambda requests, context: b"%d" % len(b"".join(requests))),
            },
            options=[("grpc.max_receive_message_length", 1000)],
        )
        channel = dial(server)
        assert channel.unary_unary("/T/Echo")(b"x" * 1000, timeout=5) == b"x" * 1000
        for size in (1001, 5000, 2_000_000):
            code, _ = failure(channel.unary_unary("/T/Echo"), b"x" * size)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            code, _ = failure(channel.stream_unary("/T/Total"), iter([b"x", b"x" * size]))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_unary_request_larger_than_the_window_is_read(self, serve: Serve, dial: Dial) -> None:
        server = serve({"Size": ("unary_unary", lambda request, context: b"%d" % len(request))})
        assert dial(server).unary_unary("/T/Size")(b"x" * 4_000_000, timeout=10) == b"4000000"
