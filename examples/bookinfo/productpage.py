"""The entrance: dyes requests, asks details and reviews, and shows the page.

python -m examples.bookinfo.productpage --listen 127.0.0.1:8000 --dye uid=100:dev

GET /                 the page
GET /api/products/0   what it shows, as JSON; headers: uid (dyeing), end-user (baggage), traceparent
PUT /dyeing           {"percent": 30}: dye this share of the requests that no rule matches
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry import baggage, context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from thriftpy2.thrift import TException

import pyrpc_xds
from pyrpc_xds.errors import PyrpcXdsError

from . import tracing
from .dyeing import Dye, Dyeing, Rule
from .server import client, wait_for_signal
from .services import PRODUCT

PAGE = Path(__file__).with_name("page.html")
VERSION = "v1"
BODY_LIMIT = 1024
IDLE_SECONDS = 30.0


class ProductPage:
    """What the page is made of.

    :ivar dyeing: replaced as a whole when the percentage changes.
    """

    def __init__(self, details: Any, reviews: Any, dyeing: Dyeing) -> None:
        self.dyeing = dyeing
        self._details = details
        self._reviews = reviews

    def show(self, dye: Dye | None) -> dict[str, Any]:
        """One page: what the services answered and which version of each did."""
        began = time.perf_counter()
        answered_by = {"productpage": VERSION}
        shown: dict[str, Any] = {"book": None, "reviews": None, "errors": []}
        try:
            answer = self._details.GetBook(PRODUCT)
            shown["book"] = plain(answer.book)
            answered_by["details"] = answer.answered_by.version
        except (PyrpcXdsError, TException) as error:
            shown["errors"].append(f"details: {error}")
        try:
            answer = self._reviews.GetReviews(PRODUCT)
            shown["reviews"] = [plain(review) for review in answer.reviews]
            answered_by["reviews"] = answer.answered_by.version
            if answer.ratings_by:
                answered_by["ratings"] = answer.ratings_by.version
        except (PyrpcXdsError, TException) as error:
            shown["errors"].append(f"reviews: {error}")
        return {
            **shown,
            "answered_by": answered_by,
            "dye": {"lane": dye.lane, "reason": dye.reason} if dye else None,
            "baggage": dict(baggage.get_all()),
            "percent": self.dyeing.percent,
            "milliseconds": round((time.perf_counter() - began) * 1000, 2),
        }


def plain(struct: Any) -> dict[str, Any]:
    """A Thrift struct as a dict."""
    return {
        name: plain(value) if hasattr(value, "thrift_spec") else value for name, value in vars(struct).items()
    }


class Request(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    # Head and body in one segment, at once.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """The page and its data."""
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == f"/api/products/{PRODUCT}":
            shown = self._in_context()
            self._json(HTTPStatus.BAD_GATEWAY if shown["errors"] else HTTPStatus.OK, shown)
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "there is / and /api/products/0"})

    def do_PUT(self) -> None:
        """The dyeing percentage."""
        size = self.headers.get("content-length", "")
        if self.path != "/dyeing" or not size.isdecimal() or int(size) > BODY_LIMIT:
            self.close_connection = True
            self._json(HTTPStatus.BAD_REQUEST, {"error": 'PUT /dyeing takes {"percent": 30}'})
            return
        page = self.server.page
        try:
            page.dyeing = replace(
                page.dyeing, percent=float(json.loads(self.rfile.read(int(size)))["percent"])
            )
        except (ValueError, TypeError, KeyError) as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        self._json(HTTPStatus.OK, {"percent": page.dyeing.percent})

    def _in_context(self) -> dict[str, Any]:
        """Show the page in the context that everything behind this entrance inherits."""
        page = self.server.page
        dye = page.dyeing.dye(self.headers, random.random())
        # The caller's trace is taken over. Its baggage is not: nobody outside chooses a lane but by the rules.
        around = TraceContextTextMapPropagator().extract(self.headers)
        if user := self.headers.get("end-user"):
            around = baggage.set_baggage("user", user, around)
        if dye:
            around = baggage.set_baggage("env", dye.lane, around)
        token = context.attach(around)
        try:
            name = f"GET /api/products/{PRODUCT}"
            with tracing.tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER):
                return page.show(dye)
        finally:
            context.detach(token)

    def _json(self, status: HTTPStatus, value: object) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard output is for spans."""


class Server(ThreadingHTTPServer):
    """The HTTP server: a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], page: ProductPage) -> None:
        self.page = page
        super().__init__(address, Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until SIGTERM or SIGINT; prints one JSON line with the bound address, then one for each span."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    parser.add_argument("--dye", action="append", default=[], type=Rule.parse, metavar="HEADER=VALUE:LANE")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    tracing.install("productpage", VERSION)

    with pyrpc_xds.XdsClient.from_env(labels={"app": "productpage", "version": VERSION}) as xds:
        page = ProductPage(client(xds, "Details"), client(xds, "Reviews"), Dyeing(tuple(options.dye)))
        with Server((host, int(port)), page) as server:
            serving = threading.Thread(target=server.serve_forever, args=(0.1,), name="http")
            serving.start()
            print(json.dumps({"address": f"{host}:{server.server_address[1]}"}), flush=True)
            wait_for_signal()
            server.shutdown()
            serving.join()


if __name__ == "__main__":
    main()
