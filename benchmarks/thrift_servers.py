"""Thrift servers for the benchmarks, each a process of its own.

``python -m benchmarks.thrift_servers KIND FORM`` serves on a free loopback port and prints it. For each line of
standard input it prints what it has used of the processors, in nanoseconds; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from . import greeters, mesh

FORMS = {
    "framed binary": ("framed", "binary"),
    "buffered binary": ("buffered", "binary"),
    "framed compact": ("framed", "compact"),
}


def factories(form: str) -> tuple[Any, Any]:
    """thriftpy2's transport and protocol factories of a form."""
    from thriftpy2.protocol import TCompactProtocolFactory, TCyBinaryProtocolFactory
    from thriftpy2.transport import TCyBufferedTransportFactory, TCyFramedTransportFactory

    framing, protocol = FORMS[form]
    return (
        TCyFramedTransportFactory() if framing == "framed" else TCyBufferedTransportFactory(),
        TCyBinaryProtocolFactory() if protocol == "binary" else TCompactProtocolFactory(),
    )


def aio_factories() -> tuple[Any, Any]:
    """Those of thriftpy2's asyncio half, framed and binary."""
    from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocolFactory
    from thriftpy2.contrib.aio.transport.framed import TAsyncFramedTransportFactory

    return TAsyncFramedTransportFactory(), TAsyncBinaryProtocolFactory()


class Server:
    """A server process.

    :ivar port: on 127.0.0.1.
    """

    def __init__(self, port: int, questions: IO[str], answers: IO[str]) -> None:
        self.port = port
        self._questions = questions
        self._answers = answers

    def cpu_ns(self) -> int:
        """What it has used of the processors so far, all threads counted."""
        self._questions.write("\n")
        self._questions.flush()
        return int(self._answers.readline())


@contextlib.contextmanager
def running(kind: str, form: str = "framed binary") -> Iterator[Server]:
    """A server process of one of the :data:`KINDS`; ours speak every form, whatever ``form`` says."""
    command = [sys.executable, "-m", "benchmarks.thrift_servers", kind, form]
    process = subprocess.Popen(
        command, cwd=mesh.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {kind} server did not start")
        yield Server(int(line), process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class Greeter:
    def SayHello(self, request: Any) -> Any:
        return greeters.thrift_module().User(name="Hello " + request.name, id="v1", age=21)


class AioGreeter:
    async def SayHello(self, request: Any) -> Any:
        return Greeter.SayHello(self, request)  # type: ignore[arg-type]


def announce(port: int | str) -> None:
    print(port, flush=True)


def serve_threads(service: Any, form: str) -> None:
    server = ours().server(service, Greeter(), "127.0.0.1:0").start()
    announce(server.address.rpartition(":")[2])
    server.serve()


def serve_asyncio(service: Any, form: str) -> None:
    async def main() -> None:
        server = await ours().aio_server(service, AioGreeter(), "127.0.0.1:0").start()
        announce(server.address.rpartition(":")[2])
        await server.serve()

    asyncio.run(main())


def ours() -> Any:
    from pyrpc_xds.transports.thrift import ThriftTransport
    from tests.unit.transports.thrift.fakes import FakeMesh

    return ThriftTransport(FakeMesh())


def serve_thriftpy2(service: Any, form: str) -> None:
    from thriftpy2.server import TThreadedServer
    from thriftpy2.thrift import TProcessor
    from thriftpy2.transport import TServerSocket

    class Announced(TServerSocket):  # type: ignore[misc]
        def listen(self) -> None:
            super().listen()
            announce(self.sock.getsockname()[1])

    trans, proto = factories(form)
    TThreadedServer(
        TProcessor(service, Greeter()),
        # No client timeout: a rival's connection is idle while the others have their turn.
        Announced("127.0.0.1", 0, client_timeout=None, backlog=512),
        iprot_factory=proto,
        itrans_factory=trans,
        daemon=True,
    ).serve()


def serve_thriftpy2_asyncio(service: Any, form: str) -> None:
    from thriftpy2.contrib.aio.processor import TAsyncProcessor
    from thriftpy2.contrib.aio.server import TAsyncServer
    from thriftpy2.contrib.aio.socket import TAsyncServerSocket

    trans, proto = aio_factories()
    loop = asyncio.new_event_loop()
    server = TAsyncServer(
        TAsyncProcessor(service, AioGreeter()),
        TAsyncServerSocket("127.0.0.1", 0, client_timeout=None, backlog=512),
        iprot_factory=proto,
        itrans_factory=trans,
        loop=loop,
    )
    server.init_server()
    announce(server.server.sockets[0].getsockname()[1])
    loop.run_forever()


KINDS = {
    "thriftpy2": serve_thriftpy2,
    "thriftpy2-asyncio": serve_thriftpy2_asyncio,
    "threads": serve_threads,
    "asyncio": serve_asyncio,
}


def answer_questions() -> None:
    for _ in sys.stdin:
        announce(time.process_time_ns())
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=answer_questions, daemon=True).start()
    KINDS[sys.argv[1]](greeters.thrift_module().Greeter, sys.argv[2])
