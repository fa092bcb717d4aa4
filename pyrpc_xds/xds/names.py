"""Names: of targets (what a program calls) and of clusters (what Istio calls them)."""

from __future__ import annotations

import ipaddress
from enum import Enum

from ..errors import UsageError
from ..frozen import frozen

_FORMS = "use xds:///HOST:PORT, HOST:PORT or direct:///IP:PORT"


class TargetKind(Enum):
    """How a target is resolved."""

    XDS = "xds"
    """By the control plane: its Listener is named ``host:port``."""
    PLAIN = "plain"
    """Not in xDS: one endpoint, named as written."""
    DIRECT = "direct"
    """Not in xDS: one endpoint, an IP address."""


@frozen
class Target:
    """A parsed target.

    :param host: without brackets.
    :param port: 1 to 65535.
    """

    kind: TargetKind
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port`` or ``[v6]:port``: the Listener's name, and what virtual hosts match."""
        return join_host_port(self.host, self.port)

    def __str__(self) -> str:
        prefix = {TargetKind.XDS: "xds:///", TargetKind.DIRECT: "direct:///", TargetKind.PLAIN: ""}
        return prefix[self.kind] + self.authority


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as its parts.

    :raises ValueError: it is neither; the text says why.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ValueError(f"{text!r} is not [IPv6]:PORT")
        port = rest[1:]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} in brackets is not an IPv6 address") from None
    else:
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} has no port")
        if ":" in host:
            raise ValueError(f"{text!r}: put brackets around an IPv6 address")
    if not host or any(character.isspace() or character == "/" for character in host):
        raise ValueError(f"{text!r} has no valid host")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return host, int(port)


def parse_target(target: str) -> Target:
    """A target as a program writes it.

    :raises UsageError: it is none of ``xds:///host:port``, ``host:port`` and ``direct:///ip:port``, or names
        an xDS authority (``xds://authority/...``, gRFC A47), which is not supported.
    """
    kind, rest = TargetKind.PLAIN, target
    if target.startswith("xds:"):
        kind, rest = TargetKind.XDS, target.removeprefix("xds:")
    elif target.startswith("direct:"):
        kind, rest = TargetKind.DIRECT, target.removeprefix("direct:")
    if kind is not TargetKind.PLAIN:
        if rest.startswith("//"):
            authority, slash, rest = rest[2:].partition("/")
            if authority:
                hint = f"; did you mean {kind.value}:///{authority}?" if not slash or not rest else ""
                raise UsageError(
                    f"target {target!r}: the authority {authority!r} is not supported "
                    f"(three slashes, nothing between the second and the third){hint}"
                )
        rest = rest.removeprefix("/")
    elif "://" in target:
        raise UsageError(f"target {target!r}: unknown scheme; {_FORMS}")
    try:
        host, port = split_host_port(rest)
        if kind is TargetKind.DIRECT:
            ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(f"target {target!r}: {error}; {_FORMS}") from None
    return Target(kind, host if ":" in host else host.lower(), port)


@frozen
class SubsetKey:
    """Istio's name of a cluster, ``DIRECTION|PORT|SUBSET|HOST``.

    :param direction: ``outbound`` or ``inbound``.
    :param subset: empty: the whole service.
    """

    direction: str
    port: int
    subset: str
    host: str

    def __str__(self) -> str:
        return f"{self.direction}|{self.port}|{self.subset}|{self.host}"

    @classmethod
    def parse(cls, name: str) -> SubsetKey | None:
        """The parts of ``name``; ``None``: it is not in Istio's form (other control planes name freely)."""
        parts = name.split("|")
        if len(parts) != 4 or not (parts[1].isascii() and parts[1].isdigit() and len(parts[1]) <= 5):
            return None
        return cls(parts[0], int(parts[1]), parts[2], parts[3])
