"""The listening socket of the server for threads, where the process can hold no more connections."""

from __future__ import annotations

import errno
import selectors
import socket

import pytest

from pyrpc_xds.transports.thrift.address import listen
from pyrpc_xds.transports.thrift.listener import Listener
from pyrpc_xds.transports.thrift.log import RateLimitedLog


class Full:
    """A listening socket of a process that has no descriptor left."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.family = sock.family
        self.fileno = sock.fileno
        self.close = sock.close
        self.full = True

    def accept(self) -> object:
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()


def test_full_process_does_not_wake_the_reactor_until_a_second_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sock = listen("127.0.0.1:0", 8)
    with selectors.DefaultSelector() as selector:
        full = Full(sock)
        listener = Listener(full, selector, "owner", RateLimitedLog())  # type: ignore[arg-type]
        with socket.create_connection(sock.getsockname(), 5):
            assert selector.select(5)
            assert list(listener.accept()) == []
            assert "'owner' cannot accept: Too many open files" in caplog.text
            assert not selector.select(0)
            full.full = False
            listener.look_again(0.0)
            assert not selector.select(0) and list(listener.accept()) == []
            listener.look_again(float("inf"))
            assert selector.select(5)
            [(accepted, _)] = listener.accept()
            accepted.close()
        listener.close()
        listener.close()
        listener.look_again(float("inf"))


def test_listener_that_is_closed_during_its_pause_stays_closed() -> None:
    with selectors.DefaultSelector() as selector:
        full = Full(listen("127.0.0.1:0", 8))
        listener = Listener(full, selector, "owner", RateLimitedLog())  # type: ignore[arg-type]
        assert list(listener.accept()) == []
        listener.close()
        listener.look_again(float("inf"))
        assert not selector.get_map()
