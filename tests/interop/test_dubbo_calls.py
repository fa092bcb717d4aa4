"""Our Triple transport with dubbo-go and Dubbo Java, in both directions, sync and asyncio.

Everything runs in a private network namespace, where Dubbo may listen on every interface. What the requests'
names make the servers do is in peers/greeter.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interop.peers import dubbo_go, dubbo_java, netns, triple_scene
from tests.interop.peers.calls import Outcome

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]

UNAVAILABLE_HERE: dict[str, Callable[[], str | None]] = {
    "dubbo-go": dubbo_go.skip_reason,
    "dubbo-java": dubbo_java.skip_reason,
    "nghttp2": triple_scene.codec_missing,
}
OURS, GO, JAVA = ("sync", "nghttp2", "asyncio"), ("dubbo-go",), ("dubbo-java",)
PEERS = GO + JAVA
CODES = [
    (1, "gone"),
    (3, "bad"),
    (5, "x: 100 % déjà vu"),
    (7, "no"),
    (9, "not now"),
    (14, "later"),
    (16, "who?"),
]


@dataclass(frozen=True)
class Pair:
    """A client and a server."""

    client: triple_scene.Side
    server: triple_scene.Side
    namespace: netns.Namespace

    def call(self, kind: str, *names: str, **rest: Any) -> Outcome:
        """One call of the client to the server; see :class:`.peers.calls.Call`."""
        wanted = {"kind": kind, "names": names, **rest}
        outcome: Outcome = self.namespace.run(triple_scene.call, self.client, self.server, wanted)
        return outcome

    def names(self, kind: str, *names: str, **rest: Any) -> list[str]:
        """The names of the users that a call which must succeed answers."""
        outcome = self.call(kind, *names, **rest)
        assert (outcome["code"], outcome["message"]) == (0, "")
        return [user["name"] for user in outcome["users"]]

    def attachments(self, **rest: Any) -> dict[str, Any]:
        """What the handler sees."""
        (seen,) = self.names("unary", "attachments", **rest)
        return dict(json.loads(seen))

    def attempts(self, name: str) -> int:
        """How many calls with a request of this name our server has got."""
        return int(self.namespace.run(triple_scene.attempts, self.server, name))


@pytest.fixture
def pair(request: pytest.FixtureRequest, namespace: netns.Namespace) -> Pair:
    client, server = request.param
    for peer in {client, server} & UNAVAILABLE_HERE.keys():
        if reason := UNAVAILABLE_HERE[peer]():
            pytest.skip(reason)
    return Pair(client, server, namespace)


def between(*sides: tuple[tuple[str, ...], tuple[str, ...]]) -> Any:
    """The test with each of these clients calling each of those servers."""
    pairs = [(client, server) for clients, servers in sides for client in clients for server in servers]
    ids = [f"{client}-calls-{server}" for client, server in pairs]
    return pytest.mark.parametrize("pair", pairs, indirect=True, ids=ids)


to_peers, from_peers = between((OURS, PEERS)), between((PEERS, OURS))
to_go, from_go = between((OURS, GO)), between((GO, OURS))
to_java, from_java = between((OURS, JAVA)), between((JAVA, OURS))
both_ways = between((OURS, PEERS), (PEERS, OURS))
both_ways_with_go = between((OURS, GO), (GO, OURS))


@both_ways
def test_unary_call_is_answered(pair: Pair) -> None:
    outcome = pair.call("unary", "Joe")
    assert outcome["users"] == [{"name": "Hello Joe", "id": "v1.0.0", "age": 21}]
    assert (outcome["code"], outcome["message"]) == (0, "")


@both_ways
def test_message_of_a_megabyte_and_an_empty_one_pass(pair: Pair) -> None:
    big = "é" * 500_000
    assert pair.names("unary", big) == [f"Hello {big}"]
    assert pair.names("unary", "") == ["Hello "]


@both_ways
def test_server_stream_is_answered_in_order(pair: Pair) -> None:
    users = pair.call("server_stream", "Joe")["users"]
    assert [(user["name"], user["age"]) for user in users] == [("Joe", 0), ("Hello Joe", 1), ("Hello Joe", 2)]


@both_ways
def test_client_stream_is_answered_once_with_all(pair: Pair) -> None:
    assert pair.names("client_stream", "Joe", "Ann", "Bob") == ["Hello Joe, Ann, Bob"]


@both_ways
def test_bidirectional_stream_plays_ping_pong(pair: Pair) -> None:
    assert pair.names("bidi", "Joe", "Ann", "Bob") == ["Hello Joe", "Hello Ann", "Hello Bob"]


@both_ways
def test_attachments_reach_the_handler_with_lower_case_names(pair: Pair) -> None:
    seen = pair.attachments(attachments={"User-Id": "42", "tenant": "blue"})
    # Java has one value a name, the others a list.
    java = pair.server == "dubbo-java"
    assert (seen["user-id"], seen["tenant"]) == ("42" if java else ["42"], "blue" if java else ["blue"])


@pytest.mark.parametrize("kind", ["server_stream", "bidi"])
@both_ways
def test_attachments_reach_the_handler_of_a_stream(pair: Pair, kind: str) -> None:
    seen = pair.names(kind, "attachments", attachments={"user-id": "42"})[-1]
    assert json.loads(seen)["user-id"] == ("42" if pair.server == "dubbo-java" else ["42"])


@both_ways
def test_binary_attachment_reaches_the_handler(pair: Pair) -> None:
    seen = pair.attachments(attachments={"session-bin": "\x01z"})
    expected = {
        "dubbo-go": ("session-bin", ["AXo"]),  # as it came: base64 without padding
        "dubbo-java": ("session", "hex:017a"),  # without the suffix
    }
    name, value = expected.get(pair.server, ("session-bin", ["hex:017a"]))
    assert seen[name] == value


@both_ways_with_go
def test_attachment_with_several_values_keeps_them_in_order(pair: Pair) -> None:
    assert pair.attachments(attachments={"list": ["x", "y"]})["list"] == ["x", "y"]


@to_java
def test_of_several_values_dubbo_java_shows_the_last(pair: Pair) -> None:
    assert pair.attachments(attachments={"list": ["x", "y"]})["list"] == "y"


@to_peers
def test_attachment_of_a_peers_answer_is_trailing_metadata(pair: Pair) -> None:
    outcome = pair.call("unary", "reply:region=north")
    assert (outcome["initial"], outcome["trailing"]) == ({}, {"region": ["north"]})


@from_java
def test_trailing_metadata_is_the_attachment_of_our_answer_in_java(pair: Pair) -> None:
    assert pair.call("unary", "reply:region=north")["trailing"] == {"region": ["north"]}


@from_go
def test_trailing_metadata_of_our_streams_reaches_dubbo_go(pair: Pair) -> None:
    # Of a unary call's answer its client shows the message alone.
    assert pair.call("server_stream", "reply:region=north")["trailing"] == {"region": ["north"]}


@to_java
def test_camel_case_name_of_an_answers_attachment_is_in_tri_header_convert(pair: Pair) -> None:
    trailing = pair.call("unary", "reply:userName=Joe")["trailing"]
    assert trailing["username"] == ["Joe"]
    assert trailing["tri-header-convert"] == ["%7B%22username%22%3A%22userName%22%7D"]


@from_java
def test_camel_case_name_of_javas_attachment_is_in_tri_header_convert(pair: Pair) -> None:
    seen = pair.attachments(attachments={"userName": "Joe"})
    assert seen["username"] == ["Joe"]
    assert seen["tri-header-convert"] == ["%7B%22username%22%3A%22userName%22%7D"]
    assert seen["tri-consumer-appname"] == ["dubbo-java-peer"]


@pytest.mark.parametrize(("code", "message"), CODES)
@both_ways
def test_status_passes_with_its_message(pair: Pair, code: int, message: str) -> None:
    outcome = pair.call("unary", f"error:{code}:{message}", retries=0)
    assert (outcome["users"], outcome["code"]) == ([], code)
    # Dubbo Java's own exceptions begin their text with the status.
    begin = outcome["message"].partition(" : ")[0] + " : " if pair.server == "dubbo-java" else ""
    assert outcome["message"] == begin + message


@pytest.mark.parametrize(
    ("kind", "before"), [("server_stream", ["error:5:gone"]), ("client_stream", []), ("bidi", ["Hello Joe"])]
)
@both_ways
def test_status_of_a_stream_comes_after_its_answers(pair: Pair, kind: str, before: list[str]) -> None:
    names = ["error:5:gone"] if kind == "server_stream" else ["Joe", "error:5:gone"]
    outcome = pair.call(kind, *names)
    assert [user["name"] for user in outcome["users"]] == before
    assert outcome["code"] == 5
    assert outcome["message"].endswith("gone")


@to_go
def test_business_error_of_dubbo_go_is_unknown_with_its_message_and_17_in_the_details(pair: Pair) -> None:
    outcome = pair.call("unary", "plain:sold out")
    assert (outcome["code"], outcome["message"], outcome["detail"]) == (2, "sold out", 17)


@to_java
def test_exception_of_dubbo_java_is_unknown_with_its_message(pair: Pair) -> None:
    outcome = pair.call("unary", "plain:sold out")
    assert (outcome["code"], outcome["message"], outcome["detail"]) == (2, "sold out", 0)


@from_peers
def test_exception_of_ours_is_unknown_with_its_message(pair: Pair) -> None:
    outcome = pair.call("unary", "plain:sold out")
    assert outcome["code"] == 2
    assert outcome["message"].endswith(": sold out")


@from_go
def test_17_in_our_details_is_a_business_error_to_dubbo_go_which_it_does_not_try_again(pair: Pair) -> None:
    name = "business:sold out"
    before = pair.attempts(name)
    outcome = pair.call("unary", name)
    assert (outcome["code"], outcome["message"]) == (17, "sold out")
    assert pair.attempts(name) - before == 1


@to_peers
def test_panic_ends_the_call_and_not_the_connection(pair: Pair) -> None:
    # dubbo-go resets the stream.
    assert pair.call("unary", "panic:oops")["code"] == {"dubbo-go": 13, "dubbo-java": 2}[pair.server]
    assert pair.names("unary", "Joe") == ["Hello Joe"]


@both_ways
def test_deadline_ends_the_call(pair: Pair) -> None:
    outcome = pair.call("unary", "sleep:3000", timeout=1.0, retries=0)
    assert outcome["users"] == []
    # dubbo-go's server may be first, with the error of its context, which to it is the business's (17). Java's
    # client has no status for a timeout of its own (-1), but our server may be first with DEADLINE_EXCEEDED.
    allowed = {"dubbo-go": {4, 2}}.get(pair.server, {-1, 4} if pair.client == "dubbo-java" else {4})
    assert outcome["code"] in allowed
    assert any(word in outcome["message"].lower() for word in ("deadline", "timeout"))


@to_peers
def test_deadline_ends_a_stream_between_messages(pair: Pair) -> None:
    outcome = pair.call("bidi", "Joe", "sleep:3000", timeout=1.5)
    assert [user["name"] for user in outcome["users"]] == ["Hello Joe"]
    assert outcome["code"] in ({4, 2} if pair.server == "dubbo-go" else {4})


@between((OURS, GO), (PEERS, OURS))
def test_server_knows_the_time_that_is_left(pair: Pair) -> None:
    (left,) = pair.names("unary", "deadline", timeout=15)
    assert 10_000 < int(left) <= 16_000  # gRPC rounds up


@from_peers
def test_dubbos_default_timeout_of_three_seconds_is_a_deadline(pair: Pair) -> None:
    (left,) = pair.names("unary", "deadline")
    assert 0 < int(left) <= 3_200


@to_peers
def test_metadata_selects_group_and_version(pair: Pair) -> None:
    ids = [
        pair.call("unary", "Joe", **selected)["users"][0]["id"]
        for selected in ({}, {"group": "g1", "version": "1.0.0"}, {"version": "2.0.0"})
    ]
    assert ids == ["v1.0.0", "v1.0.0 g1/1.0.0", "v1.0.0 /2.0.0"]


@from_peers
def test_group_and_version_come_as_metadata(pair: Pair) -> None:
    seen = pair.attachments(group="g1", version="1.0.0")
    assert (seen["tri-service-group"], seen["tri-service-version"]) == (["g1"], ["1.0.0"])


@to_go
def test_group_that_dubbo_go_does_not_have_is_unimplemented(pair: Pair) -> None:
    outcome = pair.call("unary", "Joe", group="g2")
    assert (outcome["users"], outcome["code"]) == ([], 12)
    assert "no implementation found for service group g2" in outcome["message"]


@both_ways_with_go
def test_unknown_method_is_unimplemented(pair: Pair) -> None:
    assert pair.call("unary", "Joe", method="SayNothing")["code"] == 12


@to_peers
def test_compressed_messages_are_read(pair: Pair) -> None:
    name = "Joe" * 1000
    assert pair.names("unary", name, encoding="gzip") == [f"Hello {name}"]
    assert pair.names("bidi", name, name, encoding="gzip") == [f"Hello {name}"] * 2


@pytest.mark.parametrize("name", ["error:9:not now", "error:14:later", "plain:sold out"])
@from_peers
def test_dubbo_gos_cluster_tries_every_failure_of_ours_three_times_and_javas_none(
    pair: Pair, name: str
) -> None:
    before = pair.attempts(name)
    pair.call("unary", name)
    assert pair.attempts(name) - before == {"dubbo-go": 3, "dubbo-java": 1}[pair.client]


@from_java
def test_javas_cluster_tries_a_timeout_three_times(pair: Pair) -> None:
    assert pair.names("unary", "Joe") == ["Hello Joe"]  # connects
    for _ in range(5):
        before = pair.attempts("sleep:2001")
        outcome = pair.call("unary", "sleep:2001", timeout=1.0)
        if outcome["code"] == -1:
            break
        # Of its two timers (3.3.4) the other was first, whose status the cluster does not try again.
        assert outcome["code"] == 4
    assert "Tried 3 times" in outcome["message"]
    assert pair.attempts("sleep:2001") - before == 3
