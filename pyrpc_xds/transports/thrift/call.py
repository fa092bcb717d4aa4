"""What a handler can learn of the call that it serves, and say besides its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from thriftpy2.thrift import TApplicationException

from ...attachments import served
from ...errors import UsageError
from ...incoming_deadline import inherit
from .header import Header
from .metainfo import NOTHING, arrived

_NONE: Mapping[str, str] = {}

# Kitex's numbers of int keys (pkg/transmeta) that a server looks at.
LOG = 2
FROM_SERVICE = 3
FROM_METHOD = 20


class ServerCall:
    """One call as the server sees it. What a transport without headers cannot say is empty.

    :ivar peer: address of the client.
    :ivar service: name of the IDL's service; :ivar method: of its method.
    :ivar header: as it came: int keys, string keys; ``None``: the transport has none.
    :ivar incoming: the attachments that came, by lower-case names.
    :ivar deadline: when the client stops waiting, of :func:`time.monotonic`; ``None``: it did not say, or does not
        wait at all. Calls of the handler inherit it (:mod:`pyrpc_xds.incoming_deadline`).

    :param arrived_at: when it had come, of :func:`time.monotonic`: the client's timeout counts from then, not from
        when a thread is free for the call.
    :param waited_for: the client waits for an answer: the call is not oneway.
    """

    __slots__ = ("_arrived", "backward", "deadline", "header", "method", "peer", "service")

    def __init__(
        self,
        peer: str,
        service: str,
        method: str,
        header: Header | None,
        arrived_at: float,
        waited_for: bool = True,
    ) -> None:
        self.peer = peer
        self.service = service
        self.method = method
        self.header = header
        self.backward: dict[str, str] | None = None
        self.deadline: float | None = None
        self._arrived = NOTHING
        if header is not None:
            if header.metainfo:
                self._arrived = arrived(header)
            if waited_for and (milliseconds := header.timeout()):
                self.deadline = arrived_at + milliseconds / 1000

    def __repr__(self) -> str:
        return f"<ServerCall {self.service}.{self.method} from {self.peer}>"

    @property
    def incoming(self) -> Mapping[str, str]:
        """See the class."""
        return self._arrived.values

    @property
    def passed_on(self) -> Mapping[str, str]:
        """Persistent metainfo in the sender's spelling of its names: what goes on over Thrift with headers."""
        return self._arrived.spelled

    @property
    def from_service(self) -> str:
        """The workload that calls (int key 3)."""
        return self._int(FROM_SERVICE)

    @property
    def from_method(self) -> str:
        """What the caller itself is serving (int key 20)."""
        return self._int(FROM_METHOD)

    @property
    def log_id(self) -> str:
        """Kitex's log id (int key 2)."""
        return self._int(LOG)

    def _int(self, key: int) -> str:
        return "" if self.header is None else self.header.value(key)

    def remaining(self) -> float | None:
        """Seconds until :attr:`deadline`, below 0 once it has passed; ``None``: there is none."""
        return None if self.deadline is None else self.deadline - monotonic()

    def set_backward(self, values: Mapping[str, str]) -> None:
        """Send ``values`` back with the answer, whatever it is (Kitex's backward metainfo); more calls add to it.

        Over a transport without headers they are lost, as in Kitex.

        :raises UsageError: a name or value is not ``str``, or the name is one that Kitex itself uses.
        """
        for name, value in values.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise UsageError(f"backward metainfo {name!r}: names and values are str")
            if name.startswith("biz-"):
                raise UsageError(f"backward metainfo {name!r}: raise ThriftBizError for a business status")
        self.backward = {**(self.backward or {}), **values}

    def refuse_if_late(self) -> None:
        """Before the handler runs: of work whose client waits no more, a server with too much to do can only have less.

        :raises TApplicationException: the deadline has passed.
        """
        if self.deadline is not None and (late := monotonic() - self.deadline) >= 0:
            raise TApplicationException(
                TApplicationException.INTERNAL_ERROR,
                f"{self.service}.{self.method} did not run: its deadline had passed {late:.3f} s before",
            )

    def enter(self) -> None:
        """Be the current call, with its attachments and deadline, to the end of the current context, which is new
        and empty.
        """
        _serving.set(self)
        if self._arrived is not NOTHING:
            served(self._arrived.values, self._arrived.persistent)
        if self.deadline is not None:
            inherit(self.deadline)

    def replace(self) -> None:
        """As :meth:`enter`, in a context in which other calls may have been, or whoever started the server."""
        _serving.set(self)
        served(self._arrived.values, self._arrived.persistent)
        inherit(self.deadline)


_serving: ContextVar[ServerCall | None] = ContextVar("pyrpc_xds_thrift_call", default=None)


def current_call() -> ServerCall:
    """The call that the current thread or task serves, over any Thrift transport.

    :raises UsageError: none is served here.
    """
    call = _serving.get()
    if call is None:
        raise UsageError("no Thrift call is served here: current_call() is for handlers")
    return call


def serving_call() -> ServerCall | None:
    """:func:`current_call`, or ``None``."""
    return _serving.get()


class ReplyMetadata:
    """What came besides the result of the last call answered in a block of :func:`reply_metadata`.

    :ivar backward: string keys of the answer's header: Kitex's backward metainfo, and Kitex's own (``biz-status``).
    :ivar ints: int keys, such as 22: the kind of message.
    """

    __slots__ = ("backward", "ints")

    def __init__(self) -> None:
        self.backward: Mapping[str, str] = _NONE
        self.ints: Mapping[int, str] = {}


_reply: ContextVar[ReplyMetadata | None] = ContextVar("pyrpc_xds_thrift_reply", default=None)


@contextmanager
def reply_metadata() -> Iterator[ReplyMetadata]:
    """Keep what servers send besides results, for the calls of the block::

        with reply_metadata() as reply:
            client.ping("x")
        reply.backward["key"]

    It is filled in also where the call raises what the server answered. Of several calls the last one answered
    counts; of calls at the same time, use a block each. Tasks started in the block share it.
    """
    kept = ReplyMetadata()
    token = _reply.set(kept)
    try:
        yield kept
    finally:
        _reply.reset(token)


def note_reply(header: Header) -> None:
    """Fill in the block of :func:`reply_metadata` around the call."""
    kept = _reply.get()
    if kept is not None:
        kept.backward, kept.ints = header.strings, header.ints
