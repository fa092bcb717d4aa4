"""Errors of Thrift calls: each is the package's own and thriftpy2's at once, so existing ``except`` clauses
hold.

What the server itself answers is not among them: declared exceptions and ``TApplicationException`` are raised
as they come.
"""

from __future__ import annotations

from collections.abc import Mapping

from thriftpy2.protocol.exc import TProtocolException
from thriftpy2.thrift import TApplicationException, TDecodeException, TException
from thriftpy2.transport import TTransportException

from ...errors import DeadlineExceeded, PyrpcXdsError, RemoteProtocolError, Unavailable, UsageError
from .foreign import hint


class _Told:
    """What an error says is its text. thriftpy2's errors make theirs of their other attributes."""

    details_text: str

    def __str__(self) -> str:
        return self.details_text

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.details_text!r})"


class ThriftUnavailable(_Told, Unavailable, TTransportException):  # type: ignore[misc]
    """No endpoint took the call, or its connection broke before the answer.

    :ivar type: ``TTransportException.NOT_OPEN`` where nothing was sent, ``END_OF_FILE`` where the call may
        have run.
    """

    def __init__(self, details: str, type: int = TTransportException.NOT_OPEN) -> None:
        Unavailable.__init__(self, details)
        self.type = type
        self.message = details


class ThriftDeadlineExceeded(_Told, DeadlineExceeded, TTransportException, TimeoutError):  # type: ignore[misc]
    """The deadline ran out; a call that was sent may have run. Also a ``socket.timeout``.

    :ivar type: ``TTransportException.TIMED_OUT``.
    """

    def __init__(self, details: str) -> None:
        DeadlineExceeded.__init__(self, details)
        self.type = TTransportException.TIMED_OUT
        self.message = details


class ThriftProtocolError(_Told, RemoteProtocolError, TProtocolException):  # type: ignore[misc]
    """The peer's bytes are not a message, exceed a limit, or answer another call. The connection is closed.

    :ivar type: ``TProtocolException.INVALID_DATA``, ``SIZE_LIMIT``, ``NEGATIVE_SIZE`` or ``BAD_VERSION``.
    """

    def __init__(self, details: str, type: int = TProtocolException.INVALID_DATA) -> None:
        RemoteProtocolError.__init__(self, details)
        self.details_text = details
        self.type = type
        self.message = details


class ThriftArgumentError(_Told, UsageError, TDecodeException):  # type: ignore[misc]
    """A value that was to be sent is not of the IDL's type. Nothing was sent.

    :param details: names the method, the argument, the value and the type.
    :param found: thriftpy2's error for it, whose attributes this has; ``None``: it has none.
    """

    def __init__(self, details: str, found: TDecodeException | None = None) -> None:
        UsageError.__init__(self, details)
        self.details_text = details
        self.__dict__.update(vars(found) if found is not None else {})


class ThriftBizError(PyrpcXdsError, TException):  # type: ignore[misc]
    """A business status of Kitex: the call went well, and the business says no.

    Raised by a call over TTHeader, and by handlers; over a transport without headers a client gets a
    ``TApplicationException`` with the text instead.

    :param code: of 32 bits, as Kitex's; not 0, which means that all is well.
    :param message: for people.
    :param extra: for programs.
    :raises UsageError: the code is none, or the message is not text.
    """

    def __init__(self, code: int, message: str = "", extra: Mapping[str, str] | None = None) -> None:
        if not isinstance(code, int) or isinstance(code, bool) or not code or not -(2**31) <= code < 2**31:
            raise UsageError(
                f"ThriftBizError(code={code!r}): an int of 32 bits, such as 1001; 0 means that all is well"
            )
        if not isinstance(message, str):
            raise UsageError(f"ThriftBizError(message={message!r}): a str, such as 'sold out'")
        super().__init__(f"business status {code}: {message}")
        self.code = code
        self.message = message
        self.extra = dict(extra or {})

    def __str__(self) -> str:
        return f"business status {self.code}: {self.message}"

    def __repr__(self) -> str:
        return f"ThriftBizError({self.code!r}, {self.message!r}, {self.extra!r})"


def plain(text: str) -> str:
    """A text that can be encoded: what is no character, such as half of a pair of surrogates, is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def sendable(error: TApplicationException) -> TApplicationException:
    """An exception as it can be encoded and shown: its message is text, its type a number of 32 bits.

    thriftpy2 looks at neither, and takes the type first: ``TApplicationException("text")``.
    """
    kind, message = getattr(error, "type", None), getattr(error, "message", None)
    if message is None and isinstance(kind, str):
        message = kind
    if isinstance(message, bytes):
        message = message.decode(errors="backslashreplace")
    if not isinstance(kind, int) or not -(2**31) <= kind < 2**31:
        kind = TApplicationException.UNKNOWN
    return TApplicationException(int(kind), None if message is None else plain(str(message)))


_TYPES = {
    "negative size": TProtocolException.NEGATIVE_SIZE,
    "bad version": TProtocolException.BAD_VERSION,
    "message larger than the limit": TProtocolException.SIZE_LIMIT,
    "too many elements": TProtocolException.SIZE_LIMIT,
    "more memory than Limits.expansion allows": TProtocolException.SIZE_LIMIT,
    "nested too deep": TProtocolException.SIZE_LIMIT,
    "count beyond the message": TProtocolException.SIZE_LIMIT,
    "length beyond the message": TProtocolException.SIZE_LIMIT,
}
# What raises the limit, where the scan's word does not say it.
_LIMITS = {
    "message larger than the limit": " (Limits.frame)",
    "too many elements": " (Limits.elements)",
    "nested too deep": " (Limits.depth)",
}


def refused(kind: str, offset: int, head: bytes = b"") -> ThriftProtocolError:
    """The error for bytes that the scan refused.

    :param kind: what the scan said.
    :param offset: bytes from the start of the message.
    :param head: its first bytes.
    """
    return ThriftProtocolError(
        f"{kind}{_LIMITS.get(kind, '')} at byte {offset} of the message{hint(head)}",
        _TYPES.get(kind, TProtocolException.INVALID_DATA),
    )
