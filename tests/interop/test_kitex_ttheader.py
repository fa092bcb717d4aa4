"""Our Thrift clients and servers and a real Kitex, over TTHeader: what travels besides the call.

The calls themselves are in test_kitex_client.py and test_kitex_server.py, over every transport.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

from pyrpc_xds.attachments import attachments, incoming_attachments
from pyrpc_xds.transports.thrift import (
    PoolLimits,
    ThriftBizError,
    ThriftDeadlineExceeded,
    current_call,
    reply_metadata,
)
from tests.interop.peers.echo import EchoHandler, args_class, base, idl, result_class
from tests.interop.peers.kitex import KitexCall, KitexOutcome, KitexServer, kitex_calls, skip_reason
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server, starting_client
from tests.interop.peers.ttheader_bytes import (
    CALL,
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
from tests.unit.transports.thrift.peers import listening, wait_until

pytestmark = pytest.mark.interop

FRAMINGS = ("ttheader", "ttheader-framed")
CLIENTS = [(kind, framing) for kind in KINDS for framing in FRAMINGS]
SERVERS = [
    (kind, transport, mux)
    for kind in KINDS
    for transport, mux in (("TTHeader", ""), ("TTHeaderFramed", ""), ("TTHeader", "mux"))
]


class Handler(EchoHandler):
    """Says what came with a call, and more than results."""

    def seen(self) -> Any:
        call = current_call()
        remaining = call.remaining()
        incoming = dict(incoming_attachments())
        assert incoming == dict(call.incoming)
        return idl.Seen(
            transients={name: value for name, value in incoming.items() if name not in call.passed_on},
            persistents=dict(call.passed_on),
            fromService=call.from_service,
            fromMethod=call.from_method,
            timeoutMs=0,
            remainingMs=-1 if remaining is None else round(remaining * 1000),
            ints=dict(call.header.ints),
            strings=dict(call.header.strings),
            transport="framed" if call.header.framed else "unframed",
        )

    def back(self, backward: dict[str, str], how: str) -> str:
        current_call().set_backward(backward)
        if how == "refused":
            raise base.Refused(why="with backward metainfo", code=3)
        if how == "undeclared":
            raise ValueError("with backward metainfo")
        return "sent"

    def biz(self, status: int, message: str, extra: dict[str, str]) -> str:
        raise ThriftBizError(status, message, extra)


@pytest.fixture(scope="module")
def kitex() -> Iterator[KitexServer]:
    if reason := skip_reason():
        pytest.skip(reason)
    with KitexServer() as server:
        yield server


@pytest.fixture(params=CLIENTS, ids="-".join)
def client(request: pytest.FixtureRequest, kitex: KitexServer) -> Iterator[OurClient]:
    kind, framing = request.param
    with our_client(kind, idl.Echo, kitex.address, framing=framing) as client:
        yield client


# -- our client ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_kitex_sniffs_the_framing_that_was_asked_for(kind: str, framing: str, kitex: KitexServer) -> None:
    with our_client(kind, idl.Echo, kitex.address, framing=framing) as client:
        seen = client.seen()
    assert seen.transport == {"ttheader": "TTHeader", "ttheader-framed": "TTHeader|Framed"}[framing]
    assert seen.ints[1] == {"ttheader": "unframed", "ttheader-framed": "framed"}[framing]


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_workload_is_named_as_the_caller(kind: str, framing: str, kitex: KitexServer) -> None:
    with our_client(kind, idl.Echo, kitex.address, framing=framing, workload="reviews-v2") as client:
        seen = client.seen()
    assert (seen.fromService, seen.ints[3]) == ("reviews-v2", "reviews-v2")


def test_attachments_arrive_as_transient_and_persistent_metainfo(client: OurClient) -> None:
    with attachments({"one": "1"}), attachments({"two": "2"}, persistent=True):
        seen = client.with_options(attachments={"three": "3"}).seen()
    assert seen.transients == {"one": "1", "three": "3"}
    assert seen.persistents == {"two": "2"}
    seen = client.seen()
    assert (seen.transients, seen.persistents) == ({}, {})


def test_int_keys_name_the_call(client: OurClient) -> None:
    seen = client.with_options(timeout=7.0).seen()
    assert (seen.ints[9], seen.ints[22], seen.strings["isn"]) == ("seen", "1", "Echo")
    assert 0 < int(seen.ints[12]) <= 7000
    assert seen.timeoutMs == int(seen.ints[12])


def test_deadline_goes_with_the_call_and_ends_it_on_both_sides(client: OurClient) -> None:
    assert 0 < client.with_options(timeout=7.0).seen().remainingMs <= 7000
    # The handler gives up at the same time as we do, so its error may come before our own.
    with pytest.raises((ThriftDeadlineExceeded, TApplicationException)) as error:
        client.with_options(timeout=0.15).sleep(30_000)
    assert isinstance(error.value, ThriftDeadlineExceeded) or "deadline exceeded" in error.value.message


def test_backward_metainfo_comes_with_results_and_errors(client: OurClient) -> None:
    for how, error, kind in (
        ("", None, "2"),
        ("refused", base.Refused, "2"),
        ("undeclared", TApplicationException, "3"),
    ):
        with reply_metadata() as reply:
            if error is None:
                assert client.back({"BACK": "é", "two": "2"}, how) == "sent"
            else:
                with pytest.raises(error):
                    client.back({"BACK": "é", "two": "2"}, how)
        assert (reply.backward, reply.ints) == ({"BACK": "é", "two": "2"}, {22: kind})


def test_backward_metainfo_is_of_its_own_call(client: OurClient) -> None:
    client.back({"a": "1"}, "")
    with reply_metadata() as reply:
        client.ping("x")
    assert reply.backward == {}


def test_business_status_is_an_error_of_its_own(client: OurClient) -> None:
    with pytest.raises(ThriftBizError) as error:
        client.biz(-5, "ünï", {"k": "v"})
    assert (error.value.code, error.value.message, error.value.extra) == (-5, "ünï", {"k": "v"})
    with pytest.raises(ThriftBizError) as error:
        client.biz(7, "", {})
    assert (error.value.code, error.value.extra) == (7, {})
    assert client.ping("still here") == "still here"


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_kitex_without_its_meta_handler_loses_the_status_and_says_so(
    kind: str, framing: str, kitex: KitexServer
) -> None:
    with (
        KitexServer(ttheader_meta=False) as plain,
        our_client(kind, idl.Echo, plain.address, framing=framing) as client,
    ):
        with pytest.raises(TApplicationException) as error:
            client.biz(5, "message", {})
        assert error.value.type == TApplicationException.MISSING_RESULT
        with attachments({"one": "1"}):
            assert client.seen().transients == {"one": "1"}


@pytest.mark.parametrize("any_order", [True, False], ids=["any-order", "in-order"])
@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_many_calls_share_a_connection(kind: str, framing: str, any_order: bool, kitex: KitexServer) -> None:
    calls = [("sleep", (300,)), *[("ping", (f"text {n}" * (n % 50),)) for n in range(1000)], ("sleep", (1,))]
    with (
        KitexServer(mux=any_order) as server,
        our_client(
            kind, idl.Echo, server.address, framing=framing, pool=PoolLimits(connections=1, multiplexed=1)
        ) as client,
    ):
        assert client.at_once(calls, 64) == ["slept", *[f"text {n}" * (n % 50) for n in range(1000)], "slept"]


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_call_that_waits_is_overtaken_on_its_connection(kind: str, framing: str, kitex: KitexServer) -> None:
    pool = PoolLimits(connections=1, multiplexed=1)
    with (
        KitexServer(mux=True) as server,
        our_client(kind, idl.Echo, server.address, framing=framing, pool=pool) as client,
    ):
        hurried = client.with_options(timeout=0.2)
        with pytest.raises((ThriftDeadlineExceeded, TApplicationException)):
            hurried.sleep(30_000)
        # The connection goes on: an answer that comes late is for nobody.
        assert [client.ping(f"text {n}") for n in range(10)] == [f"text {n}" for n in range(10)]


@pytest.mark.parametrize("shared", [0, 1], ids=["own", "shared"])
@pytest.mark.parametrize("any_order", [True, False], ids=["any-order", "in-order"])
@pytest.mark.parametrize("kind", KINDS)
def test_stopping_server_fails_no_call(kind: str, any_order: bool, shared: int, kitex: KitexServer) -> None:
    """What runs finishes there, what comes goes elsewhere."""
    with (
        KitexServer(mux=any_order) as stopping,
        starting_client(
            kind,
            idl.Echo,
            stopping.address,
            kitex.address,
            framing="ttheader",
            pool=PoolLimits(multiplexed=shared),
        ) as client,
    ):
        calls = [client.start("sleep", 600) for _ in range(8)]
        time.sleep(0.2)
        stopping.terminate()
        time.sleep(0.1)
        calls += [client.start("ping", "later") for _ in range(100)]
        assert [each.result(10) for each in calls] == ["slept"] * 8 + ["later"] * 100


# -- our server ------------------------------------------------------------------------------------------------


@pytest.fixture
def handler() -> Handler:
    return Handler()


class Caller:
    """Kitex's client of one server of ours."""

    def __init__(self, address: str, transport: str, mux: str) -> None:
        self.address = address
        self.options: dict[str, Any] = {"transport": transport, "mux": bool(mux)}

    def call(self, method: str, count: int = 1, concurrency: int = 1, **rest: Any) -> KitexCall:
        """Of a method; what is not an option of the call is an argument of it."""
        options = {name: rest.pop(name) for name in list(rest) if name in KitexCall.__slots__}
        arguments = [args_class(method)(**rest)]
        return KitexCall(method, arguments, count=count, concurrency=concurrency, **self.options, **options)

    def once(self, method: str, **rest: Any) -> KitexOutcome:
        """One such call."""
        [[outcome]] = kitex_calls(self.address, [self.call(method, **rest)])
        return outcome


