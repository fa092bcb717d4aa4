"""Two small HTTP clients for the tests: one request on a connection of its own, by HTTP/1.1 and by HTTP/2."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

import h2.config
import h2.connection
import h2.events

PATH = "/org.apache.dubbo.sample.Greeter/SayHello"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


def http1(port: int, body: bytes, headers: dict[str, str], path: str = PATH, method: str = "POST") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, _joined(response.getheaders()), response.read())
    finally:
        connection.close()


def http2(port: int, body: bytes, headers: dict[str, str], path: str = PATH, method: str = "POST") -> Answer:
    with H2Client(port) as client:
        stream = client.request(body, headers, path, method)
        return client.answer(stream)


def _joined(pairs: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        name = name.lower()  # noqa: PLW2901
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class H2Client:
    """One connection."""

    def __init__(self, port: int, window: int | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Any] = []
        self.ended = False
        self.flush()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def head(self, headers: dict[str, str], path: str = PATH, method: str = "POST", end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": "x"}
        self.h2.send_headers(stream, [*pseudo.items(), *headers.items()], end_stream=end)
        self.flush()
        return stream

    def request(self, body: bytes, headers: dict[str, str], path: str = PATH, method: str = "POST") -> int:
        stream = self.head(headers, path, method, end=not body)
        while body:
            while not (room := min(self.h2.local_flow_control_window(stream), 16384)):
                self.more()
            chunk, body = body[:room], body[room:]
            self.h2.send_data(stream, chunk, end_stream=not body)
            self.flush()
        return stream

    def more(self) -> None:
        """Read once."""
        data = self.socket.recv(65536)
        if not data:
            self.ended = True
            raise ConnectionResetError("the server has closed the connection")
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        self.flush()

    def until(self, kind: type, stream: int | None = None) -> Any:
        """The first event of a kind."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and (stream is None or event.stream_id == stream):
                    return event
            self.more()

    def answer(self, stream: int) -> Answer:
        response = self.until(h2.events.ResponseReceived, stream)
        self.until(h2.events.StreamEnded, stream)
        data = [
            e.data for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream
        ]
        headers = _joined(response.headers)
        return Answer(int(headers.pop(":status")), headers, b"".join(data))
