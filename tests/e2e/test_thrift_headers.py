"""Our clients and servers over TTHeader and THeader: what travels besides the message."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context
from thriftpy2.thrift import TApplicationException

import pyrpc_xds
from pyrpc_xds.attachments import incoming_attachments
from pyrpc_xds.errors import RemoteProtocolError, UsageError
from pyrpc_xds.transports.thrift import (
    ServerCall,
    ThriftBizError,
    ThriftUnavailable,
    current_call,
    reply_metadata,
)
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server
from tests.unit.transports.thrift.peers import Handler, idl

FRAMINGS = ("ttheader", "ttheader-framed", "theader", "theader-zlib")
FORMS = [
    (kind, framing, protocol) for kind in KINDS for framing in FRAMINGS for protocol in ("binary", "compact")
]
PLAIN = [(kind, framing, "binary") for kind in KINDS for framing in ("framed", "buffered")]
TTHEADER = [form for form in FORMS if form[1].startswith("tt") and form[2] == "binary"]


class Curious(Handler):
    """Keeps the call that it serves; calls another server in turn where it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[ServerCall] = []
        self.next: Any = None
        self.incoming: dict[str, str] = {}

    def ping(self, text: str) -> str:
        call = current_call()
        self.seen.append(call)
        self.incoming = dict(incoming_attachments())
        if text == "biz":
            raise ThriftBizError(5, "nö", {"k": "v"})
        if text == "large":
            call.set_backward({"k": "v" * 65_530, "more": "x" * 300})
        elif text:
            call.set_backward({"back": text})
        if text == "fail":
            raise ValueError("secret")
        if text == "application":
            raise TApplicationException(TApplicationException.PROTOCOL_ERROR, "said so")
        if self.next is not None:
            return str(self.next.ping(""))
        return text

    def check(self, good: bool) -> None:
        current_call().set_backward({"back": "checked"})
        super().check(good)


@pytest.fixture
def handler() -> Curious:
    return Curious()


@pytest.fixture(params=FORMS, ids="-".join)
def client(request: pytest.FixtureRequest, handler: Curious) -> Iterator[OurClient]:
    yield from serve(request.param, handler)


@pytest.fixture(params=TTHEADER, ids="-".join)
def kitex_like(request: pytest.FixtureRequest, handler: Curious) -> Iterator[OurClient]:
    yield from serve(request.param, handler)


@pytest.fixture(params=PLAIN, ids="-".join)
def plain(request: pytest.FixtureRequest, handler: Curious) -> Iterator[OurClient]:
    yield from serve(request.param, handler)


def serve(form: tuple[str, str, str], handler: Curious) -> Iterator[OurClient]:
    kind, framing, protocol = form
    with (
        our_server(kind, idl.Everything, handler) as address,
        our_client(
            kind, idl.Everything, address, framing=framing, protocol=protocol, workload="caller"
        ) as client,
    ):
        yield client


def test_calls_of_every_kind(client: OurClient, handler: Curious) -> None:
    item = idl.Item(name="n", parts=[idl.Item(name="m")], labels={1: "x"}, blob=b"\0\xff")
    assert client.ping("x") == "x"
    assert client.echo(item) == item
    assert client.nothing() is None
    assert client.add(2, 3) == 5
    assert client.no() is False
    with pytest.raises(idl.Refused, match="no"):
        client.fail("refused")
    with pytest.raises(TApplicationException, match="undeclared failed"):
        client.undeclared("x")
    assert client.fire("shot") is None
    assert handler.got_fired.wait(5)
    assert client.reverse({"x" * 300_000: "y"}) == {"y": "x" * 300_000}


def test_attachments_arrive(client: OurClient, handler: Curious) -> None:
    with pyrpc_xds.attachments({"user": "admin"}), pyrpc_xds.attachments({"lane": "dev"}, persistent=True):
        client.with_options(attachments={"more": "m"}).ping("")
    assert handler.incoming == {"user": "admin", "lane": "dev", "more": "m"}
    assert handler.seen[0].incoming == handler.incoming
    client.ping("")
    assert handler.incoming == {}


