"""One ADS stream's state: subscriptions, nonces, what is sent and what is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pyrpc_xds.controlplane.names import NodeView
from pyrpc_xds.controlplane.session import Request, Response, Session
from pyrpc_xds.controlplane.wire import CLUSTER, ENDPOINT, LISTENER, ROUTE

NODE = NodeView("default", "default.svc.cluster.local", addresses=("127.0.0.1",))


class Source:
    """Resources by type and name, under one version."""

    def __init__(self, version: str, resources: dict[tuple[str, str], bytes]) -> None:
        self.version = version
        self._resources = resources

    def resources(self, type_url: str, node: NodeView, name: str) -> Mapping[str, bytes]:
        value = self._resources.get((type_url, name))
        return {} if value is None else {name: value}

    def every_name(self, type_url: str, node: NodeView) -> tuple[str, ...]:
        return tuple(name for url, name in self._resources if url == type_url == LISTENER)


def source(version: str, **changed: bytes) -> Source:
    values = {"a": b"a1", "b": b"b1", **changed}
    urls = (LISTENER, ROUTE, CLUSTER, ENDPOINT)
    return Source(version, {(url, name): value for url in urls for name, value in values.items() if value})


def only(responses: list[Response]) -> Response:
    assert len(responses) == 1
    return responses[0]


def ack(response: Response, *names: str, error: str | None = None) -> Request:
    return Request(response.type_url, names, response.nonce, response.version, error)


def subscribed(session: Session, type_url: str, *names: str) -> Response:
    """Subscribe and acknowledge."""
    response = only(session.receive(Request(type_url, names)))
    assert session.receive(ack(response, *names)) == []
    return response


def test_first_request_is_answered_with_what_there_is() -> None:
    session = Session(NODE, source("v1"))
    response = only(session.receive(Request(CLUSTER, ("a", "nosuch"))))
    assert (response.type_url, response.version, response.resources) == (CLUSTER, "v1", {"a": b"a1"})


@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER, ROUTE, ENDPOINT])
def test_first_request_for_nothing_that_exists_is_answered_at_once(type_url: str) -> None:
    session = Session(NODE, source("v1"))
    assert only(session.receive(Request(type_url, ("nosuch",)))).resources == {}


@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER])
def test_a_further_name_that_does_not_exist_is_answered_too(type_url: str) -> None:
    session = Session(NODE, source("v1"))
    response = subscribed(session, type_url, "a")
    answer = only(session.receive(ack(response, "a", "nosuch")))
    assert answer.resources == {"a": b"a1"}


def test_an_acknowledgement_is_not_answered() -> None:
    session = Session(NODE, source("v1"))
    response = only(session.receive(Request(CLUSTER, ("a",))))
    assert session.receive(ack(response, "a")) == []
    assert session.status()["CDS"].acked == 1


def test_a_refusal_is_recorded_and_not_answered() -> None:
    session = Session(NODE, source("v1"))
    response = only(session.receive(Request(CLUSTER, ("a",))))
    assert session.receive(ack(response, "a", error="no")) == []
    status = session.status()["CDS"]
    assert (status.acked, status.nacked, status.error, status.version_acked) == (0, 1, "no", "")
    answer = only(session.update(source("v2", a=b"a2")))
    session.receive(ack(answer, "a"))
    status = session.status()["CDS"]
    assert (status.acked, status.nacked, status.error, status.version_acked) == (1, 1, "", "v2")


def test_a_refusal_that_also_changes_the_names_is_answered_for_the_new_ones() -> None:
    session = Session(NODE, source("v1"))
    response = only(session.receive(Request(ENDPOINT, ("a",))))
    assert only(session.receive(ack(response, "a", "b", error="no"))).resources == {"b": b"b1"}


def test_a_stale_nonce_is_ignored() -> None:
    session = Session(NODE, source("v1"))
    first = subscribed(session, CLUSTER, "a")
    second = only(session.update(source("v2", a=b"a2")))
    assert session.receive(ack(first, "a", "b")) == []
    assert session.status()["CDS"].subscribed == ("a",)
    assert session.status()["CDS"].acked == 1
    assert only(session.receive(ack(second, "a", "b"))).resources == {"a": b"a2", "b": b"b1"}


def test_listeners_and_clusters_are_sent_whole_routes_and_endpoints_as_far_as_new() -> None:
    for type_url, expected in (
        (LISTENER, {"a": b"a1", "b": b"b1"}),
        (CLUSTER, {"a": b"a1", "b": b"b1"}),
        (ROUTE, {"b": b"b1"}),
        (ENDPOINT, {"b": b"b1"}),
    ):
        session = Session(NODE, source("v1"))
        response = subscribed(session, type_url, "a")
        assert only(session.receive(ack(response, "a", "b"))).resources == expected


def test_what_has_not_changed_is_not_sent_again() -> None:
    session = Session(NODE, source("v1"))
    for type_url in (LISTENER, ROUTE, CLUSTER, ENDPOINT):
        subscribed(session, type_url, "a", "b")
    assert session.update(source("v2")) == []
    responses = session.update(source("v3", b=b"b3"))
    assert [response.type_url for response in responses] == [CLUSTER, ENDPOINT, LISTENER, ROUTE]
    assert [dict(response.resources) for response in responses] == [
        {"a": b"a1", "b": b"b3"},
        {"b": b"b3"},
        {"a": b"a1", "b": b"b3"},
        {"b": b"b3"},
    ]


def test_a_cluster_that_goes_is_left_out_of_the_whole() -> None:
    session = Session(NODE, source("v1"))
    subscribed(session, CLUSTER, "a", "b")
    assert only(session.update(source("v2", b=b""))).resources == {"a": b"a1"}


def test_a_cluster_that_comes_back_is_sent_again() -> None:
    session = Session(NODE, source("v1"))
    subscribed(session, CLUSTER, "a")
    gone = only(session.update(source("v2", a=b"")))
    session.receive(ack(gone, "a"))
    assert only(session.update(source("v3"))).resources == {"a": b"a1"}


def test_an_endpoint_resource_that_goes_sends_nothing() -> None:
    session = Session(NODE, source("v1"))
    subscribed(session, ENDPOINT, "a", "b")
    assert session.update(source("v2", b=b"")) == []


def test_nothing_more_of_a_type_is_sent_before_the_answer_and_then_only_the_newest() -> None:
    session = Session(NODE, source("v1"))
    first = only(session.receive(Request(ENDPOINT, ("a",))))
    assert session.update(source("v2", a=b"a2")) == []
    assert session.update(source("v3", a=b"a3")) == []
    response = only(session.receive(ack(first, "a")))
    assert (response.version, response.resources) == ("v3", {"a": b"a3"})


def test_a_change_that_was_taken_back_before_the_answer_is_not_sent() -> None:
    session = Session(NODE, source("v1"))
    first = only(session.receive(Request(ENDPOINT, ("a",))))
    session.update(source("v2", a=b"a2"))
    session.update(source("v3"))
    assert session.receive(ack(first, "a")) == []


def test_a_name_that_was_dropped_and_asked_for_again_is_sent_again() -> None:
    session = Session(NODE, source("v1"))
    response = subscribed(session, ENDPOINT, "a", "b")
    assert session.receive(ack(response, "a")) == []
    assert only(session.receive(ack(response, "a", "b"))).resources == {"b": b"b1"}


def test_a_request_without_nonce_begins_the_subscription_anew() -> None:
    session = Session(NODE, source("v1"))
    subscribed(session, ENDPOINT, "a")
    assert only(session.receive(Request(ENDPOINT, ("a",), version="v1"))).resources == {"a": b"a1"}


def test_an_empty_first_request_is_for_all_listeners_and_for_no_clusters() -> None:
    session = Session(NODE, source("v1"))
    assert only(session.receive(Request(LISTENER))).resources == {"a": b"a1", "b": b"b1"}
    assert only(session.receive(Request(CLUSTER))).resources == {}
    assert session.receive(Request(ENDPOINT)) == []


def test_an_empty_request_after_names_is_for_nothing() -> None:
    session = Session(NODE, source("v1"))
    response = subscribed(session, LISTENER, "a")
    assert session.receive(ack(response)) == []
    assert session.update(source("v2", a=b"a2")) == []


def test_another_type_is_ignored() -> None:
    session = Session(NODE, source("v1"))
    assert session.receive(Request("type.googleapis.com/unknown", ("a",))) == []
    assert session.status() == {}


def test_nonces_differ() -> None:
    session = Session(NODE, source("v1"))
    nonces = {
        only(session.receive(Request(url, ("a",)))).nonce for url in (LISTENER, ROUTE, CLUSTER, ENDPOINT)
    }
    assert len(nonces) == 4
