"""Our client and server against thriftpy2's own, over sockets, in every framing and protocol that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.thrift import TApplicationException

from pyrpc_xds.transports.thrift import ThriftTransport
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import FACTORIES, Handler, idl, thriftpy2_client, thriftpy2_server

PAIRS = list(FACTORIES)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture(params=PAIRS)
def ours_to_theirs(request: pytest.FixtureRequest, handler: Handler) -> Iterator[Any]:
    framing, protocol = request.param.split("-")[:2]
    with thriftpy2_server(request.param, handler) as address:
        mesh = FakeMesh(address)
        with ThriftTransport(mesh).client(
            idl.Everything, "x:1", framing=framing, protocol=protocol, timeout=5.0
        ) as client:
            yield client
        mesh.close()


@pytest.fixture(params=PAIRS)
def theirs_to_ours(request: pytest.FixtureRequest, handler: Handler) -> Iterator[Any]:
    mesh = FakeMesh()
    with (
        ThriftTransport(mesh).server(idl.Everything, handler, "127.0.0.1:0") as server,
        thriftpy2_client(request.param, server.address) as client,
    ):
        yield client


def item(depth: int = 3) -> Any:
    return idl.Item(
        name="Ünï" * 10,
        color=idl.Color.GREEN,
        parts=[item(depth - 1), item(depth - 1)] if depth else [],
        labels={1: "one", -2: "two"},
        marks=[1, 2**40],
        blob=b"\xff\x00\x80",
        shades={"a": [idl.Color.RED, idl.Color.GREEN], "b": []},
        weight=1.5,
        sound=True,
        tiny=-1,
        small=300,
    )


def exercise(client: Any, handler: Handler) -> None:
    assert client.ping("hello") == "hello"
    assert client.ping(text="") == ""
    assert client.nothing() is None
    assert client.no() is False
    assert client.echo(item()) == item()
    assert client.add(1, 2) == 3
    assert client.reverse({"a": "b"}) == {"b": "a"}
    assert client.ping("x" * 100_000) == "x" * 100_000
    with pytest.raises(idl.Refused) as refused:
        client.fail("refused")
    assert (refused.value.why, refused.value.code) == ("no", 3)
    with pytest.raises(idl.Busy) as busy:
        client.fail("busy")
    assert busy.value.limit == 2**40
    with pytest.raises(TApplicationException, match="said so") as said:
        client.fail("application")
    assert said.value.type == TApplicationException.PROTOCOL_ERROR
    assert client.check(True) is None
    with pytest.raises(idl.Refused):
        client.check(False)
    assert client.fire("shot") is None
    assert handler.got_fired.wait(5) and handler.fired == ["shot"]
    assert client.tclose() == "closed by IDL"
    assert client.ping("still here") == "still here"


def test_our_client_and_thriftpy2_server(ours_to_theirs: Any, handler: Handler) -> None:
    exercise(ours_to_theirs, handler)


def test_thriftpy2_client_and_our_server(theirs_to_ours: Any, handler: Handler) -> None:
    exercise(theirs_to_ours, handler)


def test_our_server_answers_undeclared_exceptions_and_keeps_the_connection(theirs_to_ours: Any) -> None:
    with pytest.raises(TApplicationException) as error:
        theirs_to_ours.undeclared("x")
    assert error.value.type == TApplicationException.INTERNAL_ERROR
    assert "secret" not in str(error.value)
    assert theirs_to_ours.ping("still here") == "still here"


@pytest.mark.parametrize("framing", ["framed", "buffered"])
@pytest.mark.parametrize("protocol", ["binary", "compact"])
def test_our_client_and_our_server(framing: str, protocol: str, handler: Handler) -> None:
    with ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0") as server:
        mesh = FakeMesh(server.address)
        with ThriftTransport(mesh).client(
            idl.Everything, "x:1", framing=framing, protocol=protocol, timeout=5.0
        ) as client:
            exercise(client, handler)
        mesh.close()


@pytest.mark.parametrize("pair", PAIRS)
def test_thriftpy2_factories_choose_the_form(pair: str, handler: Handler) -> None:
    trans_factory, proto_factory = FACTORIES[pair]
    with thriftpy2_server(pair, handler) as address:
        mesh = FakeMesh(address)
        with ThriftTransport(mesh).client(
            idl.Everything, "x:1", trans_factory=trans_factory, proto_factory=proto_factory, timeout=5.0
        ) as client:
            assert client.ping("hello") == "hello"
        mesh.close()


@pytest.mark.parametrize("pair", ["framed-binary", "buffered-binary"])
def test_binary_without_version_is_understood_and_answered_alike(pair: str, handler: Handler) -> None:
    from thriftpy2.protocol import TBinaryProtocolFactory

    FACTORIES["old"] = (FACTORIES[pair][0], TBinaryProtocolFactory(strict_read=False, strict_write=False))
    try:
        with (
            ThriftTransport(FakeMesh()).server(idl.Everything, handler, "127.0.0.1:0") as server,
            thriftpy2_client("old", server.address) as client,
        ):
            assert client.ping("hello") == "hello"
            assert client.echo(item()) == item()
    finally:
        del FACTORIES["old"]