def test_handler_knows_the_call(kitex_like: OurClient, handler: Curious) -> None:
    with pyrpc_xds.attachments({"log-id": "1234"}):
        kitex_like.with_options(timeout=3.0).ping("")
    [call] = handler.seen
    assert (call.service, call.method) == ("Everything", "ping")
    assert call.peer.startswith("127.0.0.1:")
    assert (call.from_service, call.from_method, call.log_id) == ("caller", "", "1234")
    left = call.remaining()
    assert left is not None and left <= 3.0
    assert call.header is not None
    assert {key: call.header.ints[key] for key in (1, 6, 9, 22)} == {
        1: "framed" if call.header.framed else "unframed",
        6: "x:1",
        9: "ping",
        22: "1",
    }
    assert call.header.strings["isn"] == "Everything"


def test_handler_knows_what_it_can_without_a_header(plain: OurClient, handler: Curious) -> None:
    with pyrpc_xds.attachments({"user": "admin"}):
        assert plain.ping("x") == "x"
    [call] = handler.seen
    assert (call.method, call.from_service, call.incoming, call.deadline) == ("ping", "", {}, None)
    assert call.header is None and call.peer.startswith("127.0.0.1:")
    assert handler.incoming == {}


def test_there_is_no_call_outside_of_handlers() -> None:
    with pytest.raises(UsageError, match="no Thrift call"):
        current_call()


def test_backward_metainfo(client: OurClient) -> None:
    with reply_metadata() as reply:
        client.ping("one")
        assert reply.backward == {"back": "one"}
        client.ping("")
        assert reply.backward == {}
        with pytest.raises(TApplicationException):
            client.ping("fail")
        assert reply.backward == {"back": "fail"}
        with pytest.raises(TApplicationException, match="said so"):
            client.ping("application")
        assert reply.backward == {"back": "application"}
        with pytest.raises(idl.Refused):
            client.check(False)
        assert reply.backward == {"back": "checked"}


def test_backward_metainfo_of_calls_at_once_is_each_ones_own() -> None:
    async def main() -> None:
        async def one(client: Any, text: str) -> None:
            with reply_metadata() as reply:
                await client.ping(text)
                assert reply.backward == {"back": text}

        await asyncio.gather(*(one(ours.raw, str(number)) for number in range(100)))

    with (
        our_server("asyncio", idl.Everything, Curious()) as address,
        our_client("asyncio", idl.Everything, address, framing="ttheader") as ours,
    ):
        assert ours._runner is not None
        ours._runner.run(main())


def test_backward_metainfo_that_does_not_fit_is_an_error_of_that_call(kitex_like: OurClient) -> None:
    with pytest.raises(TApplicationException, match="failed"):
        kitex_like.ping("large")
    assert kitex_like.ping("x") == "x"


@pytest.mark.parametrize(("number", "size"), [(1, 70_000), (2, 40_000), (1, 65_532)])
def test_attachments_that_do_not_fit_are_the_callers_error(
    client: OurClient, handler: Curious, number: int, size: int
) -> None:
    client.ping("x")
    attached = {f"a{each}": "x" * size for each in range(number)}
    with (
        pyrpc_xds.attachments({"small": "y", **attached}),
        pytest.raises(UsageError, match=rf"room for 65532.*largest value is 'a0', of {size}"),
    ):
        client.ping("x")
    assert len(handler.seen) == 1


def test_as_much_as_fits_arrives(client: OurClient, handler: Curious) -> None:
    with pyrpc_xds.attachments({"a": "x" * 65_000}):
        client.ping("x")
    assert len(handler.incoming["a"]) == 65_000


