"""Our Thrift clients call a real Kitex server, over every transport; what headers carry: test_kitex_ttheader.py."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.parser import load_fp
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TTransportException

from pyrpc_xds.errors import RemoteProtocolError
from pyrpc_xds.transports.thrift import ThriftDeadlineExceeded, ThriftUnavailable
from tests.interop.peers import echo
from tests.interop.peers.echo import ECHOES, base, exact, exact_result, idl
from tests.interop.peers.kitex import KitexServer, skip_reason
from tests.interop.peers.ours import KINDS, OurClient, our_client
from tests.unit.transports.thrift.peers import wait_until

pytestmark = pytest.mark.interop

FRAMINGS = ("framed", "buffered", "ttheader", "ttheader-framed")
PAIRS = [(kind, framing) for kind in KINDS for framing in FRAMINGS]
HEADERLESS = [pair for pair in PAIRS if not pair[1].startswith("ttheader")]


@pytest.fixture(scope="module")
def kitex() -> Iterator[KitexServer]:
    if reason := skip_reason():
        pytest.skip(reason)
    with KitexServer() as server:
        yield server


@pytest.fixture(params=PAIRS, ids="-".join)
def client(request: pytest.FixtureRequest, kitex: KitexServer) -> Iterator[OurClient]:
    kind, framing = request.param
    with our_client(kind, idl.Echo, kitex.address, framing=framing) as client:
        yield client


@pytest.mark.parametrize("method", ECHOES)
def test_every_value_comes_back_bit_by_bit(client: OurClient, method: str) -> None:
    for value in ECHOES[method]:
        assert exact_result(method, getattr(client, method)(value)) == exact_result(method, value)


def test_kitex_reads_the_values_that_we_mean(client: OurClient) -> None:
    for value in (echo.everything(), *map(echo.random_everything, range(100))):
        described = json.loads(client.describe(value))
        assert exact(idl.Everything, echo.struct_from_json(idl.Everything, described)) == exact(
            idl.Everything, value
        )
        assert exact(idl.Everything, client.echoEverything(value)) == exact(idl.Everything, value)


def test_arguments_are_told_apart_by_name_and_place(client: OurClient) -> None:
    assert client.subtract(5, 7) == -2
    assert client.subtract(right=5, left=7) == 2
    assert client.subtract(-(2**63), 0) == -(2**63)


def test_void(client: OurClient) -> None:
    assert client.nothing() is None
    assert client.check(True) is None


def test_absent_fields_come_back_as_gos_zero_values(client: OurClient) -> None:
    # Go has no absent scalar: a field that is neither required nor optional is always written.
    assert exact(idl.Scalars, client.echoScalars(idl.Scalars())) == exact(
        idl.Scalars,
        idl.Scalars(
            truth=False, octet=0, small=0, middle=0, large=0, real=0.0, text="", blob=b"", color=0, id=0
        ),
    )
    assert exact(idl.Containers, client.echoContainers(idl.Containers())) == exact(
        idl.Containers, echo.empty_containers()
    )


def test_default_values_are_filled_in_on_both_sides(client: OurClient) -> None:
    answer = client.echoPresence(echo.presence())
    assert (answer.named, answer.counted, answer.highest) == ("unnamed", 7, 2147483647)
    unset = echo.presence(named=None, counted=None, highest=None)
    answer = client.echoPresence(unset)
    assert (answer.named, answer.counted, answer.highest) == ("unnamed", 7, 2147483647)
    assert (answer.maybe, answer.listed, answer.tag) == (None, None, None)


def test_missing_required_field_is_an_error_that_names_it(client: OurClient) -> None:
    with pytest.raises(TApplicationException, match="needed") as error:
        client.echoPresence(echo.presence(needed=None))
    assert error.value.type == TApplicationException.PROTOCOL_ERROR
    # Kitex closes a connection without frames after this: a call may meet the end of it, the next does not.
    with contextlib.suppress(ThriftUnavailable):
        client.ping("x")
    assert client.ping("still here") == "still here"


def test_declared_exceptions(client: OurClient) -> None:
    with pytest.raises(base.Refused) as refused:
        client.fail("refused", "ünï")
    assert (refused.value.why, refused.value.code) == ("ünï", -7)
    with pytest.raises(idl.Overloaded) as overloaded:
        client.fail("overloaded", "ünï")
    assert (overloaded.value.limit, overloaded.value.detail) == (2**40, "ünï".encode())
    assert client.fail("not at all", "text") == "text"
    with pytest.raises(base.Refused, match="not good"):
        client.check(False)
    with pytest.raises(base.Refused) as inherited:
        client.tag(base.Tag(key="refuse", value="why"))
    assert (inherited.value.why, inherited.value.code) == ("why", 1)


def test_undeclared_error_is_an_application_exception_and_the_connection_stays(client: OurClient) -> None:
    with pytest.raises(TApplicationException, match="undeclared ünï") as error:
        client.undeclared("ünï")
    assert error.value.type == TApplicationException.INTERNAL_ERROR
    assert client.ping("still here") == "still here"


def test_panic_is_an_application_exception_and_the_connection_stays(client: OurClient) -> None:
    with pytest.raises(TApplicationException, match="panic ünï") as error:
        client.panics("ünï")
    assert error.value.type == TApplicationException.INTERNAL_ERROR
    assert client.ping("still here") == "still here"


@pytest.mark.parametrize(("kind", "framing"), PAIRS)
def test_method_that_kitex_has_not(kind: str, framing: str, kitex: KitexServer) -> None:
    other = load_fp(io.StringIO("service Echo { string other(1: string text) }"), "interop_other_thrift")
    with (
        our_client(kind, other.Echo, kitex.address, framing=framing) as client,
        pytest.raises(TApplicationException, match="unknown method other") as error,
    ):
        client.other("x")
    assert error.value.type == TApplicationException.UNKNOWN_METHOD


def test_oneway(client: OurClient) -> None:
    client.fired()
    for number in range(20):
        assert client.fire(f"shot {number}") is None
    arrived: list[str] = []
    wait_until(lambda: len(arrived.extend(client.fired()) or arrived) == 20)
    assert sorted(arrived) == sorted(f"shot {number}" for number in range(20))


@pytest.mark.parametrize("client", HEADERLESS, indirect=True, ids="-".join)
def test_deadline_ends_the_call_and_the_late_answer_goes_to_nobody(client: OurClient) -> None:
    hurried = client.with_options(timeout=0.15)
    with pytest.raises(ThriftDeadlineExceeded):
        hurried.sleep(600)
    for number in range(5):
        assert client.ping(f"text {number}") == f"text {number}"
    assert client.sleep(1) == "slept"


def test_thousand_calls_at_once_each_get_their_own_answer(client: OurClient) -> None:
    calls = [("ping", (f"caller {number}" * (number % 50),)) for number in range(1000)]
    assert client.at_once(calls, 100) == [args[0] for _, args in calls]


def test_different_methods_at_once_each_get_their_own_answer(client: OurClient) -> None:
    cases = [(method, value) for method, values in ECHOES.items() for value in values]
    calls = list(itertools.islice(itertools.cycle(cases), 300))
    answers = client.at_once([(method, (value,)) for method, value in calls], 16)
    for (method, value), answer in zip(calls, answers, strict=True):
        assert exact_result(method, answer) == exact_result(method, value)


def test_large_values(client: OurClient) -> None:
    text = "é" * 3_000_000
    assert client.echoString(text) == text
    blob = bytes(range(256)) * 30_000
    assert client.echoBinary(blob) == blob


@pytest.mark.parametrize(("kind", "framing"), PAIRS)
def test_compact_which_kitex_does_not_speak_ends_the_connection(
    kind: str, framing: str, kitex: KitexServer
) -> None:
    with (
        our_client(kind, idl.Echo, kitex.address, framing=framing, protocol="compact") as client,
        pytest.raises((ThriftUnavailable, RemoteProtocolError)),
    ):
        client.ping("x")


@pytest.mark.parametrize(("kind", "framing"), PAIRS)
def test_server_that_ends_makes_calls_unavailable(kind: str, framing: str, kitex: KitexServer) -> None:
    with KitexServer() as other, our_client(kind, idl.Echo, other.address, framing=framing) as client:
        assert client.ping("x") == "x"
        other.stop()
        with pytest.raises(ThriftUnavailable) as error:
            client.ping("x")
        assert other.address in str(error.value)


@pytest.mark.parametrize(("kind", "framing"), PAIRS)
def test_server_that_ends_in_mid_call_leaves_its_fate_open(
    kind: str, framing: str, kitex: KitexServer
) -> None:
    with KitexServer() as other, our_client(kind, idl.Echo, other.address, framing=framing) as client:
        assert client.ping("x") == "x"
        ending = threading.Timer(0.2, other.stop)
        ending.start()
        with pytest.raises(ThriftUnavailable, match="may have run") as error:
            client.sleep(8000)
        assert error.value.type == TTransportException.END_OF_FILE
        ending.join()


@pytest.mark.parametrize("client", HEADERLESS, indirect=True, ids="-".join)
def test_business_status_is_lost_without_a_header(client: OurClient) -> None:
    # Kitex answers with an empty result, and Thrift has a word for that.
    with pytest.raises(TApplicationException) as error:
        client.biz(5, "message", {"k": "v"})
    assert error.value.type == TApplicationException.MISSING_RESULT


@pytest.mark.parametrize("client", HEADERLESS, indirect=True, ids="-".join)
def test_kitex_sees_no_metadata_without_a_header(client: OurClient) -> None:
    seen: Any = client.with_options(attachments={"user": "admin"}).seen()
    assert (seen.transients, seen.persistents, seen.ints, seen.strings) == ({}, {}, {}, {})
    assert seen.remainingMs == -1
    assert seen.transport in {"Framed", "PurePayload"}