@pytest.fixture(params=SERVERS, ids=lambda each: "-".join(filter(None, each)))
def caller(request: pytest.FixtureRequest, handler: Handler, kitex: KitexServer) -> Iterator[Caller]:
    kind, transport, mux = request.param
    with our_server(kind, idl.Echo, handler) as address:
        yield Caller(address, transport, mux)


def test_handler_sees_what_kitex_sends(caller: Caller) -> None:
    seen = caller.once(
        "seen", transient={"ONE": "1"}, persistent={"TWO": "é"}, ints={2: "log id"}, timeout=7.0
    ).value
    assert (seen.transients, seen.persistents) == ({"one": "1", "log-id": "log id", "two": "é"}, {"TWO": "é"})
    assert (seen.fromService, seen.fromMethod) == ("kitex-peer-client", "")
    assert 0 < seen.remainingMs <= 7000
    assert seen.ints[9] == "seen" and seen.ints[12] == "7000"
    assert seen.strings == {"isn": "Echo", "RPC_TRANSIT_ONE": "1", "RPC_PERSIST_TWO": "é"}
    assert seen.transport == seen.ints[1]


def test_handler_sees_nothing_of_the_call_before(caller: Caller) -> None:
    first, second = kitex_calls(
        caller.address, [caller.call("seen", transient={"one": "1"}, timeout=7.0), caller.call("seen")]
    )
    assert first[0].value.transients == {"one": "1"}
    assert (second[0].value.transients, second[0].value.remainingMs) == ({}, -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner_frame", [False, True], ids=["unframed", "framed"])
def test_answer_by_bytes_is_in_the_form_of_the_request(
    kind: str, inner_frame: bool, handler: Handler
) -> None:
    request = message("ping", CALL, 99, args_class("ping")(text="x"))
    sent = Frame(framed(request) if inner_frame else request, seqid=99, ints={9: "ping"})
    with our_server(kind, idl.Echo, handler) as address:
        answer = exchange(address, sent)
    assert (answer.seqid, answer.protocol, answer.ints[22], answer.strings) == (99, 0, "2", {})
    expected = message("ping", REPLY, 99, result_class("ping")(success="x"))
    assert answer.payload == (framed(expected) if inner_frame else expected)


def test_answer_says_what_kind_of_message_it_is(caller: Caller) -> None:
    assert caller.once("ping", text="x").ints[22] == "2"
    assert caller.once("fail", how="refused", text="x").ints[22] == "2"
    assert caller.once("undeclared", text="x").ints[22] == "3"


def test_backward_metainfo_goes_with_results_and_errors(caller: Caller) -> None:
    for how in ("", "refused", "undeclared"):
        assert caller.once("back", backward={"BACK": "é", "two": "2"}, how=how).backward == {
            "BACK": "é",
            "two": "2",
        }
    sent, after = kitex_calls(
        caller.address,
        [caller.call("back", backward={"a": "1"}, how=""), caller.call("ping", text="x")],
    )
    assert (sent[0].backward, after[0].backward) == ({"a": "1"}, {})


def test_business_status(caller: Caller) -> None:
    outcome = caller.once("biz", status=-5, message="ünï", extra={"k": "v"})
    assert outcome.error is None
    assert outcome.status == {"status": -5, "message": "ünï", "extra": {"k": "v"}}
    plain = caller.once("biz", status=7, message="m", extra={})
    assert plain.status is not None and (plain.status["status"], plain.status["extra"]) == (7, None)
    assert caller.once("ping", text="x").status is None


class Gated(EchoHandler):
    """``sleep`` of a second or more ends when it may, any other at once.

    :ivar by_quick: a quick one lets the slow one end.
    """

    def __init__(self, by_quick: bool) -> None:
        super().__init__()
        self.by_quick = by_quick
        self.may_end = threading.Event()

    def sleep(self, milliseconds: int) -> str:
        if milliseconds >= 1000:
            return "slow" if self.may_end.wait(10) else "alone"
        if self.by_quick:
            self.may_end.set()
        return "quick"


def sleeps(flags: int) -> list[bytes]:
    """Frames by hand: a slow call and a quick one."""
    return [
        pack(Frame(message("sleep", CALL, seqid, args_class("sleep")(milliseconds=wait)), seqid, flags))
        for seqid, wait in ((1, 1000), (2, 1))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_in_order_where_the_client_does_not_say_so(kind: str) -> None:
    handler = Gated(by_quick=False)
    opening = threading.Timer(0.2, handler.may_end.set)
    with our_server(kind, idl.Echo, handler) as address, connected(address) as sock:
        for frame in sleeps(flags=0):
            sock.sendall(frame)
        opening.start()
        assert [unpack(receive(sock)).seqid for _ in range(2)] == [1, 2]
    opening.join()


@pytest.mark.parametrize("kind", KINDS)
def test_thousand_calls_on_one_connection(kind: str, handler: Handler, kitex: KitexServer) -> None:
    texts = [f"caller {number}" * (number % 50) for number in range(1000)]
    with our_server(kind, idl.Echo, handler) as address:
        arguments = [args_class("ping")(text=text) for text in texts]
        call = KitexCall("ping", arguments, "TTHeader", count=1000, concurrency=100, mux=True)
        [outcomes] = kitex_calls(address, [call])
    assert [each.value for each in outcomes] == texts


@pytest.mark.parametrize("kind", KINDS)
def test_slow_call_does_not_hold_up_others_of_its_connection(kind: str, kitex: KitexServer) -> None:
    with our_server(kind, idl.Echo, Gated(by_quick=True)) as address:
        mux = Caller(address, "TTHeader", "mux")
        arguments = [args_class("sleep")(milliseconds=each) for each in (1000, 1)]
        both = KitexCall("sleep", arguments, "TTHeader", count=2, concurrency=2, mux=True)
        # The first call opens the connection that the others share.
        _, outcomes = kitex_calls(address, [mux.call("ping", text="x"), both])
    assert [each.value for each in outcomes] == ["slow", "quick"]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_out_of_order_where_the_client_says_it_takes_them(kind: str) -> None:
    handler = Gated(by_quick=False)
    with our_server(kind, idl.Echo, handler) as address, connected(address) as sock:
        for frame in sleeps(flags=1):
            sock.sendall(frame)
        assert unpack(receive(sock)).seqid == 2
        handler.may_end.set()
        last = unpack(receive(sock))
    assert (last.seqid, parts(last.payload)[2]) == (1, 1)


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_calls_of_one_connection_are_answered_in_any_order(kind: str, framing: str) -> None:
    def serve(sock: socket.socket) -> None:
        while first := receive(sock):
            for data in (receive(sock), first):
                request = unpack(data)
                payload = request.payload[4:] if framing == "ttheader-framed" else request.payload
                _, _, seqid, arguments = parts(payload)
                # The struct of the arguments is that of the result, but for the number of its field.
                result = arguments[:1] + b"\0\0" + arguments[3:]
                answer = payload[:3] + bytes((REPLY,)) + payload[4 : len(payload) - len(arguments)] + result
                sock.sendall(pack(Frame(framed(answer) if framing == "ttheader-framed" else answer, seqid)))

    with (
        listening(serve) as address,
        our_client(
            kind, idl.Echo, address, framing=framing, pool=PoolLimits(connections=1, multiplexed=1)
        ) as client,
    ):
        calls = [("ping", (f"text {number}",)) for number in range(20)]
        assert client.at_once(calls, 2) == [f"text {number}" for number in range(20)]


# -- a chain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_persistent_metainfo_goes_on_through_us_and_transient_does_not(
    kind: str, framing: str, kitex: KitexServer
) -> None:
    with our_client("sync", idl.Echo, kitex.address, framing=framing) as further:

        class Forwarding(EchoHandler):
            def seen(self) -> Any:
                return further.seen()

        with our_server(kind, idl.Echo, Forwarding()) as address:
            call = KitexCall(
                "seen",
                transport="TTHeader",
                transient={"one": "1"},
                persistent={"two": "2", "BIG": "3", "words": "é ü"},
            )
            [[outcome]] = kitex_calls(address, [call])
    assert outcome.value.persistents == {"two": "2", "BIG": "3", "words": "é ü"}
    assert outcome.value.transients == {}


@pytest.mark.parametrize(("kind", "framing"), CLIENTS)
def test_method_that_calls_is_named_to_the_next_hop(kind: str, framing: str, kitex: KitexServer) -> None:
    with our_client("sync", idl.Echo, kitex.address, framing=framing) as further:

        class Forwarding(EchoHandler):
            def seen(self) -> Any:
                return further.seen()

        with our_server(kind, idl.Echo, Forwarding()) as address:
            [[outcome]] = kitex_calls(address, [KitexCall("seen", transport="TTHeader")])
    assert outcome.value.fromMethod == "seen"


class Holding(Handler):
    """Calls last until the test lets them end."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.may_end = threading.Event()

    def sleep(self, milliseconds: int) -> str:
        self.entered.release()
        return "answered" if self.may_end.wait(20) else "held for too long"


@pytest.mark.parametrize("mux", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_client_of_a_server_that_stops_has_its_answers_and_heeds_the_goodbye(
    kind: str, mux: bool, kitex: KitexServer
) -> None:
    handler = Holding()
    with contextlib.ExitStack() as server, ThreadPoolExecutor(2) as pool:
        address = server.enter_context(our_server(kind, idl.Echo, handler, workers=8))
        arguments = [args_class("sleep")(milliseconds=1000)]
        # The fifth one comes behind an answer of a server that goes: its client dials, and sends it to nobody.
        calls = KitexCall("sleep", arguments, "TTHeader", count=5, concurrency=4, mux=mux)
        outcomes = pool.submit(kitex_calls, address, [calls])
        for _ in range(4):
            assert handler.entered.acquire(timeout=20)
        stopping = pool.submit(server.close)
        wait_until(lambda: refused(address))
        handler.may_end.set()
        [got] = outcomes.result(30)
        stopping.result(10)
    assert [each.value for each in got if each.error is None] == ["answered"] * 4
    [late] = [each.error["text"] for each in got if each.error is not None]
    assert "get connection error: dial" in late


def refused(address: str) -> bool:
    try:
        connected(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # it came while the port was being closed
    return False
