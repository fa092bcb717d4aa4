"""What a call gives its caller, from the message that answers it; and the wording of what went wrong
instead.
"""

from __future__ import annotations

import errno
import reprlib
import struct
from time import monotonic
from typing import Any, Protocol

from thriftpy2.thrift import TApplicationException, TDecodeException
from thriftpy2.transport import TTransportException

from ...errors import UsageError
from ...incoming_deadline import incoming_deadline, whose
from .biz import biz_error
from .call import note_reply
from .codec import CALL, EXCEPTION, REPLY, BinaryCodec, Codec
from .connection import NotSent
from .errors import (
    ThriftArgumentError,
    ThriftDeadlineExceeded,
    ThriftProtocolError,
    ThriftUnavailable,
    sendable,
)
from .goodbye import says_goodbye
from .header import Header
from .limits import Limits
from .service import Method
from .wire import Wire

# What thriftpy2's protocols raise of a value that is not of the IDL's type.
_WRONG_TYPE = (
    TDecodeException,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    OverflowError,
    struct.error,
)


def answer_of(
    method: Method, codec: Codec, seqid: int, data: bytes, start: int
) -> tuple[Any, BaseException | None]:
    """Decode an answer: the value to return, or the exception to raise.

    :param data: the message, which ``codec.scanner`` has just passed; it begins at ``start``.
    :raises ThriftProtocolError: it answers another call, is no answer, or cannot be decoded.
    """
    scanner = codec.scanner
    if scanner.seqid != seqid:
        raise ThriftProtocolError(f"the answer has sequence id {scanner.seqid}, the call had {seqid}")
    kind = scanner.kind
    if kind == REPLY:
        schemas = method.replies[codec.compact]
        if schemas is not None and scanner.name not in schemas:
            # What the scan did not compare must not be decoded.
            raise ThriftProtocolError(f"the answer is to {scanner.name!r}, the call was {method.label}")
        result = method.result()
        codec.decode(result, data, start + scanner.body, start + scanner.size)
        if method.success:
            value = result.success
            if value is not None:
                return value, None
        elif method.void:
            return None, None
        for name, value in result.__dict__.items():
            if value is not None and name != "success":
                return None, value
        if method.success:
            return None, TApplicationException(TApplicationException.MISSING_RESULT)
        return None, None
    if kind == EXCEPTION:
        error = TApplicationException()
        codec.decode(error, data, start + scanner.body, start + scanner.size)
        return None, sendable(error)
    raise ThriftProtocolError(f"the answer is a message of type {kind}, neither a reply nor an exception")


class Answered(Protocol):
    """The connection, or the part of one, on which an answer has come."""

    @property
    def header(self) -> Header | None:
        """Of the answer; ``None``: the transport has none."""

    def retire(self) -> None:
        """No further call is to go on the connection."""


def reply_of(connection: Answered, raised: BaseException | None) -> BaseException | None:
    """Look at the header of an answer: a business status in it goes before what was made of the result.

    :raises ThriftProtocolError: the status is malformed.
    """
    header = connection.header
    if header is None:
        return raised
    note_reply(header)
    # Neither a status nor a goodbye is the rule.
    if not header.metainfo:
        return raised
    if says_goodbye(header):
        connection.retire()
    return biz_error(header.strings) or raised


def hung_up(error: BaseException, proven: bool) -> bool:
    """Whether an error of an exchange says that the endpoint is not well, and not only this call.

    It accepts connections and ends them without an answer: it is full, or a proxy without what is behind it. One that
    has answered on a connection may well end it for a call's sake (thriftpy2's does where a handler raises what the IDL
    does not declare), or because it stops, and then refuses the next.

    :param proven: see :attr:`.connection.Connection.proven`.
    """
    if _vanished(error):
        return True
    return not proven and isinstance(error, (OSError, EOFError)) and not isinstance(error, TimeoutError)


def _vanished(error: BaseException) -> bool:
    """The kernel has given the peer up: keepalive or retransmissions had no answer.

    The errors of deadlines have no number.
    """
    return isinstance(error, OSError) and error.errno == errno.ETIMEDOUT


class Attempt:
    """Where a call is, for the text of its errors. Made only when something goes wrong."""

    __slots__ = ("_method", "_started", "_target")

    def __init__(self, target: str, method: Method, started: float) -> None:
        self._target = target
        self._method = method
        self._started = started

    def _text(self, what: object, address: str | None) -> str:
        where = f" at {address}" if address else ""
        elapsed = monotonic() - self._started
        return f"{self._method.path} of {self._target}{where}: {what} (after {elapsed:.3f} s)"

    def unavailable(self, what: object, address: str | None = None, begun: bool = False) -> ThriftUnavailable:
        """:param begun: bytes were sent, so the server may run the call."""
        text = f"{what}; the call may have run" if begun else what
        kind = TTransportException.END_OF_FILE if begun else TTransportException.NOT_OPEN
        return ThriftUnavailable(self._text(text, address), kind)

    def late(self, what: object, address: str | None = None) -> ThriftDeadlineExceeded:
        """The deadline has passed."""
        return ThriftDeadlineExceeded(self._text(f"{what}{whose(incoming_deadline())}", address))

    def unsent(self, error: BaseException, args: Any) -> BaseException:
        """What the caller gets where the bytes of a call could not be made: the same error unless an argument is at
        fault.

        :param args: the struct of the arguments.
        """
        if isinstance(error, UsageError) or not isinstance(error, _WRONG_TYPE):
            return error
        found = error if isinstance(error, TDecodeException) else _wrong_field(args)
        if found is None:
            text = f"an argument is not of the IDL's type: {error!r}"
        else:
            of = "argument" if found.struct_name == type(args).__name__ else f"field of {found.struct_name},"
            given = f"{reprlib.repr(found.value)} ({type(found.value).__name__})"
            text = f"{of} {found.field!r} needs {found.type_repr}, not {given}"
        return ThriftArgumentError(f"{self._method.path} of {self._target}: {text}", found)

    def broken(self, error: BaseException, address: str) -> BaseException:
        """What the caller gets for an error of an exchange: the same one where it is not of the wire."""
        if isinstance(error, ThriftProtocolError):
            return ThriftProtocolError(self._text(error.details_text, address), error.type)
        if isinstance(error, TimeoutError) and not _vanished(error):
            return self.late(error, address)
        if isinstance(error, NotSent):
            return self.unavailable(error.strerror, address)
        if isinstance(error, (OSError, EOFError)):
            return self.unavailable(getattr(error, "strerror", None) or error, address, begun=True)
        return error


def _wrong_field(args: Any) -> TDecodeException | None:
    """The first value that is not of the IDL's type. The binary protocol says which; the compact one does not."""
    try:
        BinaryCodec(Wire(), Limits()).encode("", CALL, 0, args)
    except TDecodeException as error:
        return error
    except Exception:
        return None
    return None
