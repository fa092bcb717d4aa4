"""``dubbo.protocols``: where a provider serves, and its limits."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigError
from . import not_applied
from .config import Protocol
from .keys import Keys

#: As dubbo-go's default (config/protocol_config.go).
DEFAULT_PORT = 50051
ANY_ADDRESS = "0.0.0.0"
TRIPLE = ("tri", "triple")
_OTHERS = ("dubbo", "grpc", "rest", "jsonrpc", "http", "hessian", "thrift", "injvm", "rmi")


def protocol(name: str, keys: Keys) -> Protocol:
    """Read one. Port 0 or -1 is any free one.

    :raises ConfigError: something in it is wrong.
    """
    kind = checked(keys, "name", keys.text("name", TRIPLE[0]))
    host = keys.text(keys.one_of("ip", "host")) or ANY_ADDRESS
    port = keys.integer("port", DEFAULT_PORT, low=-1, high=65535)
    triple = keys.child("triple")
    limits = []
    for option, key in (
        ("grpc.max_send_message_length", "max-server-send-msg-size"),
        ("grpc.max_receive_message_length", "max-server-recv-msg-size"),
    ):
        outer, inner = keys.size(key), triple.size(key)
        size = outer if inner is None else inner
        if size is not None:
            limits.append((option, size))
    triple.not_applied("warning", not_applied.TRIPLE_WARNINGS)
    triple.finish()
    keys.refused(not_applied.PROTOCOL_REFUSED)
    keys.not_applied("warning", not_applied.PROTOCOL_WARNINGS)
    keys.not_applied("note", not_applied.PROTOCOL_NOTES)
    keys.finish()
    return Protocol(name, kind, host, max(port, 0), tuple(limits))


def checked(keys: Keys, key: str, kind: str) -> str:
    """A protocol's name, where it is one of Dubbo's.

    :raises ConfigError: it is none.
    """
    if kind not in (*TRIPLE, *_OTHERS):
        keys.fail(key, f"is {kind!r}, which is no protocol of Dubbo's", f"Write {TRIPLE[0]}")
    return kind


def spoken(keys: Keys, key: str, kind: str) -> None:
    """:raises ConfigError: it is one of Dubbo's that is not spoken here."""
    if kind not in TRIPLE:
        keys.fail(
            key,
            f"is {kind!r}, which is not spoken here",
            f"Write {TRIPLE[0]}: every Dubbo since 3.0 serves it",
        )


def different_ports(protocols: Iterable[Protocol], where: str) -> None:
    """:raises ConfigError: two of them have one port."""
    taken: dict[int, str] = {}
    for each in protocols:
        if each.port and each.port in taken:
            raise ConfigError(
                f"dubbo.protocols.{each.name}.port is {each.port}, as is that of {taken[each.port]}",
                where=where,
                hint="Give each its own, or 0 for any free one",
            )
        taken[each.port] = each.name
