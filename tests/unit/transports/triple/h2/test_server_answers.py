"""What handlers give, right and wrong, is answered as grpcio answers it: the same body on both codecs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tests.unit.transports.triple.conftest import eventually

Serve = Callable[..., Any]
Dial = Callable[..., grpc.Channel]
Code = grpc.StatusCode


def metadata(pairs: Any) -> Callable[..., Any]:
    """A handler with trailing metadata."""

    def behavior(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(pairs)
        return b"x"

    return behavior


def initial(pairs: Any) -> Callable[..., Any]:
    def behavior(request: bytes, context: Any) -> bytes:
        context.send_initial_metadata(pairs)
        return b"x"

    return behavior


def status(code: Any, details: Any = None) -> Callable[..., Any]:
    def behavior(request: bytes, context: Any) -> bytes:
        context.set_code(code)
        if details is not None:
            context.set_details(details)
        return b"x"

    return behavior


def abort(code: Any, details: Any) -> Callable[..., Any]:
    return lambda request, context: context.abort(code, details)


def raising(kind: type[BaseException], *arguments: str) -> Callable[..., Any]:
    def behavior(request: bytes, context: Any) -> Any:
        raise kind(*arguments)

    return behavior


def raise_with_code(request: bytes, context: Any) -> Any:
    context.set_code(Code.NOT_FOUND)
    context.set_trailing_metadata([("a", "b")])
    raise KeyError("k")


def cancel(request: bytes, context: Any) -> bytes:
    context.cancel()
    return b"x"


def swallow(request: bytes, context: Any) -> bytes:
    try:
        context.abort(Code.NOT_FOUND, "x")
    except Exception:
        pass
    return b"went on"


def told(request: bytes, context: Any) -> bytes:
    return repr(
        (
            context.peer()[:5],
            context.peer_identities(),
            context.peer_identity_key(),
            sorted(context.auth_context().items()),
            context.is_active(),
            context.code(),
            context.details(),
            context.trailing_metadata(),
        )
    ).encode()


INSECURE = [("security_level", [b"TSI_SECURITY_NONE"]), ("transport_security_type", [b"insecure"])]
CALLING = "Exception calling application: "

UNARY: dict[str, tuple[Callable[..., Any], Code, str, Any]] = {
    # The handler; the status, its message, and the trailing metadata (of what is OK: the response too).
    "code": (status(Code.NOT_FOUND, "d"), Code.NOT_FOUND, "d", []),
    "code as number": (status(5, "d"), Code.UNKNOWN, "d", []),
    "code as pair": (status(Code.NOT_FOUND.value, "d"), Code.UNKNOWN, "d", []),
    "message as bytes": (status(Code.INTERNAL, b"bytes"), Code.INTERNAL, "bytes", []),
    "message with OK": (status(Code.OK, "fine"), Code.OK, "", []),
    "abort": (abort(Code.NOT_FOUND, "a\nb\r\n\0ü€"), Code.NOT_FOUND, "a\nb\r\n\0ü€", []),
    "abort with OK": (abort(Code.OK, "x"), Code.UNKNOWN, "", []),
    "abort swallowed": (swallow, Code.NOT_FOUND, "x", []),
    "abort with status": (
        lambda request, context: context.abort_with_status(Status(Code.ABORTED, "s", (("a", "b"),))),
        Code.ABORTED,
        "s",
        [("a", "b")],
    ),
    "cancel": (cancel, Code.CANCELLED, "CANCELLED", []),
    "StopIteration": (raising(StopIteration), Code.UNKNOWN, f"{CALLING}StopIteration()", []),
    "RpcError": (raising(grpc.RpcError, "inner"), Code.UNKNOWN, f"{CALLING}inner", []),
    "raise with a code": (raise_with_code, Code.NOT_FOUND, f"{CALLING}'k'", [("a", "b")]),
    "no response": (lambda request, context: None, Code.INTERNAL, "Failed to serialize response!", []),
    "trailing text and bytes": (
        metadata([("a", b"1"), ("b-bin", b"\0\xff"), ["c", "2"], ("a", "3")]),
        Code.OK,
        "",
        [("a", "1"), ("b-bin", b"\0\xff"), ("c", "2"), ("a", "3")],
    ),
    "trailing None": (metadata(None), Code.OK, "", []),
    "trailing dictionary that is empty": (metadata({}), Code.OK, "", []),
    "trailing names of gRPC's own": (
        metadata([("grpc-status", "5"), ("grpc-message", "no")]),
        Code.OK,
        "",
        [],
    ),
    "trailing names of HTTP's own": (
        metadata([("content-type", "x"), ("te", "y"), ("user-agent", "u")]),
        Code.OK,
        "",
        [("user-agent", "u")],
    ),
    "trailing capitals": (metadata([("A", "b")]), Code.INTERNAL, "Invalid metadata", []),
    "trailing line feed": (metadata([("a", "x\r\ny: z")]), Code.INTERNAL, "Invalid metadata", []),
    "trailing umlaut": (metadata([("a", "ü")]), Code.INTERNAL, "Invalid metadata", []),
    "trailing pseudo-header": (metadata([(":path", "x")]), Code.INTERNAL, "Invalid metadata", []),
    "initial None": (initial(None), Code.OK, "", []),
    "initial capitals": (initial([("A", "b")]), Code.INTERNAL, "Invalid metadata", []),
    "initial text under a binary name": (
        initial([("a-bin", "x")]),
        Code.UNKNOWN,
        f"{CALLING}Binary metadata key=\"a-bin\" expected bytes, got <class 'str'>",
        [],
    ),
}


class Status(grpc.Status):  # type: ignore[misc]
    def __init__(self, code: Code, details: str, trailing_metadata: Any) -> None:
        self.code, self.details, self.trailing_metadata = code, details, trailing_metadata


def init_late(request: bytes, context: Any) -> Any:
    yield b"1"
    context.send_initial_metadata([("a", "b")])


def status_late(request: bytes, context: Any) -> Any:
    yield b"1"
    context.set_trailing_metadata([("a", "b")])
    context.set_code(Code.ABORTED)


def abort_late(request: bytes, context: Any) -> Any:
    yield b"1"
    context.abort(Code.NOT_FOUND, "x")


def raise_late(request: bytes, context: Any) -> Any:
    yield b"1"
    raise KeyError("k")


def none_late(request: bytes, context: Any) -> Any:
    yield b"1"
    yield None
    yield b"2"


ITERATING = "Exception iterating responses: "
STREAMS: dict[str, tuple[Callable[..., Any], list[bytes], Code, str, Any]] = {
    "a list": (lambda request, context: [b"1", b"2"], [b"1", b"2"], Code.OK, "", []),
    "nothing": (
        lambda request, context: None,
        [],
        Code.UNKNOWN,
        f"{ITERATING}'NoneType' object is not iterable",
        [],
    ),
    "initial metadata late": (
        init_late,
        [b"1"],
        Code.UNKNOWN,
        f"{ITERATING}Initial metadata no longer allowed!",
        [],
    ),
    "status late": (status_late, [b"1"], Code.ABORTED, "", [("a", "b")]),
    "abort late": (abort_late, [b"1"], Code.NOT_FOUND, "x", []),
    "raise late": (raise_late, [b"1"], Code.UNKNOWN, f"{ITERATING}'k'", []),
    "None ends": (none_late, [b"1"], Code.OK, "", []),
}


GRPCIO = pytest.param(
    "grpcio", marks=pytest.mark.may_leak("grpcio's pollers at times outlive the server whose handler raised")
)


@pytest.mark.parametrize("codec", [GRPCIO, "nghttp2"])
class TestSameAsGrpcio:
    @pytest.mark.parametrize("name", UNARY)
    def test_unary(self, serve: Serve, dial: Dial, codec: str, name: str) -> None:
        behavior, code, details, trailing = UNARY[name]
        server = serve({"Call": ("unary_unary", behavior)}, codec, health=False, reflection=False)
        try:
            _, call = dial(server).unary_unary("/T/Call").with_call(b"", timeout=5)
        except grpc.RpcError as error:
            call = error
        assert (call.code(), call.details()) == (code, details)
        assert [tuple(pair) for pair in call.trailing_metadata()] == trailing

    @pytest.mark.parametrize("name", STREAMS)
    def test_stream(self, serve: Serve, dial: Dial, codec: str, name: str) -> None:
        behavior, responses, code, details, trailing = STREAMS[name]
        server = serve({"Call": ("unary_stream", behavior)}, codec, health=False, reflection=False)
        call = dial(server).unary_stream("/T/Call")(b"", timeout=5)
        received = []
        try:
            received.extend(call)
        except grpc.RpcError:
            pass
        assert (received, call.code(), call.details()) == (responses, code, details)
        assert [tuple(pair) for pair in call.trailing_metadata()] == trailing

    def test_context_tells(self, serve: Serve, dial: Dial, codec: str) -> None:
        server = serve({"Call": ("unary_unary", told)}, codec, health=False, reflection=False)
        told_by = dial(server).unary_unary("/T/Call")(b"", timeout=5)
        assert told_by.decode() == repr(("ipv4:", None, None, INSECURE, True, None, None, None))

    def test_response_beyond_the_limit_is_resource_exhausted(
        self, serve: Serve, dial: Dial, codec: str
    ) -> None:
        server = serve(
            {
                "Call": ("unary_unary", lambda request, context: b"x" * 2000),
                "Stream": ("unary_stream", lambda request, context: [b"x", b"x" * 2000]),
            },
            codec,
            options=[("grpc.max_send_message_length", 1000)],
        )
        channel = dial(server)
        for call in (
            channel.unary_unary("/T/Call"),
            lambda request, timeout: list(channel.unary_stream("/T/Stream")(request, timeout=timeout)),
        ):
            with pytest.raises(grpc.RpcError, match=r"larger than max \(2000 vs\. 1000\)") as caught:
                call(b"", timeout=5)  # type: ignore[operator]
            assert caught.value.code() is Code.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


class TestWhateverIsRaised:
    """grpcio leaves these calls without an answer, and its thread ends."""

    KINDS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)

    def waiting(self) -> int:
        return sum(each.name.startswith("pyrpc-xds-h2-server-") for each in threading.enumerate())

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_the_answer_of_one_call(self, serve: Serve, dial: Dial, kind: type[BaseException]) -> None:
        def stream(request: bytes, context: Any) -> Any:
            yield b"1"
            raise kind("x")

        def callback(request: bytes, context: Any) -> bytes:
            context.add_callback(lambda: raising(kind, "x")(b"", None))
            return request

        class Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                if details.method == "/T/Intercepted":
                    raise kind("x")
                return continuation(details)

        server = serve(
            {
                "Unary": ("unary_unary", raising(kind, "x")),
                "Stream": ("unary_stream", stream),
                "Callback": ("unary_unary", callback),
            },
            interceptors=[Interceptor()],
        )
        threads = self.waiting()
        channel = dial(server)
        for _ in range(2 * threads):
            for call in (
                channel.unary_unary("/T/Unary"),
                channel.unary_unary("/T/Intercepted"),
                lambda request, timeout: list(channel.unary_stream("/T/Stream")(request, timeout=timeout)),
            ):
                with pytest.raises(grpc.RpcError, match=rf"{kind.__name__}\('x'\)") as caught:
                    call(b"", timeout=5)  # type: ignore[operator]
                assert caught.value.code() is Code.UNKNOWN  # type: ignore[attr-defined]
            assert channel.unary_unary("/T/Callback")(b"answered", timeout=5) == b"answered"
        assert self.waiting() == threads
        eventually(lambda: server._server.queue.slots._value == server._server.queue._workers)
