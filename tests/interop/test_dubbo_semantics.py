"""What Triple has above gRPC, against dubbo-go and Dubbo Java: group and version, business errors, attachments
in answers.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.peers import triple_semantics

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]


both_kinds = pytest.mark.parametrize("asyncio", [False, True], ids=["sync", "asyncio"])


def call(run: Any, client: str, asyncio: bool, name: str, **rest: Any) -> Any:
    wanted = {"kind": "unary", "names": [name], "retries": 0, **rest}
    return run(triple_semantics.call_ours, client, asyncio, wanted)


@both_kinds
@pytest.mark.parametrize("kind", ["unary", "server_stream"])
def test_plain_error_of_dubbo_go_is_a_business_error(go: Any, asyncio: bool, kind: str) -> None:
    found = go(triple_semantics.raised, "dubbo-go", kind, "plain:no such user", asyncio)
    assert found == ["TripleBusinessError", 17, "no such user", 2]


@both_kinds
def test_coded_error_of_dubbo_go_is_grpcs(go: Any, asyncio: bool) -> None:
    name, business, message, code = go(
        triple_semantics.raised, "dubbo-go", "unary", "error:9:not now", asyncio
    )
    assert (business, message, code) == (-1, "not now", 9)
    assert name != "TripleBusinessError"


@both_kinds
def test_exception_of_dubbo_java_keeps_its_message(java: Any, asyncio: bool) -> None:
    found = java(triple_semantics.raised, "dubbo-java", "unary", "plain:no such user", asyncio)
    assert (found[1], found[3]) == (-1, 2)
    assert "no such user" in found[2]


@both_kinds
@pytest.mark.parametrize("code", [17, 4711])
def test_business_error_of_ours_reaches_dubbo_go_with_its_code(go: Any, asyncio: bool, code: int) -> None:
    outcome = call(go, "dubbo-go", asyncio, f"business:{code}:no such user")
    assert (outcome["users"], outcome["code"], outcome["message"]) == ([], code, "no such user")


@both_kinds
@pytest.mark.parametrize("client", ["dubbo-go", "dubbo-java"])
def test_group_and_version_that_dubbo_asks_for_select_our_service(
    namespace: Any, request: pytest.FixtureRequest, client: str, asyncio: bool
) -> None:
    run = request.getfixturevalue(client.removeprefix("dubbo-"))
    ids = [
        call(run, client, asyncio, "Joe", **selected)["users"][0]["id"]
        for selected in ({}, {"group": "g1", "version": "1.0.0"}, {"version": "2.0.0"})
    ]
    assert ids == ["v1.0.0", "v1.0.0 g1/1.0.0", "v1.0.0 /2.0.0"]


@both_kinds
def test_version_that_ours_does_not_have_is_unimplemented_to_dubbo_go(go: Any, asyncio: bool) -> None:
    outcome = call(go, "dubbo-go", asyncio, "Joe", version="9.9.9")
    assert (outcome["users"], outcome["code"]) == ([], 12)
    assert "no implementation found for service group  and service version 9.9.9" in outcome["message"]


@pytest.mark.parametrize("server", ["dubbo-go", "dubbo-java"])
def test_group_and_version_of_our_channel_select_dubbos_service(
    namespace: Any, request: pytest.FixtureRequest, server: str
) -> None:
    run = request.getfixturevalue(server.removeprefix("dubbo-"))
    who = [
        run(triple_semantics.answered_with, server, "Joe", **selected)[0]
        for selected in ({}, {"group": "g1", "version": "1.0.0"}, {"version": "2.0.0"})
    ]
    assert who == ["v1.0.0", "v1.0.0 g1/1.0.0", "v1.0.0 /2.0.0"]


def test_attachments_in_an_answer_of_dubbo_go_are_read(go: Any) -> None:
    assert go(triple_semantics.answered_with, "dubbo-go", "reply:back=value")[1] == {"back": "value"}


def test_attachments_in_an_answer_of_dubbo_java_are_read_under_their_names(java: Any) -> None:
    found = java(triple_semantics.answered_with, "dubbo-java", "reply:camelBack=value")[1]
    assert found["camelBack"] == "value"
    assert "camelback" not in found
