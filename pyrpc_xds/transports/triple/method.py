"""Method: one method of a service as a channel calls it, and where a call of it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...arguments import Kind, require
from ...attachments import current_attachments, persistent_attachments
from ...errors import CallError, Unavailable, UsageError
from ...incoming_deadline import incoming_deadline, within
from ..base import Destination, LiveCluster, LiveEndpoint, Snapshot
from .compressed import decompressing
from .errors import translated
from .metadata import Metadata, Pairs, base_headers, outgoing

#: A routing decision: where to, the cluster it chose, and the endpoint that was picked there.
Picked = tuple[Destination, LiveCluster, LiveEndpoint]
#: The seconds that a call may take, what to send with it, what it was routed by, and the decision.
Decided = tuple[float | None, Metadata | None, dict[str, str], Picked | None]
#: What grpcio raises where it does not even begin a call: it is closed, or an argument is not what it must be.
REFUSALS = (ValueError, TypeError, OverflowError)

# What a channel keeps of them: more means that a program makes serializers per call; all are then made anew.
MAX_METHODS = 1024


def _seconds(value: Any) -> bool:
    try:
        # Beyond it nothing can wait; what is no number has no sum; NaN is neither below nor above.
        return bool(0.0 + value <= threading.TIMEOUT_MAX)
    except TypeError:
        return False


_TIMEOUT = {"timeout": Kind("a number of seconds", "1.5", _seconds)}


class Method:
    """What the calls of one multicallable have in common, worked out once.

    :ivar key: kind, path, serializer, deserializer, whether registered.
    :ivar headers: what a route can match when a call brings nothing of its own.
    :ivar metadata: what is sent when a call brings nothing of its own; ``None``: nothing.
    """

    __slots__ = ("headers", "key", "metadata", "path")

    def __init__(
        self,
        kind: str,
        path: str | bytes,
        serializer: Any,
        deserializer: Any,
        registered: bool,
        authority: str,
        metadata: Pairs = (),
    ) -> None:
        self.path = path.decode() if isinstance(path, bytes) else path
        self.key = (kind, self.path, serializer, deserializer, bool(registered))
        self.headers = base_headers(authority, self.path)
        self.headers.update(metadata)
        self.metadata = metadata or None

    def renamed(self, path: str | bytes) -> Method:
        """This, or the same of another path: interceptors may change it."""
        text = path.decode() if isinstance(path, bytes) else path
        if text == self.path:
            return self
        kind, _, serializer, deserializer, registered = self.key
        authority = self.headers[":authority"]
        return Method(kind, text, serializer, deserializer, registered, authority, self.metadata or ())

    def check(self, timeout: Any) -> None:
        """Refuse what a call gave as its timeout. Only where a call waits or has failed: a look at every one would
        cost every one.

        :raises UsageError: it is no number of seconds.
        """
        require(self.path, _TIMEOUT, {"timeout": timeout})

    def refused(self, error: Exception, timeout: Any) -> Exception:
        """What to raise where grpcio does not begin a call: its error, unless the timeout is to blame."""
        try:
            self.check(timeout)
        except UsageError as usage:
            return usage
        return error

    def decided(
        self,
        router: Any,
        target: str,
        timeout: float | None,
        metadata: Metadata | None,
        wait_for_ready: bool | None,
    ) -> Decided:
        """Decide a call, without waiting: part of the hot path of every call.

        It is not decided, and has no :data:`Picked`, where the target has no configuration yet, and where there is
        no endpoint and the call waits for ready.

        :param router: of the target, or :class:`Closed`.
        :param target: its name, for the text of errors.
        :param timeout: seconds, as the caller gave it; the deadline of the call being served is the other limit.
        :param metadata: as the caller gave it.
        :raises TripleError: no time is left, or there is no route or no endpoint.
        :raises ChannelClosed: the channel is closed.
        """
        until = incoming_deadline()
        if until is not None:
            try:
                timeout = within(timeout)
            except CallError as error:
                raise translated(error, target, self.path, until) from None
        attached = current_attachments()
        if metadata is None and not attached:
            metadata, headers = self.metadata, self.headers
        else:
            metadata, headers = outgoing(
                metadata, attached, self.headers, persistent_attachments(), self.metadata
            )
        snapshot = router.snapshot
        if snapshot is None:
            return timeout, metadata, headers, None
        try:
            destination = snapshot.route(self.path, headers)
            cluster = destination.cluster
            return timeout, metadata, headers, (destination, cluster, cluster.pick())
        except CallError as error:
            if wait_for_ready and isinstance(error, Unavailable):
                return timeout, metadata, headers, None
            raise translated(error, target, self.path) from error


class Closed:
    """Takes the router's place when a channel is closed: every read of the snapshot says so."""

    def __init__(self, error: UsageError) -> None:
        self._error = error

    @property
    def snapshot(self) -> Snapshot:
        """:raises ChannelClosed: always."""
        raise self._error


def opener(kind: str) -> Callable[..., Any]:
    """The method of a channel that makes the multicallables of a kind; the channel's ``_multicallable`` makes them.

    :param kind: its name: ``unary_unary``, ``unary_stream``, ``stream_unary`` or ``stream_stream``.
    """

    def make(
        channel: Any,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return channel._multicallable(
            kind, method, request_serializer, response_deserializer, _registered_method
        )

    make.__name__ = kind
    make.__doc__ = f"As :meth:`grpc.Channel.{kind}`."
    return make


def multicallable(channel: Any, key: tuple[Any, ...]) -> Any:
    """grpcio's multicallable for a method; ``key`` is :attr:`Method.key`."""
    kind, path, serializer, deserializer, registered = key
    if deserializer is not None:
        deserializer = decompressing(deserializer)
    return getattr(channel, kind)(path, serializer, deserializer, _registered_method=registered)
