"""Triple over HTTP and in JSON, and calls without IDL: curl, dubbo-go and Dubbo Java against ours and each other."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.interop.peers import netns, triple_http

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1500)]
SAY = f"/{triple_http.GREETER}/SayHello"
JSON = ("-H", "content-type: application/json")


@pytest.fixture
def curl(namespace: netns.Namespace) -> Any:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on PATH")
    return lambda *arguments: namespace.run(triple_http.curl, *arguments)


both_kinds = pytest.mark.parametrize("asyncio", [False, True], ids=["sync", "asyncio"])
both_versions = pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])


def kind(asyncio: bool) -> str:
    return "asyncio" if asyncio else "sync"


@both_kinds
@both_versions
def test_curl_is_answered(curl: Any, asyncio: bool, version: str) -> None:
    status, content, body, _ = curl(kind(asyncio), SAY, version, *JSON, "-d", '{"name":"Joe"}')
    assert (status, content) == (200, "application/json")
    assert json.loads(body) == {"name": "Hello Joe", "id": "v1.0.0", "age": 21}


# Not the deadline, for which the handler of dubbo-go has an error of its own: 500 and code_17.
SAME = {
    "success": (SAY, [*JSON, "-d", '{"name":"Joe"}']),
    "charset": (SAY, ["-H", "content-type: application/json; charset=utf-8", "-d", '{"name":"Joe"}']),
    "coded error": (SAY, [*JSON, "-d", '{"name":"error:9:not now"}']),
    "not found": (SAY, [*JSON, "-d", '{"name":"error:5:no such user"}']),
    "response attachment": (SAY, [*JSON, "-d", '{"name":"reply:back=value"}']),
    "timeout header": (SAY, [*JSON, "-H", "triple-timeout-ms: 12345678901", "-d", "{}"]),
    "protocol version": (SAY, [*JSON, "-H", "triple-protocol-version: 9", "-d", "{}"]),
    "bad JSON": (SAY, [*JSON, "-d", "{"]),
    "unknown field": (SAY, [*JSON, "-d", '{"nme":"x"}']),
    "content type": (SAY, ["-H", "content-type: text/plain", "-d", "{}"]),
    "method": (SAY, []),
    "stream": (f"/{triple_http.GREETER}/SayHelloServerStream", [*JSON, "-d", "{}"]),
    "unknown method": (f"/{triple_http.GREETER}/SayNothing", [*JSON, "-d", "{}"]),
}


@pytest.mark.parametrize("case", SAME)
def test_curl_is_answered_as_by_dubbo_go(curl: Any, go: Any, case: str) -> None:
    path, options = SAME[case]
    theirs, ours = (curl(server, path, *options) for server in ("dubbo-go", "sync"))
    assert (ours[0], ours[3]) == (theirs[0], theirs[3])
    if theirs[1] == "application/json":  # it has no body, or text, for what is no call
        told, said = json.loads(theirs[2]), json.loads(ours[2])
        assert said.get("code") == told.get("code")
        if ours[0] == 200 or case in ("coded error", "not found"):
            assert said == told


def test_plain_error_has_dubbo_gos_form(curl: Any, go: Any) -> None:
    theirs = curl("dubbo-go", SAY, *JSON, "-d", '{"name":"plain:no such user"}')
    ours = curl("sync", SAY, *JSON, "-d", '{"name":"business:no such user"}')
    assert (ours[0], json.loads(ours[2])) == (theirs[0], json.loads(theirs[2]))


def test_interface_without_idl_is_called_in_json_as_dubbo_javas(curl: Any, java: Any) -> None:
    for method, body in [
        ("greet", '"Joe"'),
        ("greet", '["Joe"]'),
        ("add", "[2, 3]"),
        ("person", '{"name":"x"}'),
    ]:
        answers = [
            curl(server, f"/{triple_http.PLAIN}/{method}", *JSON, "-d", body)
            for server in ("dubbo-java", "sync")
        ]
        assert [answer[0] for answer in answers] == [200, 200]
        assert json.loads(answers[0][2]) == json.loads(answers[1][2])


@both_kinds
def test_dubbo_gos_http_client_is_served(go: Any, asyncio: bool) -> None:
    wanted = {"kind": "unary", "names": ["Joe"], "http1": True, "retries": 0}
    outcome = go(triple_http.dubbo_calls, "dubbo-go", asyncio, "http", wanted)
    assert (outcome["code"], outcome["users"][0]["name"]) == (0, "Hello Joe")
    outcome = go(triple_http.dubbo_calls, "dubbo-go", asyncio, "http", wanted | {"encoding": "json"})
    assert (outcome["code"], outcome["users"][0]["name"]) == (0, "Hello Joe")


@both_kinds
def test_errors_attachments_and_deadlines_pass_dubbo_gos_http_client(go: Any, asyncio: bool) -> None:
    def call(name: str, **rest: Any) -> Any:
        wanted = {"kind": "unary", "names": [name], "http1": True, "retries": 0, **rest}
        return go(triple_http.dubbo_calls, "dubbo-go", asyncio, "http", wanted)

    outcome = call("error:9:not now")
    assert (outcome["code"], outcome["message"]) == (9, "not now")
    seen = json.loads(call("attachments:", attachments={"userDefined": "x"})["users"][0]["name"])
    assert seen["userdefined"] == ["x"]
    assert 0 < int(call("deadline:", timeout=2.0)["users"][0]["name"]) <= 2000
    assert call("sleep:800", timeout=0.2)["code"] == 4


@both_kinds
@pytest.mark.parametrize("kind_", ["unary", "server_stream", "client_stream", "bidi"])
def test_dubbo_gos_json_over_grpc_is_served(go: Any, asyncio: bool, kind_: str) -> None:
    wanted = {"kind": kind_, "names": ["Joe"], "encoding": "json", "retries": 0}
    outcome = go(triple_http.dubbo_calls, "dubbo-go", asyncio, "grpc", wanted)
    assert (outcome["code"], outcome["message"]) == (0, "")
    assert {user["id"] for user in outcome["users"]} == {"v1.0.0"}


PLAIN_CALLS = [
    ("greet", ["Joe"], "Hello Joe"),
    ("greet", ["\u00fc" * 300], "Hello " + "\u00fc" * 300),
    ("add", [2, 3], 5),
]


@both_kinds
@pytest.mark.parametrize(("client", "serialization"), [("dubbo-go", "msgpack"), ("dubbo-java", "gson")])
def test_dubbo_calls_our_interface_without_idl(
    namespace: Any, request: pytest.FixtureRequest, client: str, serialization: str, asyncio: bool
) -> None:
    run = request.getfixturevalue(client.removeprefix("dubbo-"))

    def call(method: str, arguments: list[Any]) -> Any:
        wanted = {
            "kind": "plain",
            "method": method,
            "arguments": arguments,
            "encoding": serialization,
            "retries": 0,
        }
        return run(triple_http.dubbo_calls, client, asyncio, "grpc", wanted)

    for method, arguments, result in PLAIN_CALLS:
        outcome = call(method, arguments)
        assert (outcome["code"], outcome["result"]) == (0, result), outcome
    if client == "dubbo-java":
        assert call("person", [{"name": "Joe"}])["result"] == {"name": "Joe", "seen": True}
    refused = call("refuse", ["no such user"])
    assert refused["code"] == (17 if client == "dubbo-go" else 2)
    assert "no such user" in refused["message"]


@both_kinds
@pytest.mark.parametrize("client", ["dubbo-go", "dubbo-java"])
def test_hessian_of_dubbo_is_refused_by_name(
    namespace: Any, request: pytest.FixtureRequest, client: str, asyncio: bool
) -> None:
    run = request.getfixturevalue(client.removeprefix("dubbo-"))
    wanted = {"kind": "plain", "method": "greet", "arguments": ["Joe"], "encoding": "hessian2", "retries": 0}
    outcome = run(triple_http.dubbo_calls, client, asyncio, "grpc", wanted)
    assert outcome["code"] == 12
    assert "Hessian2, Dubbo's default, is not supported" in outcome["message"]


@both_kinds
@pytest.mark.parametrize(("server", "serialization"), [("dubbo-go", "msgpack"), ("dubbo-java", "gson")])
def test_we_call_dubbos_interface_without_idl(
    namespace: Any, request: pytest.FixtureRequest, server: str, serialization: str, asyncio: bool
) -> None:
    run = request.getfixturevalue(server.removeprefix("dubbo-"))
    for method, arguments, result in PLAIN_CALLS:
        assert run(triple_http.invoke, server, asyncio, serialization, method, arguments) == [result]
    refused = run(triple_http.invoke, server, asyncio, serialization, "refuse", ["no such user"])
    if server == "dubbo-go":
        assert refused == ["TripleBusinessError", 2, "no such user"]
    else:  # Gson cannot write an exception of Java 17's
        assert refused[1:] == [2, "Internal Server Error"]


@both_kinds
def test_business_error_of_ours_keeps_its_message_with_dubbo_java(java: Any, asyncio: bool) -> None:
    wanted = {
        "kind": "plain",
        "method": "refuse",
        "arguments": ["no such user"],
        "encoding": "gson",
        "retries": 0,
    }
    outcome = java(triple_http.dubbo_calls, "dubbo-java", asyncio, "grpc", wanted)
    assert (outcome["code"], outcome["message"]) == (2, "no such user")


def test_name_of_dubbo_javas_application_comes_with_its_calls(java: Any) -> None:
    wanted = {"kind": "unary", "names": ["attachments:"], "retries": 0}
    outcome = java(triple_http.dubbo_calls, "dubbo-java", False, "grpc", wanted)
    assert json.loads(outcome["users"][0]["name"])["tri-consumer-appname"] == ["dubbo-java-peer"]