@pytest.mark.parametrize(
    ("call", "args", "words"),
    [
        ("ping", (3,), "/ping of .* argument 'text' needs STRING, not 3 [(]int[)]"),
        ("echo", (idl.Item(small="x"),), r"/echo of .* field of Item, 'small' needs I16, not 'x' [(]str[)]"),
    ],
)
def test_argument_that_is_not_of_the_idls_type_is_the_callers_error(
    client: OurClient, handler: Curious, call: str, args: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        getattr(client, call)(*args)
    assert client.ping("") == "" and len(handler.seen) == 1


def test_business_status(client: OurClient) -> None:
    with pytest.raises(ThriftBizError) as raised:
        client.ping("biz")
    assert (raised.value.code, raised.value.message, raised.value.extra) == (5, "nö", {"k": "v"})


def test_business_status_without_a_header_is_an_application_exception(plain: OurClient) -> None:
    with pytest.raises(TApplicationException, match="business status 5"):
        plain.ping("biz")


@pytest.mark.parametrize("framings", [("ttheader", "ttheader-framed"), ("theader", "ttheader")])
def test_persistent_metainfo_and_baggage_go_on_and_transient_do_not(framings: tuple[str, str]) -> None:
    first, last = Curious(), Curious()
    with (
        our_server("sync", idl.Everything, last) as end,
        our_client("sync", idl.Everything, end, framing=framings[1], workload="middle") as middle,
        our_server("sync", idl.Everything, first) as start,
        our_client("sync", idl.Everything, start, framing=framings[0]) as client,
    ):
        first.next = middle
        token = context.attach(baggage.set_baggage("lane", "dev"))
        try:
            with (
                pyrpc_xds.attachments({"user": "admin"}),
                pyrpc_xds.attachments({"stage": "s"}, persistent=True),
            ):
                client.ping("")
        finally:
            context.detach(token)
    assert first.incoming == {"user": "admin", "stage": "s", "baggage": "lane=dev"}
    assert last.incoming == {"stage": "s", "baggage": "lane=dev"}
    assert (last.seen[0].from_service, last.seen[0].from_method) == ("middle", "ping")


@pytest.mark.parametrize("kind", KINDS)
def test_one_port_serves_every_form_and_answers_in_it(kind: str, handler: Curious) -> None:
    with our_server(kind, idl.Everything, handler) as address:
        for framing in ("framed", "buffered", *FRAMINGS):
            for protocol in ("binary", "compact"):
                with our_client(kind, idl.Everything, address, framing=framing, protocol=protocol) as client:
                    assert [client.ping(str(n)) for n in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_server_of_one_form_closes_connections_of_others(kind: str, framing: str, handler: Curious) -> None:
    with our_server(kind, idl.Everything, handler, framing=framing, protocol="binary") as address:
        with our_client(kind, idl.Everything, address, framing=framing) as client:
            assert client.ping("x") == "x"
        with (
            our_client(kind, idl.Everything, address, framing="framed") as client,
            pytest.raises((ThriftUnavailable, RemoteProtocolError)),
        ):
            client.ping("x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("restricted", "ours", "other"),
    [
        ({"framing": "ttheader"}, {"framing": "ttheader", "protocol": "compact"}, {"framing": "buffered"}),
        ({"protocol": "binary"}, {"framing": "theader"}, {"framing": "theader", "protocol": "compact"}),
    ],
)
def test_server_restricted_in_one_respect_finds_the_other_out(
    kind: str, restricted: Any, ours: Any, other: Any, handler: Curious, caplog: pytest.LogCaptureFixture
) -> None:
    with our_server(kind, idl.Everything, handler, **restricted) as address:
        with our_client(kind, idl.Everything, address, **ours) as client:
            assert client.ping("x") == "x"
        with our_client(kind, idl.Everything, address, **other) as client, pytest.raises(ThriftUnavailable):
            client.ping("x")
    assert "this server takes" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_header_ends_that_connection_only(
    kind: str, handler: Curious, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"\x10\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x00"
    data = len(head).to_bytes(4, "big") + head
    with (
        our_server(kind, idl.Everything, handler) as address,
        our_client(kind, idl.Everything, address, framing="ttheader") as client,
    ):
        assert client.ping("x") == "x"
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as sock:
            for each in data:
                sock.sendall(bytes((each,)))
            assert sock.recv(1) == b""
        assert client.ping("x") == "x"
    assert "unknown info block 0x02" in caplog.text
