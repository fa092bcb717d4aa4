"""A page in a real browser calls a Triple server, of its own origin's choice and not of another's."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from examples.greeter import idl
from pyrpc_xds.errors import BusinessError
from pyrpc_xds.transports.triple import HttpOptions, TripleTransport, set_response_attachments
from tests.e2e.browser import PROGRAM, Browser
from tests.unit.transports.triple.fakes import FakeMesh

PATH = "/org.apache.dubbo.sample.Greeter/SayHello"
CALL = """fetch(%s, {method: 'POST', headers: {'content-type': 'application/json', 'user': 'Joe'}, body: %s})
  .then(async (answer) => [answer.status, await answer.json(), answer.headers.get('trailer-lane')])
  .catch((error) => [0, String(error), null])"""


class Greeter:
    def SayHello(self, request: Any, context: Any) -> Any:
        if request.name == "refuse":
            raise BusinessError(4711, "no such user")
        set_response_attachments({"lane": "blue"})
        user = dict(context.invocation_metadata())["user"]
        return idl.protobuf()[0].User(name=f"Hello {request.name} from {user}")

    SayHelloServerStream = SayHelloClientStream = SayHelloStream = None


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[str, str]]:
    """Two origins."""
    served = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) for _ in range(2)]
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in served]
    for thread in threads:
        thread.start()
    yield tuple(f"http://127.0.0.1:{each.server_port}" for each in served)  # type: ignore[misc]
    for each, thread in zip(served, threads, strict=True):
        each.shutdown()
        thread.join()
        each.server_close()


@pytest.mark.skipif(PROGRAM is None, reason="there is no chromium on PATH (Debian: apt install chromium)")
def test_page_of_an_allowed_origin_calls_and_another_may_not(pages: tuple[str, str]) -> None:
    server = TripleTransport(FakeMesh()).server(address="127.0.0.1:0")
    idl.protobuf()[1].add_GreeterServicer_to_server(Greeter(), server)
    port = server.add_http_port("127.0.0.1:0", HttpOptions(origins=(pages[0],)))
    server.start()
    url = json.dumps(f"http://127.0.0.1:{port}{PATH}")

    def call(name: str) -> Any:
        return browser.evaluate(CALL % (url, json.dumps(json.dumps({"name": name}))))

    with Browser() as browser:
        browser.open(pages[0])
        browser.wait("document.readyState === 'complete'")
        assert call("Ann") == [200, {"name": "Hello Ann from Joe"}, "blue"]
        assert call("refuse") == [500, {"code": "code_4711", "message": "no such user"}, None]
        browser.open(pages[1])
        browser.wait(f"document.readyState === 'complete' && location.origin === {json.dumps(pages[1])}")
        assert call("Ann")[:2] == [0, "TypeError: Failed to fetch"]
    server.stop(0).wait(10)
    del server._server
