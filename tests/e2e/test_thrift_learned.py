"""Clients that learn from the control plane in which form an endpoint takes messages: threads, asyncio, multiplexed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.transport import TFramedTransportFactory

from pyrpc_xds.attachments import attachments
from pyrpc_xds.errors import UsageError
from pyrpc_xds.model.thrift_form import NOT_SAID, ThriftForm, ThriftForms
from pyrpc_xds.transports.thrift import PoolLimits, ThriftTransport, ThriftUnavailable, current_call
from pyrpc_xds.transports.thrift.connection import Connection
from pyrpc_xds.transports.thrift.learned import Forms
from pyrpc_xds.transports.thrift.wire import FRAMINGS, PROTOCOLS
from tests.interop.peers.ours import KINDS, OurClient, our_client, our_server
from tests.unit.transports.thrift.fakes import FakeCluster, FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl

USUAL = ThriftForm("buffered", "binary")
# A message in a TTHeader frame has a version, or a length of its own.
FORMS = [
    ThriftForm(framing, protocol)
    for framing in FRAMINGS
    for protocol in PROTOCOLS
    if (framing, protocol) != ("ttheader", "lax-binary")
]


class Named(Handler):
    """Answers ``ping`` with its name and the user who calls, as far as the form carries that.

    :param form: the header says it.
    """

    def __init__(self, name: str, form: ThriftForm | None = None) -> None:
        super().__init__()
        self.name = name
        self.form = form

    def ping(self, text: str) -> str:
        self.calls += 1
        call = current_call()
        if self.form is not None and call.header is not None:
            assert call.header.framed == (self.form.framing == "ttheader-framed")
            assert bool(call.header.transforms) == (self.form.framing == "theader-zlib")
        return f"{self.name} {call.incoming.get('user', '-')}"


@contextlib.contextmanager
def server_of(form: ThriftForm) -> Iterator[str]:
    """A server that takes this form and no other; its address."""
    handler = Named(str(form), form)
    protocol = form.protocol.removeprefix("lax-")
    with our_server("sync", idl.Everything, handler, framing=form.framing, protocol=protocol) as address:
        yield address


@contextlib.contextmanager
def client_of(
    kind: str, said: dict[str, ThriftForm], cluster: ThriftForm = NOT_SAID, **options: Any
) -> Iterator[tuple[OurClient, FakeCluster]]:
    """A client of these endpoints, of which the control plane says this.

    :param said: by address; an open form is not said.
    """
    forms = tuple((address, form) for address, form in said.items() if form != NOT_SAID)
    with our_client(kind, idl.Everything, *said, **options) as client:
        found = client.raw._caller._router.snapshot.destination.cluster
        if forms or cluster != NOT_SAID:
            found.thrift_forms = ThriftForms(cluster, forms)
        yield client, found


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_form_of_a_cluster_is_spoken(kind: str, form: ThriftForm) -> None:
    with server_of(form) as address, client_of(kind, {address: NOT_SAID}, form) as (client, _):
        for _ in range(2):
            with attachments({"user": "admin"}):
                user = "admin" if "header" in form.framing else "-"
                assert client.ping("x") == f"{form} {user}"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_said_is_the_usual_form(kind: str) -> None:
    with server_of(USUAL) as address, client_of(kind, {address: NOT_SAID}) as (client, cluster):
        assert client.ping("x") == f"{USUAL} -"
        assert "[buffered binary]" in repr(cluster.endpoints[0].connection)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("multiplexed", [0, 1])
def test_endpoints_of_every_form_are_called_by_one_client(kind: str, multiplexed: int) -> None:
    with contextlib.ExitStack() as stack:
        forms = {stack.enter_context(server_of(form)): form for form in FORMS}
        client, cluster = stack.enter_context(
            client_of(kind, forms, pool=PoolLimits(multiplexed=multiplexed), timeout=20.0)
        )
        answers = client.at_once([("ping", ("x",))] * (20 * len(FORMS)), 8)
        assert set(answers) == {f"{form} -" for form in FORMS}
        with attachments({"user": "admin"}):
            users = {client.ping("x") for _ in range(2 * len(FORMS))}
        assert users == {f"{form} {'admin' if 'header' in form.framing else '-'}" for form in FORMS}
        for endpoint in cluster.endpoints:
            form = forms[endpoint.address]
            pool = endpoint.connection
            if form != USUAL:
                pool = pool.others.of(Forms(*form).usual)
            assert f"[{form}]" in repr(pool)
            shared = multiplexed and form.framing.startswith("ttheader")
            assert not shared or "MuxPool" in repr(pool) or " 1 open" in repr(pool), repr(pool)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("said", "cluster", "options", "spoken"),
    [
        (ThriftForm("ttheader", "compact"), ThriftForm("framed", "binary"), {}, "ttheader compact"),
        (ThriftForm("ttheader"), ThriftForm("framed", "compact"), {}, "ttheader compact"),
        (NOT_SAID, ThriftForm("framed"), {}, "framed binary"),
        (ThriftForm("ttheader"), ThriftForm("", "compact"), {"framing": "framed"}, "framed compact"),
        (ThriftForm("framed", "compact"), NOT_SAID, {"protocol": "binary"}, "framed binary"),
        (
            ThriftForm("ttheader", "compact"),
            NOT_SAID,
            {"framing": "buffered", "protocol": "binary"},
            "buffered binary",
        ),
        (
            ThriftForm("ttheader", "compact"),
            NOT_SAID,
            {"trans_factory": TFramedTransportFactory()},
            "framed compact",
        ),
        (
            ThriftForm("ttheader", "compact"),
            NOT_SAID,
            {"proto_factory": TBinaryProtocolFactory()},
            "ttheader binary",
        ),
    ],
)
def test_argument_goes_before_endpoint_before_cluster_before_the_usual(
    kind: str, said: ThriftForm, cluster: ThriftForm, options: dict[str, Any], spoken: str
) -> None:
    with (
        server_of(ThriftForm(*spoken.split())) as address,
        client_of(kind, {address: said}, cluster, **options) as (client, _),
    ):
        assert client.ping("x") == f"{spoken} -"


@pytest.mark.parametrize("kind", KINDS)
def test_form_that_changes_is_spoken_from_the_next_call_on(kind: str) -> None:
    with (
        our_server("sync", idl.Everything, Named("any")) as address,
        client_of(kind, {address: NOT_SAID}) as (client, cluster),
        attachments({"user": "admin"}),
    ):
        assert client.ping("x") == "any -"
        cluster.thrift_forms = ThriftForms(ThriftForm("ttheader"), ())
        assert client.ping("x") == "any admin"
        cluster.thrift_forms = None
        assert client.ping("x") == "any -"


@pytest.mark.parametrize("kind", KINDS)
def test_failover_to_an_endpoint_of_another_form_speaks_that_one(kind: str) -> None:
    gone = "127.0.0.1:1"
    with server_of(ThriftForm("ttheader", "compact")) as address:
        said = {gone: ThriftForm("framed"), address: ThriftForm("ttheader", "compact")}
        with client_of(kind, said) as (client, cluster):
            cluster.endpoints[1].failures = 1
            assert client.ping("x") == "ttheader compact -"
            assert cluster.endpoints[0].failures == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ThriftForm("ttheader", "binary"), ThriftForm("framed", "compact")),
        (ThriftForm("framed", "compact"), ThriftForm("ttheader", "binary")),
        (ThriftForm("buffered", "binary"), ThriftForm("ttheader-framed", "compact")),
    ],
    ids=str,
)
def test_call_whose_connection_broke_before_it_began_is_encoded_again_for_another_form(
    kind: str, first: ThriftForm, second: ThriftForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(server_of(second))
        with server_of(first) as leaving:
            client, cluster = stack.enter_context(client_of(kind, {leaving: first, there: second}))
            cluster.endpoints[1].failures = 1
            assert client.ping("x") == f"{first} -"
            pool = cluster.endpoints[0].connection
            if first != USUAL:
                pool = pool.others.of(Forms(*first).usual)
            if kind == "sync":
                # The look at an idle connection does not see it, and the first byte does not leave.
                pool._idle[0]._sock.shutdown(1)
                monkeypatch.setattr(Connection, "fresh", lambda self: True)
            else:
                (part,) = pool._loops.values()
                part.idle[0].abort()
                part.idle[0].fresh = True
                monkeypatch.setattr(part, "take_idle", lambda: part.idle.pop() if part.idle else None)
        with attachments({"user": "admin"}):
            user = "admin" if "header" in second.framing else "-"
            assert client.ping("x") == f"{second} {user}"
        assert cluster.endpoints[0].failures == 1


@pytest.mark.parametrize("kind", KINDS)
def test_pools_of_all_forms_leave_with_their_endpoint(kind: str) -> None:
    with (
        our_server("sync", idl.Everything, Named("any")) as address,
        client_of(kind, {address: ThriftForm("ttheader")}) as (client, cluster),
    ):
        assert client.ping("x")
        pool = cluster.endpoints[0].connection
        learned = pool.others.of(Forms("ttheader").usual)
        assert "1 open" in repr(learned)
        pool.drain()
        assert repr(learned).endswith("closed>")
        late = pool.others.of(Forms("framed").usual)
        assert repr(late).endswith("closed>")


def test_lax_binary_is_binary_without_a_version() -> None:
    for framing in ("framed", "buffered", "ttheader-framed", "theader"):
        assert not Forms().wire(ThriftForm(framing, "lax-binary")).strict
    assert Forms().wire(ThriftForm("framed", "binary")).strict


def test_lax_binary_said_of_a_ttheader_server_is_binary_with_a_version() -> None:
    form = ThriftForm("ttheader", "lax-binary")
    assert Forms().wire(form).strict
    with (
        server_of(ThriftForm("ttheader", "binary")) as address,
        client_of("sync", {address: form}) as (client, _),
    ):
        assert client.ping("x") == "ttheader binary -"


def test_learning_clients_share_pools_and_explicit_ones_with_them() -> None:
    mesh = FakeMesh("127.0.0.1:1")
    transport = ThriftTransport(mesh)
    for options in ({}, {"framing": "buffered"}, {"framing": "buffered", "protocol": "binary"}):
        transport.client(idl.Everything, "x:1", **options).close()
    assert len({connector.key for connector in mesh.connectors}) == 1
    mesh.close()


@pytest.mark.parametrize("kind", KINDS)
def test_server_that_insists_on_another_form_than_is_said_refuses_and_the_error_names_the_form_sent(
    kind: str,
) -> None:
    """What the tests above rely on."""
    with (
        server_of(ThriftForm("ttheader", "binary")) as address,
        client_of(kind, {address: ThriftForm("framed", "compact")}) as (client, _),
        pytest.raises(
            ThriftUnavailable, match=r"the server closed the connection.* may not take framed compact"
        ),
    ):
        client.ping("x")


def test_calls_may_share_connections_where_the_framing_is_learned_and_not_where_it_is_given() -> None:
    transport = ThriftTransport(FakeMesh("127.0.0.1:1"))
    pool = PoolLimits(multiplexed=1)
    transport.client(idl.Everything, "x:1", pool=pool).close()
    for options in ({"framing": "framed"}, {"trans_factory": TFramedTransportFactory()}):
        with pytest.raises(UsageError, match="multiplexed=1: only ttheader"):
            transport.client(idl.Everything, "x:1", pool=pool, **options)


@pytest.mark.parametrize(
    "options", [{"framing": ""}, {"framing": "mesh"}, {"protocol": ""}, {"protocol": "json"}]
)
def test_name_of_no_form_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="it is one of"):
        ThriftTransport(FakeMesh("127.0.0.1:1")).client(idl.Everything, "x:1", **options)
