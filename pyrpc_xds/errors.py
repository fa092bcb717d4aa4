"""The exception tree, split by whose fault it is, and the status codes of a call.

=====================  ====================================================================
whose fault            class
=====================  ====================================================================
the caller's           :class:`UsageError`; :class:`ClosedError`: what it uses was closed
the configuration's    :class:`ConfigError` (bootstrap, YAML); :class:`PortNotBound`: a
                       server cannot listen where it should
the control plane's    :class:`XdsError`: :class:`StreamError`, :class:`ResourceInvalid`,
                       :class:`ResourceNotFound`
the peer's             :class:`RemoteProtocolError`
the call's             :class:`CallError`: :class:`Unavailable`, :class:`DeadlineExceeded`, ...
=====================  ====================================================================

Transports raise subclasses that are also the exceptions of their own library (``grpc.RpcError``,
``thriftpy2.thrift.TException``), so that existing ``except`` clauses keep working.
"""

from __future__ import annotations

import errno
import socket
from enum import IntEnum


class Code(IntEnum):
    """Status codes of a call, numbered as gRPC numbers them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class PyrpcXdsError(Exception):
    """Base of every error that this package raises."""


class UsageError(PyrpcXdsError):
    """The package was called in a way it cannot serve (a closed client, a wrong argument, a wrong target form)."""


class ClosedError(UsageError, ValueError):
    """What was closed or stopped is used again: an XdsClient, a client, a channel, a server of either transport.

    A :class:`ValueError`, as grpcio's channels and Python's files raise.

    :param what: what is closed, with its target or address.
    """

    def __str__(self) -> str:
        return f"{super().__str__()}; make another"


class ConfigError(PyrpcXdsError):
    """A bootstrap, a YAML document or an argument is wrong.

    :param what: what is wrong, in one clause.
    :param where: file, document, variable or field; empty where the caller knows.
    :param hint: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(f"{where + ': ' if where else ''}{what}{'. ' + hint if hint else ''}")


class PortNotBound(ConfigError, OSError, RuntimeError):
    """A server of either transport cannot listen where it was told to.

    An :class:`OSError` with its ``errno``, as sockets raise, and a :class:`RuntimeError`, as grpcio does.

    :param address: as the server was given it.
    :param reason: the system's; ``None``: not known.
    """

    def __init__(self, address: str, reason: OSError | None = None) -> None:
        said = "" if reason is None else reason.strerror or str(reason)
        ConfigError.__init__(
            self, f"cannot listen on {address}{': ' if said else ''}{said}", hint=_hint_for(reason)
        )
        self.address = address
        if reason is not None:
            self.errno, self.strerror = reason.errno, said

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[PortNotBound], tuple[str, OSError | None]]:
        return type(self), (self.address, OSError(self.errno, self.strerror) if self.errno else None)


def _hint_for(reason: OSError | None) -> str:
    if isinstance(reason, socket.gaierror):
        return "Give an IP address of this machine, or 0.0.0.0 for all of them"
    match None if reason is None else reason.errno:
        case errno.EADDRINUSE:
            return "Another server has the port: stop it or take another; port 0 takes any free one"
        case errno.EADDRNOTAVAIL:
            return "It is no address of this machine; 0.0.0.0 is all of them"
        case errno.EACCES:
            return "Ports below 1024 need a privilege; port 0 takes any free one"
    return "Is the port taken, and is the address one of this machine's? Port 0 takes any free port"


class XdsError(PyrpcXdsError):
    """Something that the control plane, or the way to it, did wrong."""


class StreamError(XdsError):
    """The ADS stream could not be opened, or broke."""


class NodeRefused(StreamError):
    """The control plane answers no node that describes itself as this one does (INVALID_ARGUMENT).

    Unlike other stream errors it fails calls that wait for a configuration at once: waiting does not help.
    """


class ResourceError(XdsError):
    """Base of the errors of one resource.

    :param kind: the resource type's short name, such as ``LDS``.
    :param name: the resource's name.
    """

    def __init__(self, kind: str, name: str, reason: str) -> None:
        self.kind = kind
        self.name = name
        self.reason = reason
        super().__init__(f"{kind} {name!r}: {reason}")


class ResourceInvalid(ResourceError):
    """A resource was refused (NACK); the last good version, where there is one, stays in use."""


class ResourceNotFound(ResourceError):
    """The control plane does not have the resource, or did not answer within the resource timer (gRFC A57)."""


class RemoteProtocolError(PyrpcXdsError):
    """The peer sent bytes that are not the protocol, or exceed a limit. Its connection is closed."""


class CallError(PyrpcXdsError):
    """A call failed before, or instead of, an answer of the server.

    Faults of the mesh are always ``UNAVAILABLE`` or ``DEADLINE_EXCEEDED``: a status of the control plane
    never reaches a caller (gRFC A54).

    :param details: what failed, where, and what is known about the reason.
    """

    code: Code = Code.UNKNOWN

    def __init__(self, details: str) -> None:
        self.details_text = details
        super().__init__(details)


class Unavailable(CallError):
    """No endpoint could take the call; the text says why (no route, no endpoints, not connected, not resolved)."""

    code = Code.UNAVAILABLE


class DeadlineExceeded(CallError):
    """The caller's deadline or the route's timeout, whichever is shorter, ran out."""

    code = Code.DEADLINE_EXCEEDED


class BusinessError(CallError):
    """The service itself refused: its application's answer, not a fault of the mesh. Never retried.

    A handler raises it; the caller catches it, or its transport's subclass.

    :param code: the application's own, above 16: up to there are gRPC's. Dubbo-go's for any error is 17.
    :param message: for the caller.
    :raises UsageError: the code is none that can be told from gRPC's.
    """

    def __init__(self, code: int, message: str) -> None:
        if not Code.UNAUTHENTICATED < code < 1 << 31:
            raise UsageError(f"business code {code}: 17 to 2147483647 can be told from gRPC's own codes")
        self.business_code = code
        self.message = message
        super().__init__(message)


def started_before(address: str, stopped: bool) -> UsageError:
    """The error for a second start of a server.

    :param address: where it listens, or should have.
    :param stopped: it was stopped meanwhile.
    """
    if stopped:
        return ClosedError(f"the server at {address} was stopped, and is started once")
    return UsageError(f"the server at {address} has been started: a server is started once")


def missing_extra(extra: str, module: str, purpose: str) -> ConfigError:
    """The error for an optional dependency that is not installed.

    :param extra: name of the extra that brings ``module``.
    :param purpose: what needs it.
    """
    return ConfigError(
        f"{purpose} needs the module {module!r}, which is not installed",
        hint=f"Run: pip install 'pyrpc-xds[{extra}]'",
    )
