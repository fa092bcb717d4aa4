"""How a server for threads runs the calls of a shared connection: short ones in turn, others beside one another."""

from __future__ import annotations

import socket
import threading

from pyrpc_xds.transports.thrift import ThriftTransport
from pyrpc_xds.transports.thrift.codec import CALL, codec_for
from pyrpc_xds.transports.thrift.header import OUT_OF_ORDER
from pyrpc_xds.transports.thrift.limits import Limits
from pyrpc_xds.transports.thrift.wire import Wire
from tests.e2e.test_thrift_mux import Background, frames, mux
from tests.interop.peers.ours import our_server
from tests.interop.peers.ttheader_bytes import Frame, pack
from tests.unit.transports.thrift.fakes import FakeMesh
from tests.unit.transports.thrift.peers import Handler, idl, wait_until


class Paced(Handler):
    """Calls last while their text says so; remembers which threads ran them."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.held = threading.Semaphore(0)
        self.opened = threading.Event()

    def ping(self, text: str) -> str:
        self.threads.add(threading.get_ident())
        if text == "hold":
            self.held.release()
            assert self.opened.wait(20)
        return text


def test_short_calls_of_a_shared_connection_stay_with_one_thread() -> None:
    handler = Paced()
    with our_server("sync", idl.Everything, handler, workers=16) as address, mux("sync", address) as client:
        texts = [str(number) for number in range(60)]
        assert [client.ping(text) for text in texts] == texts
        handler.threads.clear()
        assert [client.ping(text) for text in texts] == texts
        # The interpreter makes a short call long now and then, which another thread may then overtake.
        assert len(handler.threads) <= 4


def test_call_that_unexpectedly_lasts_is_overtaken_by_those_already_received() -> None:
    handler = Paced()
    with our_server("sync", idl.Everything, handler, workers=16) as address, mux("sync", address) as client:
        try:
            texts = [str(number) for number in range(200)]
            assert client.at_once([("ping", (text,)) for text in texts], 8) == texts
            background = Background(client)
            calls = background.ping("hold")
            assert handler.held.acquire(timeout=10)
            for number in range(20):
                assert client.ping(f"after {number}") == f"after {number}"
            more = background.ping("hold", "hold", "hold")
            for _ in range(3):
                assert handler.held.acquire(timeout=10)
            assert client.ping("and after those") == "and after those"
        finally:
            handler.opened.set()
        assert calls.result(10) == ["hold"]
        assert more.result(10) == ["hold"] * 3


def test_answers_made_before_a_call_that_lasts_are_not_kept_back() -> None:
    handler = Paced()
    with our_server("sync", idl.Everything, handler, workers=4) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 5) as sock:
            try:
                sock.settimeout(5)
                # By now the server knows the connection's client, and its calls as short ones.
                for number in range(1, 20):
                    sock.sendall(request(number, "short"))
                    assert next(frames(sock)).seqid == number
                sock.sendall(request(20, "short") + request(21, "hold") + request(22, "short"))
                answered = frames(sock)
                assert {next(answered).seqid, next(answered).seqid} == {20, 22}
            finally:
                handler.opened.set()
            assert next(answered).seqid == 21


def test_answers_before_bytes_that_are_refused_arrive() -> None:
    with our_server("sync", idl.Everything, Paced()) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 5) as sock:
            sock.settimeout(5)
            for number in range(1, 20):
                sock.sendall(request(number, "short"))
                assert next(frames(sock)).seqid == number
            sock.sendall(request(20, "a") + request(21, "b") + b"\0\0\0\x20 no header at all and no message!")
            assert [each.seqid for each in frames(sock)] == [20, 21]


def request(seqid: int, text: str) -> bytes:
    codec = codec_for(Wire(framed=False), Limits())
    message = codec.encode("ping", CALL, seqid, idl.Everything.ping_args(text=text))
    return pack(Frame(message, seqid=seqid, flags=OUT_OF_ORDER))


def test_server_forgets_a_shared_connection_that_ends_while_a_worker_has_it() -> None:
    with ThriftTransport(FakeMesh()).server(idl.Everything, Handler(), "127.0.0.1:0") as server:
        for _ in range(5):
            with mux("sync", server.address) as client:
                for number in range(20):
                    assert client.ping(str(number)) == str(number)
        reactor = server._reactor
        assert reactor is not None
        wait_until(lambda: not server._tally.open)
        # What is lent has the reactor look every few milliseconds.
        wait_until(lambda: not reactor._lent)
