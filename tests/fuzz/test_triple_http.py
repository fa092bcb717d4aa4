"""Whatever bytes come to what reads Triple over HTTP and without IDL, it reads them or refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.greeter import idl
from pyrpc_xds.transports.triple import json_messages, status
from pyrpc_xds.transports.triple.generic import serializations, wrapper
from pyrpc_xds.transports.triple.http import HttpOptions, bodies, form, http1, http2

LIMIT = 1000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_NAMES = st.sampled_from(
    [
        "content-type",
        "content-encoding",
        "triple-timeout-ms",
        "triple-protocol-version",
        "a-bin",
        "x",
        "origin",
    ]
)
HEADER_VALUES = st.text(max_size=40) | st.sampled_from(
    ["application/json", "application/proto", "gzip", "0.1.0", "AAA=", "1000"]
)


@given(st.binary(max_size=200))
def test_wrapper_is_read_or_refused(data: bytes) -> None:
    try:
        found = wrapper.decode(data)
    except ValueError:
        return
    assert wrapper.decode(wrapper.encode(found.serialization, found.data, found.types)) == found


@given(st.text(min_size=1), st.lists(st.binary()), st.lists(st.text()))
def test_wrapper_comes_back(name: str, data: list[bytes], types: list[str]) -> None:
    assert wrapper.decode(wrapper.encode(name, data, types)) == wrapper.Wrapper(
        name, tuple(data), tuple(types)
    )


@pytest.mark.parametrize("name", ["gson", "msgpack", "protobuf"])
@given(data=st.binary(max_size=200))
def test_values_are_read_or_refused(name: str, data: bytes) -> None:
    try:
        serializations.named(name).loads(data, idl.protobuf()[0].User if name == "protobuf" else None)
    except ValueError:
        pass


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:0a\\\\', max_size=60).map(str.encode))
def test_json_is_a_message_or_refused(data: bytes) -> None:
    try:
        message = json_messages.parse(idl.protobuf()[0].User, data)
    except ValueError:
        return
    assert json_messages.parse(type(message), json_messages.dump(message)) == message


@given(st.binary(max_size=200))
def test_status_details_are_read_or_none(data: bytes) -> None:
    status.decode(data)
    status.details(data)


@given(
    st.sampled_from(["POST", "GET", "OPTIONS", ""]),
    st.text(max_size=20),
    st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6),
    st.binary(max_size=60),
)
def test_request_is_a_call_or_refused(method: str, target: str, headers: Any, body: bytes) -> None:
    request = form.Request(method, target, tuple(headers), body)
    try:
        form.admit(request, LIMIT)
        call = form.call_of(request, LIMIT)
    except form.Refused as refused:
        assert 400 <= refused.response.status < 500
    else:
        assert len(call.body) <= LIMIT


class Wire:
    """A connection that keeps what is written, and answers what is asked at once."""

    options = HttpOptions(max_head=2000)
    peer = "ipv4:127.0.0.1:1"
    stopping = False
    full = False

    def __init__(self) -> None:
        self.written = b""
        self.calls = self
        self.bodies = bodies.Bodies(LIMIT, LIMIT)
        self.limit = LIMIT
        self.closed = False

    def close(self, linger: bool = False) -> None:
        self.closed = True

    def admit(self, request: form.Request) -> form.Response | None:
        try:
            return form.admit(request, LIMIT)
        except form.Refused as refused:
            return refused.response

    def refuse(self, request: form.Request, refused: form.Refused) -> form.Response:
        return refused.response

    def send(self, data: bytes) -> None:
        self.written += data

    def start(self, request: form.Request, done: Any) -> Any:
        done(form.Response(200, (), request.body))
        return lambda: None

    def ignored(self, *_: Any, **__: Any) -> Any:
        return lambda: None

    expect = hold = ignored


HTTP1_PARTS = st.sampled_from(
    [b"POST /a.B/C HTTP/1.1\r\n", b"host: x\r\n", b"content-type: application/json\r\n", b"content-length: 2\r\n",
     b"transfer-encoding: chunked\r\n", b"\r\n", b"{}", b"2\r\n{}\r\n", b"0\r\n\r\n", b"expect: 100-continue\r\n"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(HTTP1_PARTS | st.binary(min_size=1, max_size=20), max_size=20))
def test_bytes_of_http1_raise_nothing(parts: list[bytes]) -> None:
    wire = Wire()
    connection = http1.Http1(wire)
    for part in parts:
        if not wire.closed:
            connection.received(part)
    connection.lost()
    assert wire.bodies.held == 0


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


# RFC 7541: indexed fields of the static table, POST and / among them.
BLOCKS = st.binary(max_size=20) | st.just(bytes([0x83, 0x86, 0x84, 0x41, 1]) + b"x")
FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 0x20]),
    st.integers(0, 5),
    st.binary(max_size=30) | BLOCKS,
)


@settings(max_examples=300)
@given(st.lists(FRAMES, max_size=12))
def test_frames_of_http2_raise_nothing(frames: list[bytes]) -> None:
    wire = Wire()
    connection = http2.Http2(wire, lambda seconds, function: lambda: None)
    connection.received(PREFACE + frame(4, 0, 0, b""))
    for each in frames:
        if not wire.closed:
            connection.received(each)
    connection.lost()
    assert wire.bodies.held == 0
