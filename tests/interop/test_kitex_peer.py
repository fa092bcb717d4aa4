"""The Kitex peer does what the Thrift suites take for granted, seen by its own client and by bytes made by hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.utils import deserialize

from tests.interop.peers import echo
from tests.interop.peers.echo import ECHOES, args_class, exact, exact_result, idl, result_class
from tests.interop.peers.kitex import TRANSPORTS, KitexCall, KitexServer, kitex_calls, skip_reason
from tests.interop.peers.ttheader_bytes import (
    CALL,
    EXCEPTION,
    REPLY,
    Frame,
    connected,
    exchange,
    framed,
    message,
    pack,
    parts,
    receive,
    unpack,
)
from tests.unit.transports.thrift.peers import listening

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def kitex() -> Iterator[KitexServer]:
    if reason := skip_reason():
        pytest.skip(reason)
    with KitexServer() as server:
        yield server


def read(value: Any, data: bytes) -> Any:
    """Fill a struct from the binary protocol."""
    return deserialize(value, data, proto_factory=TBinaryProtocolFactory())


def test_frame_by_hand_and_back() -> None:
    frame = Frame(b"payload", 7, 2, 0, {12: "1234"}, {"RPC_TRANSIT_K": "é"}, "token")
    assert unpack(pack(frame)) == frame
    known = bytes.fromhex("0000001a 1000 0000 00000001 0003 00 00 01 0001 0001 61 0001 62 00 80010001")
    assert pack(Frame(bytes.fromhex("80010001"), strings={"a": "b"})) == known


@pytest.mark.parametrize("transport", [*TRANSPORTS, "mux"])
def test_every_value_survives_kitexs_own_client_and_server(kitex: KitexServer, transport: str) -> None:
    options: dict[str, Any] = (
        {"transport": "TTHeader", "mux": True} if transport == "mux" else {"transport": transport}
    )
    calls = []
    for method, values in ECHOES.items():
        [name] = echo.fields(args_class(method))
        arguments = [args_class(method)(**{name: value}) for value in values]
        calls.append(KitexCall(method, arguments, count=len(values), **options))
    for call, outcomes in zip(calls, kitex_calls(kitex.address, calls), strict=True):
        for value, outcome in zip(ECHOES[call.method], outcomes, strict=True):
            assert exact_result(call.method, outcome.value) == exact_result(call.method, value), call.method


def test_comparison_sees_every_difference() -> None:
    values = [idl.Scalars(real=real) for real in (0.0, -0.0, float("nan"), None)]
    values += [
        idl.Scalars(text="a"),
        idl.Scalars(text=b"a"),
        idl.Scalars(blob=b"a"),
        idl.Scalars(truth=False),
    ]
    assert len({exact(idl.Scalars, value) for value in values}) == len(values)
    with pytest.raises(AssertionError):
        exact(idl.Scalars, idl.Scalars(truth=1))
    with pytest.raises(AssertionError):
        exact(idl.Scalars, idl.Scalars(blob="a"))


@pytest.mark.parametrize("value", [echo.everything(), echo.random_everything(0)], ids=["edges", "random"])
def test_canonical_text_is_read_back(value: Any) -> None:
    text = exact(idl.Everything, value)
    assert exact(idl.Everything, echo.struct_from_json(idl.Everything, json.loads(text))) == text


@pytest.mark.parametrize("inner_frame", [False, True], ids=["unframed", "framed"])
def test_server_reads_a_header_made_by_hand_and_answers_in_kind(
    kitex: KitexServer, inner_frame: bool
) -> None:
    request = message("seen", CALL, 99, args_class("seen")())
    sent = Frame(
        framed(request) if inner_frame else request,
        seqid=99,
        ints={2: "log id", 3: "from service", 6: "echo", 9: "seen", 12: "1234", 20: "from method", 22: "1"},
        strings={"RPC_TRANSIT_ONE": "é", "RPC_PERSIST_TWO": "2", "isn": "Echo", "own": "value"},
        token="acl",
    )
    answer = exchange(kitex.address, sent)
    assert (answer.seqid, answer.protocol, answer.ints) == (99, 0, {22: "2"})
    payload = answer.payload
    if inner_frame:
        assert int.from_bytes(payload[:4], "big") == len(payload) - 4
        payload = payload[4:]
    name, kind, seqid, data = parts(payload)
    assert (name, kind, seqid) == ("seen", REPLY, 99)
    seen = read(result_class("seen")(), data).success
    assert seen.transients == {"ONE": "é", "gdpr-token": "acl"}
    assert seen.persistents == {"TWO": "2"}
    assert (seen.fromService, seen.fromMethod, seen.timeoutMs) == ("from service", "from method", 1234)
    assert 0 < seen.remainingMs <= 1234
    assert seen.ints == dict(sent.ints)
    assert seen.strings == {**sent.strings, "RPC_TRANSIT_gdpr-token": "acl"}
    assert seen.transport == ("TTHeader|Framed" if inner_frame else "TTHeader")


def test_server_sends_backward_metainfo_as_raw_keys(kitex: KitexServer) -> None:
    for how, kind in (("", REPLY), ("refused", REPLY), ("undeclared", EXCEPTION)):
        arguments = args_class("back")(backward={"BACK": "é", "two": ""}, how=how)
        answer = exchange(kitex.address, Frame(message("back", CALL, 1, arguments)))
        assert parts(answer.payload)[1] == kind, how
        assert answer.strings == {"BACK": "é", "two": ""}, how
        assert answer.ints == {22: str(kind)}


def test_server_sends_a_business_status_with_an_empty_result(kitex: KitexServer) -> None:
    arguments = args_class("biz")(status=-5, message="é", extra={"k": "v"})
    answer = exchange(kitex.address, Frame(message("biz", CALL, 1, arguments)))
    assert parts(answer.payload) == ("biz", REPLY, 1, b"\0")
    strings = dict(answer.strings)
    assert json.loads(strings.pop("biz-extra")) == {"k": "v"}
    assert strings == {"biz-status": "-5", "biz-message": "é"}


def test_server_without_its_meta_handler_sends_neither_int_keys_nor_business_status(
    kitex: KitexServer,
) -> None:
    with KitexServer(ttheader_meta=False) as plain:
        arguments = args_class("biz")(status=5, message="m", extra={})
        answer = exchange(plain.address, Frame(message("biz", CALL, 1, arguments)))
        assert (answer.ints, answer.strings) == ({}, {})
        request = Frame(
            message("seen", CALL, 1, args_class("seen")()), ints={12: "1234"}, strings={"RPC_TRANSIT_A": "1"}
        )
        seen = read(result_class("seen")(), parts(exchange(plain.address, request).payload)[3]).success
    assert (seen.timeoutMs, seen.fromService, seen.remainingMs) == (0, "", -1)
    assert (seen.ints, seen.transients) == ({12: "1234"}, {"A": "1"})


def test_server_that_multiplexes_answers_out_of_order(kitex: KitexServer) -> None:
    with KitexServer(mux=True) as mux, connected(mux.address) as sock:
        for seqid, wait in ((1, 400), (2, 0)):
            request = message("sleep", CALL, seqid, args_class("sleep")(milliseconds=wait))
            sock.sendall(pack(Frame(request, seqid)))
        assert [unpack(receive(sock)).seqid for _ in range(2)] == [2, 1]


@pytest.mark.parametrize("protocol", [2, 3], ids=["compact", "compact V2"])
def test_server_closes_on_compact(kitex: KitexServer, protocol: int) -> None:
    payload = b"\x82\x21\x01\x04seen\0"
    for data in (pack(Frame(payload, protocol=protocol)), framed(payload), payload + bytes(8)):
        with connected(kitex.address) as sock:
            sock.sendall(data)
            assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("transport", "framing"),
    [("TTHeader", "unframed"), ("TTHeaderFramed", "framed")],
    ids=str,
)
def test_client_sends_a_header_and_reads_one_made_by_hand(
    kitex: KitexServer, transport: str, framing: str
) -> None:
    requests: list[Frame] = []

    def serve(sock: socket.socket) -> None:
        while data := receive(sock):
            requests.append(unpack(data))
            payload = requests[-1].payload
            name, kind, seqid, _ = parts(payload[4:] if framing == "framed" else payload)
            assert (name, kind, seqid) == ("ping", CALL, requests[-1].seqid)
            answer = message("ping", REPLY, seqid, result_class("ping")(success="by hand"))
            frame = Frame(
                framed(answer) if framing == "framed" else answer,
                seqid,
                ints={22: "2"},
                strings={"BACK": "é", "biz-status": "7", "biz-message": "m", "biz-extra": '{"k":"v"}'},
            )
            sock.sendall(pack(frame))

    call = KitexCall(
        "ping",
        [args_class("ping")(text="x")],
        transport,
        timeout=3.0,
        transient={"ONE": "1"},
        persistent={"TWO": "é"},
        ints={2: "log id"},
        strings={"own": "value"},
    )
    with listening(serve) as address:
        [[outcome]] = kitex_calls(address, [call])
    [request] = requests
    assert request.ints == {
        1: framing,
        2: "log id",
        3: "kitex-peer-client",
        6: "echo",
        9: "ping",
        12: "3000",
        17: "5000",
        20: "",
        22: "1",
    }
    assert request.strings == {"RPC_TRANSIT_ONE": "1", "RPC_PERSIST_TWO": "é", "isn": "Echo", "own": "value"}
    assert (request.flags, request.protocol, request.token) == (0, 0, None)
    assert outcome.error is None and outcome.backward["BACK"] == "é"
    assert outcome.status == {"status": 7, "message": "m", "extra": {"k": "v"}}


def test_client_says_what_failed(kitex: KitexServer) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(1)

    with listening(serve) as address:
        [[closed]] = kitex_calls(address, [KitexCall("ping", [args_class("ping")(text="x")])])
    assert closed.error is not None and closed.error["kind"] == "other"
    with pytest.raises(RuntimeError, match="no method"):
        kitex_calls(kitex.address, [KitexCall("unknown")])
