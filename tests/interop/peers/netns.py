"""A private network namespace: a Python process in which nothing but loopback exists.

dubbo-go and Dubbo Java listen on every interface whatever they are told, so they, and whatever talks to them,
run in here. ``Namespace().run(function, ...)`` runs a function of an importable module there; arguments and
result travel as JSON. The process lives until ``close()``, so what one function starts the next one finds;
``on_close`` is where functions register what has to be ended.
"""

from __future__ import annotations

import fcntl
import functools
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .built import ROOT, PeerProcess, PeerUnavailable

#: Closed when the namespace's process ends; used inside of it only.
on_close = ExitStack()

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP of <linux/sockios.h>


class FailedInside(AssertionError):
    """A function failed in the namespace; the message is its traceback and the log."""


@functools.cache
def entering(*commands: tuple[str, ...]) -> tuple[str, ...] | str:
    """The first command that runs another one in a namespace of its own, or why there is none.

    :param commands: to choose from; none given: root's, then everybody's.
    """
    why = "it needs Linux with util-linux's unshare"
    for command in commands or (("unshare", "-n"), ("unshare", "-rn")):
        try:
            done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return command
        why = done.stderr.strip()
    return f"no private network namespace to be had here (root or user namespaces): {why}"


def skip_reason() -> str | None:
    """Why there can be no namespace here, or None."""
    found = entering()
    return found if isinstance(found, str) else None


class Namespace:
    """A process in a network namespace of its own.

    :param commands: as for :func:`entering`.
    :raises PeerUnavailable: there can be none here.
    """

    def __init__(self, *commands: tuple[str, ...]) -> None:
        command = entering(*commands)
        if isinstance(command, str):
            raise PeerUnavailable(command)
        inside = [sys.executable, "-c", f"from {__name__} import main; main()"]
        self._process = PeerProcess([*command, *inside], folder=ROOT)
        self._process.read()

    def run(self, function: Callable[..., Any], *arguments: Any, seconds: float = 60.0, **named: Any) -> Any:
        """What ``function(*arguments, **named)`` returns in there.

        :raises FailedInside: it raised.
        :raises PeerUnavailable: it took more than ``seconds``, which ends the namespace.
        """
        order = {"function": [function.__module__, function.__name__], "arguments": arguments, "named": named}
        answer = self._process.ask(order, seconds)
        if "failed" in answer:
            raise FailedInside(f"{answer['failed']}\nlogged inside:\n{self._process.logged()}")
        return answer["result"]

    def close(self) -> None:
        """End the process, and with it the namespace."""
        self._process.close()


def loopback_up() -> None:
    """Switch on this namespace's ``lo``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)[0]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))


def main() -> None:
    """Inside: answer every line of standard input with one of what standard output was."""
    interfaces = [name for _, name in socket.if_nameindex()]
    if interfaces != ["lo"]:
        raise SystemExit(f"this is no private network namespace: it has {interfaces}")
    loopback_up()
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anybody prints must not stand between the results
    print("{}", file=results, flush=True)
    with on_close:
        for line in sys.stdin:
            order = json.loads(line)
            module, name = order["function"]
            try:
                function = getattr(importlib.import_module(module), name)
                answer = {"result": function(*order["arguments"], **order["named"])}
            except Exception:
                answer = {"failed": traceback.format_exc()}
            print(json.dumps(answer), file=results, flush=True)
