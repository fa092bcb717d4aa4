"""Peers for tests: thriftpy2's own server and client classes over loopback sockets, and a server that misbehaves."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.protocol.binary import TBinaryProtocolFactory as PureBinaryFactory
from thriftpy2.rpc import make_client
from thriftpy2.thrift import TApplicationException, TProcessor
from thriftpy2.transport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TSocket,
    TTransportException,
)
from thriftpy2.transport.buffered import TBufferedTransportFactory as PureBufferedFactory
from thriftpy2.transport.framed import TFramedTransportFactory as PureFramedFactory

idl = thriftpy2.load(str(Path(__file__).with_name("everything.thrift")), module_name="everything_thrift")

# thriftpy2's classes of every framing and protocol: compiled, and pure (which do not mix).
FACTORIES: dict[str, tuple[Any, Any]] = {
    "framed-binary": (TFramedTransportFactory(), TBinaryProtocolFactory()),
    "buffered-binary": (TBufferedTransportFactory(), TBinaryProtocolFactory()),
    "framed-compact": (TFramedTransportFactory(), TCompactProtocolFactory()),
    "buffered-compact": (TBufferedTransportFactory(), TCompactProtocolFactory()),
    "framed-binary-pure": (PureFramedFactory(), PureBinaryFactory()),
    "buffered-binary-pure": (PureBufferedFactory(), PureBinaryFactory()),
    "framed-compact-pure": (PureFramedFactory(), TCompactProtocolFactory()),
    "buffered-compact-pure": (PureBufferedFactory(), TCompactProtocolFactory()),
}


class Handler:
    """Implements the service of everything.thrift."""

    def __init__(self) -> None:
        self.fired: list[str] = []
        self.got_fired = threading.Event()
        self.calls = 0
        self.running = 0
        self.release = threading.Event()

    def ping(self, text: str) -> str:
        self.calls += 1
        return text

    def nothing(self) -> None:
        return None

    def echo(self, item: Any) -> Any:
        return item

    def add(self, left: int, right: int) -> int:
        return left + right

    def needed(self, value: int) -> int:
        return value

    def fail(self, how: str) -> str:
        if how == "refused":
            raise idl.Refused(why="no", code=3)
        if how == "busy":
            raise idl.Busy(limit=2**40)
        if how == "application":
            raise TApplicationException(TApplicationException.PROTOCOL_ERROR, "said so")
        raise ValueError("secret of " + how)

    def check(self, good: bool) -> None:
        if not good:
            raise idl.Refused(why="bad", code=4)

    def undeclared(self, text: str) -> str:
        raise ValueError("secret of " + text)

    def no(self) -> bool:
        return False

    def reverse(self, words: dict[str, str]) -> dict[str, str]:
        return {value: key for key, value in words.items()}

    def fire(self, text: str) -> None:
        self.fired.append(text)
        self.got_fired.set()

    def slow(self, seconds: float) -> str:
        self.running += 1
        self.release.wait(seconds)
        self.running -= 1
        return "done"

    def close(self) -> str:
        return "closed by IDL"


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None], backlog: int = 64) -> Iterator[str]:
    """A loopback server that runs ``serve`` in a thread for each connection; its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    listener.settimeout(0.02)
    over = threading.Event()
    threads: list[threading.Thread] = []
    open_now: set[socket.socket] = set()

    def run(sock: socket.socket) -> None:
        try:
            serve(sock)
        except OSError:
            pass
        finally:
            open_now.discard(sock)
            sock.close()

    def accept() -> None:
        while not over.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                continue
            sock.settimeout(None)
            open_now.add(sock)
            threads.append(threading.Thread(target=run, args=(sock,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    host, port = listener.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        over.set()
        acceptor.join()
        listener.close()
        for sock in list(open_now):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1") -> Iterator[str]:
    """An address where connecting is neither accepted nor refused: a full queue drops what comes."""
    with socket.create_server((host, 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield f"{host}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def thriftpy2_server(pair: str, handler: Any) -> Iterator[str]:
    """thriftpy2's own processor, protocol and transport, a thread per connection as its TThreadedServer has it."""
    transports, protocols = FACTORIES[pair]
    processor = TProcessor(idl.Everything, handler)

    def serve(sock: socket.socket) -> None:
        transport = transports.get_transport(TSocket(sock=sock))
        protocol = protocols.get_protocol(transport)
        try:
            while True:
                processor.process(protocol, protocol)
        except (TTransportException, OSError):
            pass
        except ValueError:
            pass  # an undeclared exception of the handler: thriftpy2 drops the connection

    with listening(serve) as address:
        yield address


@contextlib.contextmanager
def thriftpy2_client(pair: str, address: str) -> Iterator[Any]:
    transports, protocols = FACTORIES[pair]
    host, _, port = address.rpartition(":")
    client = make_client(idl.Everything, host, int(port), trans_factory=transports, proto_factory=protocols)
    try:
        yield client
    finally:
        client.close()


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Fail unless ``condition`` comes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time")
        time.sleep(0.005)
