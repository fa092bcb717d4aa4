"""Peers whose every frame a test decides, on another codec (the package ``h2``) than the one that is tested."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack

PATH = "/org.apache.dubbo.sample.Greeter/SayHello"
SECONDS = 10
_REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ""),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def framed(message: bytes, compressed: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return struct.pack(">BI", compressed, len(message)) + message


class Peer:
    """One connection."""

    def __init__(
        self, connected: socket.socket, client: bool, settings: dict[Any, int] | None = None
    ) -> None:
        connected.settimeout(SECONDS)
        self.socket = connected
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=client, header_encoding="utf-8", validate_outbound_headers=False
            )
        )
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=settings)
        self.h2.initiate_connection()
        self.events: list[Any] = []
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def until(self, *kinds: type) -> Any:
        """The next event of these kinds; acknowledges what is received meanwhile."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kinds):
                    return event
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events.append(event)
            self.flush()

    def closed(self) -> bool:
        """Whether the other side closes, within the limit of time."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    # Of a server.

    def answer(self, stream: int, message: bytes = b"", status: str = "0", **more: str) -> None:
        self.h2.send_headers(stream, HEAD)
        for start in range(0, len(message) + 5, 16_000):
            self.h2.send_data(stream, framed(message)[start : start + 16_000])
        self.h2.send_headers(stream, [("grpc-status", status), *more.items()], end_stream=True)
        self.flush()

    # Of a client.

    def request(self, body: bytes | None = b"", end: bool = True, path: str = PATH, **changed: str) -> int:
        """Send headers, and a body unless it is ``None``; names of ``changed`` have ``_`` for ``-``."""
        said = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
        said["content-type"] = "application/grpc"
        said.update({name.replace("_", "-"): value for name, value in changed.items()})
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(said.items()), end_stream=body is None and end)
        if body is not None:
            for start in range(0, len(body) or 1, 16_000):
                last = start + 16_000 >= len(body)
                self.h2.send_data(stream, body[start : start + 16_000], end_stream=end and last)
        self.flush()
        return int(stream)

    def status(self, stream: int) -> str:
        """The grpc-status of an answer."""
        while True:
            event = self.until(h2.events.ResponseReceived, h2.events.TrailersReceived)
            if event.stream_id == stream and "grpc-status" in dict(event.headers):
                return str(dict(event.headers)["grpc-status"])


class Server:
    """Listens on loopback; ``script`` plays each connection, in a thread of its own.

    :ivar errors: of the scripts.
    """

    def __init__(self, *scripts: Callable[[Peer], None], settings: dict[Any, int] | None = None) -> None:
        self._scripts = list(scripts)
        self._settings = settings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        playing = []
        try:
            for script in self._scripts:
                accepted, _ = self._listener.accept()
                playing.append(threading.Thread(target=self._play, args=(script, accepted)))
                playing[-1].start()
        except BaseException as error:
            self.errors.append(error)
        for each in playing:
            each.join()

    def _play(self, script: Callable[[Peer], None], accepted: socket.socket) -> None:
        try:
            with accepted:
                script(Peer(accepted, False, self._settings))
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(2 * SECONDS)
        self._listener.close()
        if exc[0] is None:
            assert not self.errors


def dialled(port: int, settings: dict[Any, int] | None = None) -> Peer:
    """A client's connection."""
    return Peer(socket.create_connection(("127.0.0.1", port), SECONDS), True, settings)


class Raw:
    """A client that writes frames as they come to mind, thousands at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._next = 1
        self._read = b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0))

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def call(self, path: str = "/T/Echo", body: bytes | None = b"") -> tuple[int, bytes]:
        """A stream, and its frames; without a body it does not end."""
        stream, self._next = self._next, self._next + 2
        head = self._encoder.encode([(n, path if n == ":path" else v) for n, v in _REQUEST])
        sent = self.frame(1, 4, stream, head)
        return stream, sent if body is None else sent + self.frame(0, 1, stream, framed(body))

    def given_up(self, count: int, path: str = "/T/Echo") -> bytes:
        sent = b""
        for _ in range(count):
            stream, frames = self.call(path)
            sent += frames + self.frame(3, 0, stream, struct.pack(">I", 8))
        return sent

    def broken(self, count: int, path: str) -> bytes:
        """Calls that a window beyond bounds has the server reset ("MadeYouReset")."""
        sent = b""
        for _ in range(count):
            stream, frames = self.call(path)
            sent += frames + self.frame(8, 0, stream, struct.pack(">I", (1 << 31) - 1))
        return sent

    def until(self, *kinds: int) -> tuple[int, int, bytes]:
        """The next frame of these kinds: kind, stream, payload.

        :raises EOFError: the server has closed.
        """
        while True:
            while len(self._read) < 9 or len(self._read) < 9 + int.from_bytes(self._read[:3], "big"):
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise EOFError
                self._read += data
            size, kind = int.from_bytes(self._read[:3], "big"), self._read[3]
            stream, payload = int.from_bytes(self._read[5:9], "big"), self._read[9 : 9 + size]
            self._read = self._read[9 + size :]
            if kind == 1:
                payload = repr(dict(self._decoder.decode(payload))).encode()
            if kind in kinds:
                return kind, stream, payload
