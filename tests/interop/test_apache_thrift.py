"""Our Thrift clients and servers against Apache Thrift's own Python library, in each of its transports and protocols.

Kitex refuses compact, so this is where it is proven.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.parser import load_fp
from thriftpy2.thrift import TApplicationException

from pyrpc_xds.attachments import attachments, incoming_attachments
from pyrpc_xds.transports.thrift import ThriftDeadlineExceeded, current_call, reply_metadata
from tests.interop.peers import echo
from tests.interop.peers.echo import ECHOES, EchoHandler, base, exact, exact_result, idl
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server
from tests.unit.transports.thrift.peers import wait_until

thrift = pytest.importorskip(
    "thrift.Thrift", reason="Apache Thrift's library (PyPI: thrift) is not installed"
)

from tests.interop.peers.apache_thrift import ApacheClient, apache_server  # noqa: E402

pytestmark = pytest.mark.interop

FORMS = [
    (kind, framing, protocol)
    for kind in KINDS
    for framing in ("framed", "buffered", "theader", "theader-zlib")
    for protocol in ("binary", "compact")
]


@pytest.fixture
def handler() -> EchoHandler:
    return EchoHandler()


@pytest.fixture
def arrived() -> list[dict[str, str]]:
    """The headers of the requests that their server has answered."""
    return []


@pytest.fixture(params=FORMS, ids="-".join)
def client(
    request: pytest.FixtureRequest, handler: EchoHandler, arrived: list[dict[str, str]]
) -> Iterator[OurClient]:
    """Ours, of their server."""
    kind, framing, protocol = request.param
    on_headers = arrived.append if framing.startswith("theader") else None
    with (
        apache_server(handler, framing, protocol, on_headers=on_headers) as address,
        our_client(kind, idl.Echo, address, framing=framing, protocol=protocol) as client,
    ):
        yield client


@pytest.fixture(params=FORMS, ids="-".join)
def apache_client(request: pytest.FixtureRequest, handler: EchoHandler) -> Iterator[ApacheClient]:
    """Theirs, of our server, which finds out the form."""
    kind, framing, protocol = request.param
    with (
        our_server(kind, idl.Echo, handler) as address,
        ApacheClient(address, framing, protocol) as client,
    ):
        yield client


@pytest.fixture(params=[True, False], ids=["accelerated", "pure"])
def accelerated(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def echoes(client: Any) -> None:
    for method, values in ECHOES.items():
        for value in values:
            assert exact_result(method, getattr(client, method)(value)) == exact_result(method, value), method
    for value in map(echo.random_everything, range(50)):
        assert exact(idl.Everything, client.echoEverything(value)) == exact(idl.Everything, value)
    described = json.loads(client.describe(echo.everything()))
    assert exact(idl.Everything, echo.struct_from_json(idl.Everything, described)) == exact(
        idl.Everything, echo.everything()
    )


def test_every_value_comes_back_from_their_server_bit_by_bit(client: OurClient) -> None:
    echoes(client)


def test_every_value_comes_back_to_their_client_bit_by_bit(apache_client: ApacheClient) -> None:
    echoes(apache_client)


@pytest.mark.parametrize("protocol", ["binary", "compact"])
@pytest.mark.parametrize("framing", ["framed", "buffered"])
def test_every_value_with_their_pure_python(framing: str, protocol: str, handler: EchoHandler) -> None:
    with (
        apache_server(handler, framing, protocol, accelerated=False) as address,
        our_client("sync", idl.Echo, address, framing=framing, protocol=protocol) as ours,
    ):
        echoes(ours)
    with (
        our_server("sync", idl.Echo, handler) as address,
        ApacheClient(address, framing, protocol, accelerated=False) as theirs,
    ):
        echoes(theirs)


def everything_else(client: Any, handler: EchoHandler, application_exception: type[Exception]) -> None:
    assert client.subtract(5, 7) == -2
    assert client.nothing() is None
    assert client.check(True) is None
    with pytest.raises(base.Refused) as refused:
        client.fail("refused", "ünï")
    assert (refused.value.why, refused.value.code) == ("ünï", -7)
    with pytest.raises(idl.Overloaded) as overloaded:
        client.fail("overloaded", "ünï")
    assert (overloaded.value.limit, overloaded.value.detail) == (2**40, "ünï".encode())
    with pytest.raises(base.Refused, match="not good"):
        client.check(False)
    with pytest.raises(base.Refused) as inherited:
        client.tag(base.Tag(key="refuse", value="why"))
    assert (inherited.value.why, inherited.value.code) == ("why", 1)
    with pytest.raises(application_exception) as undeclared:
        client.undeclared("secret")
    assert undeclared.value.type == TApplicationException.INTERNAL_ERROR
    assert "secret" not in str(undeclared.value)
    assert client.fire("shot") is None
    assert handler.got_fire.wait(5)
    wait_until(lambda: handler.fires == ["shot"])
    assert client.ping("still here") == "still here"


def test_exceptions_void_and_oneway_of_their_server(client: OurClient, handler: EchoHandler) -> None:
    everything_else(client, handler, TApplicationException)


def test_exceptions_void_and_oneway_for_their_client(
    apache_client: ApacheClient, handler: EchoHandler, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, "pyrpc_xds.thrift"):
        everything_else(apache_client, handler, thrift.TApplicationException)


@pytest.mark.parametrize(("kind", "framing", "protocol"), FORMS)
def test_method_that_their_server_has_not(
    kind: str, framing: str, protocol: str, handler: EchoHandler
) -> None:
    other = load_fp(io.StringIO("service Echo { string other(1: string text) }"), "interop_other_thrift")
    with (
        apache_server(handler, framing, protocol) as address,
        our_client(kind, other.Echo, address, framing=framing, protocol=protocol) as client,
        pytest.raises(TApplicationException, match="Unknown function other") as error,
    ):
        client.other("x")
    assert error.value.type == TApplicationException.UNKNOWN_METHOD


@pytest.mark.parametrize(("kind", "framing", "protocol"), FORMS)
def test_method_that_our_server_has_not(kind: str, framing: str, protocol: str, handler: EchoHandler) -> None:
    with (
        our_server(kind, base.Base, handler) as address,
        ApacheClient(address, framing, protocol) as client,
    ):
        with pytest.raises(thrift.TApplicationException, match="echoBool") as error:
            client.echoBool(True)
        assert error.value.type == TApplicationException.UNKNOWN_METHOD
        assert client.ping("still here") == "still here"


def test_absent_fields_stay_absent(client: OurClient) -> None:
    # Unlike Go, Python has absent scalars on both sides.
    for cls, method in ((idl.Scalars, "echoScalars"), (idl.Containers, "echoContainers")):
        assert exact(cls, getattr(client, method)(cls())) == exact(cls, cls())


def test_deadline_ends_the_call_and_the_late_answer_goes_to_nobody(client: OurClient) -> None:
    with pytest.raises(ThriftDeadlineExceeded):
        client.with_options(timeout=0.15).sleep(400)
    for number in range(5):
        assert client.ping(f"text {number}") == f"text {number}"


def test_thousand_calls_at_once_each_get_their_own_answer(client: OurClient) -> None:
    calls = [("ping", (f"caller {number}" * (number % 50),)) for number in range(1000)]
    assert client.at_once(calls, 20) == [args[0] for _, args in calls]


@pytest.mark.parametrize("framing", ["framed", "buffered"])
@pytest.mark.parametrize("kind", KINDS)
def test_binary_without_version_from_their_client(kind: str, framing: str, handler: EchoHandler) -> None:
    with (
        our_server(kind, idl.Echo, handler) as address,
        ApacheClient(address, framing, "binary", strict=False) as client,
    ):
        echoes(client)


@pytest.mark.parametrize("kind", KINDS)
def test_their_clients_of_every_form_on_one_port(kind: str, handler: EchoHandler, accelerated: bool) -> None:
    with our_server(kind, idl.Echo, handler) as address:
        for framing, protocol in sorted({form[1:] for form in FORMS}):
            with ApacheClient(address, framing, protocol, accelerated=accelerated) as client:
                assert client.ping(f"{framing} {protocol}") == f"{framing} {protocol}"


@pytest.mark.parametrize(("kind", "framing", "protocol"), FORMS)
def test_services_that_their_client_multiplexes(
    kind: str, framing: str, protocol: str, handler: EchoHandler
) -> None:
    class Louder(EchoHandler):
        def ping(self, text: str) -> str:
            return text.upper()

    with our_server(kind, idl.Echo, handler, services={"louder": (idl.Echo, Louder())}) as address:
        for name, answer in ((None, "text"), ("Echo", "text"), ("louder", "TEXT")):
            with ApacheClient(address, framing, protocol, multiplexed=name) as client:
                assert client.ping("text") == answer
        with (
            ApacheClient(address, framing, protocol, multiplexed="other") as client,
            pytest.raises(thrift.TApplicationException) as error,
        ):
            client.ping("text")
    assert error.value.type == TApplicationException.UNKNOWN_METHOD


# -- what THeader carries ---------------------------------------------------------------------------------------

HEADER_FORMS = [form for form in FORMS if form[1].startswith("theader")]


@pytest.mark.parametrize("client", HEADER_FORMS, indirect=True, ids="-".join)
def test_attachments_are_their_servers_headers(
    client: OurClient, handler: EchoHandler, arrived: list[dict[str, str]]
) -> None:
    with attachments({"user": "admin"}), attachments({"lane": "dev"}, persistent=True):
        client.ping("x")
    client.ping("x")
    client.ping("so that the headers of the call before have been noted")
    # Persistent ones under Kitex's name as well, for servers that know it.
    assert arrived[:2] == [{"user": "admin", "lane": "dev", "RPC_PERSIST_lane": "dev"}, {}]


@pytest.mark.parametrize(("kind", "framing", "protocol"), HEADER_FORMS)
def test_headers_of_their_server_come_with_the_answer(
    kind: str, framing: str, protocol: str, handler: EchoHandler
) -> None:
    with (
        apache_server(handler, framing, protocol, headers={"back": "é"}) as address,
        our_client(kind, idl.Echo, address, framing=framing, protocol=protocol) as client,
    ):
        with reply_metadata() as reply:
            client.ping("x")
        assert reply.backward == {"back": "é"}


class HeaderHandler(EchoHandler):
    """Keeps what comes with calls, and sends something back."""

    def __init__(self) -> None:
        super().__init__()
        self.incoming: list[dict[str, str]] = []

    def ping(self, text: str) -> str:
        self.incoming.append(dict(incoming_attachments()))
        current_call().set_backward({"BACK": "é"})
        return text


@pytest.mark.parametrize(("kind", "framing", "protocol"), HEADER_FORMS)
def test_headers_of_their_client_are_attachments_and_backward_ones_its_headers(
    kind: str, framing: str, protocol: str
) -> None:
    handler = HeaderHandler()
    with our_server(kind, idl.Echo, handler) as address, ApacheClient(address, framing, protocol) as client:
        client.headers = {"User": "admin", "lane": "é"}
        assert client.ping("x") == "x"
        assert client.received == {"BACK": "é"}
        client.headers = {}
        assert client.echoI32(1) == 1
        assert client.received == {}
    assert handler.incoming == [{"user": "admin", "lane": "é"}]


# -- the peer itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["binary", "compact"])
@pytest.mark.parametrize("framing", ["theader", "theader-zlib"])
def test_peers_theader_carries_values_and_headers_both_ways(
    protocol: str, framing: str, handler: EchoHandler
) -> None:
    arrived: list[dict[str, str]] = []
    with (
        apache_server(
            handler, framing, protocol, headers={"back": "é"}, on_headers=arrived.append
        ) as address,
        ApacheClient(address, framing, protocol) as client,
    ):
        client.headers = {"user": "admin"}
        echoes(client)
        assert client.received == {"back": "é"}
    assert arrived and all(each == {"user": "admin"} for each in arrived)


@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_peers_multiplexed_service(protocol: str, handler: EchoHandler) -> None:
    with (
        apache_server(handler, "framed", protocol, multiplexed="Echo") as address,
        ApacheClient(address, "framed", protocol, multiplexed="Echo") as client,
    ):
        assert client.ping("x") == "x"
