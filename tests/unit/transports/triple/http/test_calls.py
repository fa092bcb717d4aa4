"""Unary calls over HTTP: they are what they are over gRPC, on servers of every kind."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from typing import Any

import grpc
import h2.events
import pytest

from pyrpc_xds.errors import ConfigError, PortNotBound, UsageError
from pyrpc_xds.transports.triple import TripleTransport
from pyrpc_xds.transports.triple.http import HttpOptions, port
from tests.unit.transports.triple.conftest import eventually
from tests.unit.transports.triple.fakes import FakeMesh
from tests.unit.transports.triple.http import clients
from tests.unit.transports.triple.http.conftest import all_kinds, both_versions

PROTO = {"content-type": "application/proto"}


@all_kinds
@both_versions
async def test_message_in_json_is_answered_in_json(start: Any, form: Any) -> None:
    answer = await (await start()).ask("Joe", form)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.said == {"name": "Hello Joe", "id": "None/None", "age": 7}


@both_versions
async def test_message_in_protobuf_is_answered_in_protobuf(start: Any, form: Any, pb: Any) -> None:
    serving = await start()
    answer = await serving.send(form, pb.HelloRequest(name="Joe").SerializeToString(), PROTO)
    assert answer.headers["content-type"] == "application/proto"
    assert pb.User.FromString(answer.body).name == "Hello Joe"


async def test_method_is_found_in_dubbo_javas_spelling(start: Any) -> None:
    serving = await start()
    answer = await serving.send(clients.http1, b"{}", clients.JSON, path=clients.PATH.replace("Say", "say"))
    assert answer.status == 200


async def test_charset_of_utf_8_and_query_are_let_be(start: Any) -> None:
    serving = await start()
    answer = await serving.send(
        clients.http1,
        '{"name":"\u00fc"}'.encode(),
        {"content-type": 'Application/JSON; charset="UTF-8"'},
        path=clients.PATH + "?a=b",
    )
    assert answer.said["name"] == "Hello \u00fc"


@both_versions
async def test_message_of_megabytes_goes_both_ways(start: Any, form: Any, pb: Any) -> None:
    serving = await start()
    answer = await serving.send(form, pb.HelloRequest(name="x" * 3_000_000).SerializeToString(), PROTO)
    assert len(pb.User.FromString(answer.body).name) == 3_000_006


@all_kinds
@both_versions
async def test_headers_are_attachments(start: Any, form: Any) -> None:
    answer = await (await start()).ask("attachments", form, user="Joe", accept="*/*", sec_fetch_mode="cors")
    assert json.loads(answer.said["name"]) == {"user": "Joe"}


async def test_attachments_that_go_on_are_those_of_further_calls(start: Any) -> None:
    answer = await (await start()).ask("lasting", rpc_persist_lane="blue", user="Joe")
    assert json.loads(answer.said["name"]) == {"lane": "blue"}


async def test_cookie_is_metadata_and_binary_headers_are_decoded(start: Any) -> None:
    answer = await (await start()).ask("metadata:blob-bin", cookie="a=b", blob_bin="AP8B")
    assert answer.said["name"] == "[('blob-bin', b'\\x00\\xff\\x01'), ('cookie', 'a=b')]"


@both_versions
async def test_response_attachments_are_headers_with_a_prefix(start: Any, form: Any) -> None:
    answer = await (await start()).ask("back:value", form)
    assert answer.headers["trailer-camelback"] == "value"
    assert answer.headers["trailer-tri-header-convert"] == "%7B%22camelback%22%3A%22camelBack%22%7D"


@both_versions
async def test_spaces_around_a_response_attachment_are_dropped(start: Any, form: Any) -> None:
    answer = await (await start()).ask("back: a b ", form)
    assert (answer.status, answer.headers["trailer-camelback"]) == (200, "a b")


async def test_trailers_of_bytes_are_base64(start: Any) -> None:
    assert (await (await start()).ask("binary:")).headers["trailer-data-bin"] == "/wA"


async def test_initial_metadata_are_headers(start: Any) -> None:
    assert (await (await start()).ask("initial")).headers["early"] == "bird"


async def test_peer_is_told(start: Any) -> None:
    assert (await (await start()).ask("peer:")).said["name"].startswith("ipv4:127.0.0.1:")


async def test_calls_share_a_connection_of_http1(start: Any) -> None:
    serving = await start()

    def calls() -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
        for number in range(3):
            connection.request("POST", clients.PATH, json.dumps({"name": str(number)}), clients.JSON)
            if number == 0:
                used = connection.sock
            assert json.loads(connection.getresponse().read())["name"] == f"Hello {number}"
            assert connection.sock is used
        connection.close()

    await asyncio.to_thread(calls)


async def test_calls_run_at_once_on_a_connection_of_http2(start: Any) -> None:
    serving = await start()

    def calls() -> None:
        with clients.H2Client(serving.port) as client:
            slow = client.request(b'{"name":"sleep:1"}', clients.JSON)
            quick = client.request(b'{"name":"Joe"}', clients.JSON)
            assert client.answer(quick).said["name"] == "Hello Joe"
            assert client.answer(slow).said["name"] == "Hello sleep:1"

    await asyncio.to_thread(calls)


class TestErrors:
    @all_kinds
    @both_versions
    async def test_of_a_handler_are_json_with_the_code(self, start: Any, form: Any) -> None:
        answer = await (await start()).ask("abort:not now", form)
        assert (answer.status, answer.headers["content-type"]) == (412, "application/json")
        assert answer.said == {"code": "failed_precondition", "message": "not now"}

    async def test_set_by_a_handler_that_returns_are_errors(self, start: Any) -> None:
        answer = await (await start()).ask("code:there already")
        assert (answer.status, answer.said) == (409, {"code": "already_exists", "message": "there already"})

    @all_kinds
    async def test_of_the_application_have_dubbo_gos_form(self, start: Any) -> None:
        answer = await (await start()).ask("business:no such user")
        assert (answer.status, answer.said) == (500, {"code": "code_4711", "message": "no such user"})

    @pytest.mark.may_leak("pytest keeps the traceback that is logged, and it the server's")
    async def test_of_programming_are_unknown(self, start: Any) -> None:
        answer = await (await start()).ask("bug:division")
        assert answer.status == 500
        assert answer.said == {"code": "unknown", "message": "Exception calling application: division"}

    @all_kinds
    @pytest.mark.parametrize("kind", ["SystemExit", "GeneratorExit", "CancelledError", "StopIteration"])
    @pytest.mark.may_leak("pytest keeps the traceback that is logged, and it the server's")
    async def test_that_would_end_a_thread_or_loop_end_one_call(
        self, start: Any, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        serving = await start()
        answer = await serving.ask(f"raise:{kind}")
        assert (answer.status, answer.said["code"]) == (500, "unknown")
        assert answer.said["message"].startswith("Exception calling application: ")
        assert kind in answer.said["message"]
        assert answer.said["message"] in caplog.text
        assert (await serving.ask("Joe")).said["name"] == "Hello Joe"

    @pytest.mark.parametrize("start", ["sync", "threads of asyncio"], indirect=True)
    @pytest.mark.may_leak("pytest keeps the traceback that is logged, and it the server's")
    async def test_of_ctrl_c_on_a_thread_end_one_call(self, start: Any) -> None:
        serving = await start()
        answer = await serving.ask("raise:KeyboardInterrupt")
        assert (answer.status, answer.said["code"]) == (500, "unknown")
        assert (await serving.ask("Joe")).said["name"] == "Hello Joe"

    @all_kinds
    @pytest.mark.may_leak("pytest keeps the traceback that is logged, and it the server's")
    async def test_of_callbacks_are_logged(self, start: Any, caplog: pytest.LogCaptureFixture) -> None:
        serving = await start()
        assert (await serving.ask("callback:")).said["name"] == "Hello callback:"
        assert "Exception calling callback!" in caplog.text

    async def test_in_protobuf_are_json_too(self, start: Any, pb: Any) -> None:
        serving = await start()
        answer = await serving.send(clients.http1, pb.HelloRequest(name="abort:x").SerializeToString(), PROTO)
        assert (answer.headers["content-type"], answer.said["code"]) == (
            "application/json",
            "failed_precondition",
        )

    @pytest.mark.parametrize("path", [clients.PATH[:-2], "/no.Such/Method", "/", "/favicon.ico", "//", "*"])
    async def test_unknown_method_is_404(self, start: Any, path: str) -> None:
        answer = await (await start()).send(clients.http1, b"{}", clients.JSON, path=path)
        assert (answer.status, answer.said["code"]) == (404, "unimplemented")

    async def test_stream_is_415_and_names_what_serves_it(self, start: Any) -> None:
        answer = await (await start()).send(
            clients.http1, b"{}", clients.JSON, path=clients.PATH + "ServerStream"
        )
        assert answer.status == 415
        assert answer.headers["accept-post"].startswith("application/grpc")
        assert "is a stream" in answer.said["message"]

    async def test_group_and_version_that_are_not_there_are_404_and_named(self, start: Any) -> None:
        serving = await start(variants=[("", ""), ("g", "1.0.0")])
        answer = await serving.ask("Joe", tri_service_version="9.9.9")
        assert answer.status == 404
        assert "service group  and service version 9.9.9" in answer.said["message"]

    async def test_json_for_messages_that_are_not_protobufs_is_415(self, start: Any) -> None:
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        handlers = [grpc.method_handlers_generic_handler("any.Service", {"Echo": handler})]
        serving = await start(handlers=handlers)
        answer = await serving.send(clients.http1, b"{}", clients.JSON, path="/any.Service/Echo")
        assert (answer.status, answer.headers["accept-post"]) == (415, "application/proto")
        answer = await serving.send(clients.http1, b"\xff", PROTO, path="/any.Service/Echo")
        assert answer.body == b"\xff"


async def test_group_and_version_select_the_service(start: Any) -> None:
    serving = await start(variants=[("", ""), ("g", "1.0.0")])
    answer = await serving.ask("Joe", tri_service_group="g", tri_service_version="1.0.0")
    assert answer.said["id"] == "g/1.0.0"


class TestDeadlines:
    async def test_header_is_what_remains(self, start: Any) -> None:
        serving = await start()
        assert (await serving.ask("left")).said["name"] == "none"
        assert int((await serving.ask("left", triple_timeout_ms="5000")).said["name"]) <= 5
        assert int((await serving.ask("left", tri_service_timeout="2000")).said["name"]) <= 2

    @all_kinds
    @both_versions
    async def test_call_that_takes_longer_is_408(self, start: Any, form: Any) -> None:
        serving = await start()
        answer = await serving.ask("sleep:0.4", form, triple_timeout_ms="50")
        assert (answer.status, answer.said["code"]) == (408, "deadline_exceeded")
        assert serving.greeter.ended == ["0.4"]

    @all_kinds
    async def test_is_inherited_by_what_the_handler_calls(self, start: Any) -> None:
        serving = await start()
        assert (await serving.ask("inherited:")).said["name"] == "none"
        assert int((await serving.ask("inherited:", triple_timeout_ms="5000")).said["name"]) <= 5

    @pytest.mark.parametrize("value", ["x", "-1", "1.5", "12345678901", "\u0661"])
    async def test_header_that_is_no_number_is_400(self, start: Any, value: str) -> None:
        answer = await (await start()).ask("left", triple_timeout_ms=value.encode().decode("latin-1"))
        assert (answer.status, answer.said["code"]) == (400, "invalid_argument")


@all_kinds
@both_versions
async def test_caller_that_goes_away_ends_the_call(start: Any, form: Any) -> None:
    serving = await start()

    def call() -> None:
        if form is clients.http2:
            with clients.H2Client(serving.port) as client:
                client.request(b'{"name":"hold:x"}', clients.JSON)
                eventually(lambda: serving.greeter.contexts)
        else:
            import http.client

            connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
            connection.request("POST", clients.PATH, b'{"name":"hold:x"}', clients.JSON)
            eventually(lambda: serving.greeter.contexts)
            connection.close()
        eventually(lambda: serving.greeter.ended)

    await asyncio.to_thread(call)


class TestInterceptors:
    async def test_of_the_server_are_run_and_may_refuse(self, start: Any) -> None:
        seen: list[Any] = []

        def refuse(request: Any, context: Any) -> Any:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

        def handler_of(details: Any, handler: Any) -> Any:
            seen.append((details.method, dict(details.invocation_metadata).get("user")))
            if dict(details.invocation_metadata).get("user") == "nobody":
                return grpc.unary_unary_rpc_method_handler(refuse, handler.request_deserializer)
            return handler

        class Sync(grpc.ServerInterceptor):  # type: ignore[type-arg]
            def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
                return handler_of(handler_call_details, continuation(handler_call_details))

        class Aio(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
            async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
                return handler_of(handler_call_details, await continuation(handler_call_details))

        serving = await start(interceptors=[Aio() if start.aio else Sync()])
        answer = await serving.ask("Joe", user="nobody")
        assert answer.status == 401
        assert answer.said == {"code": "unauthenticated", "message": "who are you?"}
        assert (await serving.ask("Joe", user="Joe")).said["name"] == "Hello Joe"
        assert seen == [(clients.PATH, "nobody"), (clients.PATH, "Joe")]


class TestCompression:
    @both_versions
    async def test_request_is_inflated(self, start: Any, form: Any) -> None:
        headers = clients.JSON | {"content-encoding": "gzip"}
        answer = await (await start()).send(form, gzip.compress(b'{"name":"Joe"}'), headers)
        assert answer.said["name"] == "Hello Joe"

    async def test_long_response_is_compressed_for_who_takes_it(self, start: Any) -> None:
        serving = await start()
        answer = await serving.ask("long:5000", accept_encoding="br, gzip;q=0.8")
        assert answer.headers["content-encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(answer.body))["name"]) == 5000
        for accepted in ("identity", "gzip;q=0"):
            plain = await serving.ask("long:5000", accept_encoding=accepted)
            assert "content-encoding" not in plain.headers
            assert len(plain.said["name"]) == 5000


ASKING = {
    "origin": "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,user",
}


class TestBrowsers:
    async def test_of_an_allowed_origin_may_call(self, start: Any) -> None:
        serving = await start(HttpOptions(origins=("https://app.example",)))
        asked = await serving.send(clients.http1, b"", ASKING, method="OPTIONS")
        assert asked.status == 204
        assert asked.headers["access-control-allow-origin"] == "https://app.example"
        assert asked.headers["access-control-allow-headers"] == "content-type,user"
        answer = await serving.ask("back:x", origin="https://app.example")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "trailer-camelback" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "origin"

    async def test_of_another_origin_may_not(self, start: Any) -> None:
        serving = await start(HttpOptions(origins=("https://app.example",)))
        asked = await serving.send(
            clients.http1, b"", ASKING | {"origin": "https://evil.example"}, method="OPTIONS"
        )
        assert asked.status == 405
        answer = await serving.ask("Joe", origin="https://evil.example")
        assert "access-control-allow-origin" not in answer.headers

    async def test_may_not_unless_asked_for(self, start: Any) -> None:
        serving = await start()
        asked = await serving.send(clients.http1, b"", ASKING, method="OPTIONS")
        assert (asked.status, "access-control-allow-origin" in asked.headers) == (405, False)


class TestStop:
    @both_versions
    async def test_lets_running_calls_finish(self, start: Any, form: Any) -> None:
        serving = await start()
        running = asyncio.create_task(serving.ask("sleep:0.5", form))
        await asyncio.to_thread(eventually, lambda: serving.greeter.contexts)
        await serving.stop(10)
        assert (await running).said["name"] == "Hello sleep:0.5"
        with pytest.raises(OSError):
            await serving.ask("Joe", form)

    async def test_refuses_new_streams_while_others_run(self, start: Any) -> None:
        serving = await start()
        client = clients.H2Client(serving.port)
        slow = await asyncio.to_thread(client.request, b'{"name":"sleep:0.7"}', clients.JSON)
        await asyncio.to_thread(eventually, lambda: serving.greeter.contexts)
        stopping = asyncio.create_task(serving.stop(10))
        await asyncio.sleep(0.2)

        def late() -> None:
            with client:
                refused = client.request(b"{}", clients.JSON)
                assert client.until(h2.events.StreamReset, refused).error_code == 7  # REFUSED_STREAM
                assert client.answer(slow).said["name"] == "Hello sleep:0.7"
                client.until(h2.events.ConnectionTerminated)

        await asyncio.to_thread(late)
        await stopping

    @both_versions
    async def test_ends_connections_that_only_wait(self, start: Any, form: Any) -> None:
        serving = await start()

        def idle() -> Any:
            if form is clients.http2:
                client = clients.H2Client(serving.port)
                client.answer(client.request(b"{}", clients.JSON))
                return client.socket
            import http.client

            connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
            connection.request("POST", clients.PATH, b"{}", clients.JSON)
            connection.getresponse().read()
            return connection.sock

        peer = await asyncio.to_thread(idle)
        await asyncio.wait_for(serving.stop(30), 10)

        def drained() -> bytes:
            while peer.recv(4096):
                pass
            peer.close()
            return b""

        assert await asyncio.to_thread(drained) == b""

    async def test_cuts_calls_after_the_grace_period(self, start: Any) -> None:
        serving = await start()
        running = asyncio.create_task(serving.ask("sleep:1.5"))
        await asyncio.to_thread(eventually, lambda: serving.greeter.contexts)
        await serving.stop(0.1)
        with pytest.raises(OSError):
            await running


async def test_calls_beyond_the_limit_are_resource_exhausted(start: Any) -> None:
    serving = await start(HttpOptions(max_calls=1))
    running = asyncio.create_task(serving.ask("sleep:0.5"))
    await asyncio.to_thread(eventually, lambda: serving.greeter.contexts)
    answer = await serving.ask("Joe")
    assert (answer.status, answer.said["code"]) == (429, "resource_exhausted")
    assert (await running).status == 200


@pytest.mark.parametrize("module", ["h11", "h2"])
def test_port_without_its_libraries_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("pyrpc_xds.transports.triple.http.http")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'pyrpc-xds\[http\]'"):
        port.codecs()


def test_port_that_is_taken_is_named() -> None:
    server = TripleTransport(FakeMesh()).server()
    number = server.add_http_port("127.0.0.1:0")
    with pytest.raises(PortNotBound, match=f"127.0.0.1:{number}: "):
        server.add_http_port(f"127.0.0.1:{number}")
    with pytest.raises(UsageError, match="host:port"):
        server.add_http_port("8080")
    server.start()
    server.stop(0).wait(10)
    del server._server


def test_stopped_server_gives_its_port_back() -> None:
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0")
    number = server.add_http_port("127.0.0.1:0")
    server.start()
    server.stop(0).wait(10)
    again = TripleTransport(FakeMesh()).server(address="127.0.0.1:0")
    assert again.add_http_port(f"127.0.0.1:{number}") == number
    again.start()
    again.stop(0).wait(10)
    del server._server, again._server
