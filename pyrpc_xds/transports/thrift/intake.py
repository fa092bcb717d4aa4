"""What a server knows of one connection's bytes: its form, and the messages in it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codec import Codec
from .errors import ThriftProtocolError
from .foreign import hint
from .frames import HeaderInbox, inbox_for
from .header import Header
from .inbox import Inbox
from .limits import Limits
from .wire import Accepted, detect


class Intake:
    """An :class:`Inbox` whose form is found out first (:func:`detect`).

    :param requests: what the scan compares: binary, compact.
    :param accepted: the forms that it may be.
    :ivar inbox: of the form, once it is known.
    """

    __slots__ = ("_accepted", "_all_requests", "_head", "_limits", "_requests", "inbox")

    def __init__(
        self,
        requests: tuple[Mapping[bytes, Any] | None, Mapping[bytes, Any] | None],
        accepted: Accepted,
        limits: Limits,
    ) -> None:
        self._accepted = accepted
        self._all_requests = requests
        self._limits = limits
        self._head = b""
        self.inbox: Inbox | HeaderInbox | None = None
        # What the scan compares in this connection's protocol.
        self._requests: Mapping[bytes, Any] | None = None

    @property
    def codec(self) -> Codec:
        """Of the message last returned."""
        assert self.inbox is not None
        return self.inbox.codec

    @property
    def header(self) -> Header | None:
        """Of the message last returned; ``None``: the form has none."""
        assert self.inbox is not None
        return self.inbox.header

    @property
    def busy(self) -> bool:
        """Part of a message, or a whole one not yet returned, has come."""
        return bool(self._head) or (self.inbox is not None and self.inbox.pending)

    def take(self, data: bytes) -> tuple[bytes, int] | None:
        """Take bytes from the client, and return the next message where it is whole (:meth:`Inbox.take`).

        :raises ThriftProtocolError: the bytes are refused, or are of none of the forms that are accepted.
        """
        inbox = self.inbox
        if inbox is None:
            self._head += data
            try:
                wire = detect(self._head, self._limits)
            except ThriftProtocolError as error:
                raise ThriftProtocolError(error.details_text + hint(self._head), error.type) from None
            if wire is None:
                return None
            self._accepted.check(wire)
            self._requests = self._all_requests[wire.compact]
            inbox = self.inbox = inbox_for(wire, self._limits)
            data, self._head = self._head, b""
        return inbox.take(data, self._requests)

    def feed(self, data: bytes) -> None:
        """Hold bytes until :meth:`next`; a message has been returned before."""
        assert self.inbox is not None
        self.inbox.feed(data)

    def next(self) -> tuple[bytes, int] | None:
        """See :meth:`Inbox.next`.

        :raises ThriftProtocolError: the bytes are refused.
        """
        inbox = self.inbox
        return None if inbox is None else inbox.next(self._requests)
