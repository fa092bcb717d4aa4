"""One ADS stream over grpc: its channel, its credentials and its two threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

# grpc imports it with the first channel, which would be on the driver's thread: a fork in the middle of it would leave
# the child half a module and its lock.
import grpc._channel

from ..bootstrap import ChannelCredentials, Server
from ..errors import ConfigError, NodeRefused, StreamError
from .decode.envelope import ADS_METHOD

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# A dead peer is noticed after both together, 30 s. istiod allows a ping every 15 s; a gRPC server with default
# settings allows one in five minutes and hangs up on the fourth, which is how we learn that it is one.
KEEPALIVE_TIME_MS = 20_000
_KEEPALIVE_TIMEOUT_MS = 10_000
RARE_KEEPALIVE_TIME_MS = 300_000
TOO_MANY_PINGS = "too many pings"


class AdsStream:
    """One ADS stream and its threads. Used by the driver thread, except where a comment says otherwise.

    What it has to say goes to the inbox as ``(stream, message, error)``: a message; an error, and then nothing
    more; or neither, when grpc has taken a request for sending.

    :param inbox: of the driver.
    :param channel: this stream's own; closed with it.
    :param opened_at: the driver's clock.
    :ivar handed: requests that were given to :meth:`send`.
    :ivar taken: requests that grpc has taken for sending, which it does only on a live connection. Counted by the
        driver.
    """

    def __init__(self, inbox: queue.SimpleQueue[Any], channel: grpc.Channel, opened_at: float) -> None:
        self.opened_at = opened_at
        self.handed = 0
        self.taken = 0
        self._inbox = inbox
        self._channel = channel
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._processed = threading.Semaphore(0)
        self._ended = False
        method = channel.stream_stream(ADS_METHOD, None, None)  # no serializers: bytes in, bytes out
        self._call = method(self._requests(), wait_for_ready=False)
        self._reader = threading.Thread(target=self._read, name="pyrpc-xds-ads-reader", daemon=True)
        self._reader.start()

    def send(self, request: bytes) -> None:
        """Have grpc send ``request`` after those before it."""
        self.handed += 1
        self._outbox.put(request)

    def processed(self) -> None:
        """The last message is dealt with: the reader may fetch the next."""
        self._processed.release()

    def end(self) -> None:
        """Abandon the stream; its threads end by themselves."""
        self._ended = True
        self._outbox.put(None)
        self._processed.release()
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._channel.close()

    def _requests(self) -> Iterator[bytes]:
        """Runs in a thread of grpc, which comes back for more once the message is on its way.

        (Should another version of grpc come back earlier, resource timers would start a little early.)
        """
        while (request := self._outbox.get()) is not None:
            yield request
            self._inbox.put((self, None, None))

    def _read(self) -> None:
        """Runs in the reader thread."""
        error = StreamError("the control plane closed the ADS stream")
        try:
            for message in self._call:
                self._inbox.put((self, message, None))
                self._processed.acquire()
                if self._ended:
                    return
        except grpc.RpcError as failure:
            error = _error_of(failure)
        except Exception as failure:  # grpc closing under us
            error = StreamError(f"{type(failure).__name__}: {failure}")
        self._inbox.put((self, None, error))


def open_stream(
    inbox: queue.SimpleQueue[Any], max_message_bytes: int, server: Server, keepalive_ms: int, now: float
) -> AdsStream:
    """A stream to ``server`` on a channel of its own, not connected yet.

    :param inbox: of the driver.
    :param max_message_bytes: longest response that is accepted.
    :param keepalive_ms: milliseconds of silence after which the connection is tried.
    :param now: the driver's clock.
    :raises ConfigError: a file of its credentials cannot be read.
    """
    return AdsStream(inbox, _open_channel(server, keepalive_ms, max_message_bytes), now)


def _open_channel(server: Server, keepalive_ms: int, max_message_bytes: int) -> grpc.Channel:
    options = (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        # Attempts are ours to time; shared subchannels would bring grpc's own back-off in between.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    )
    if server.credentials.kind == "insecure":
        return grpc.insecure_channel(server.uri, options)
    return grpc.secure_channel(server.uri, _tls(server.credentials), options)


def _tls(credentials: ChannelCredentials) -> grpc.ChannelCredentials:
    """Read the files of ``credentials``, at every attempt: they are rotated (gRFC A65).

    :raises ConfigError: one cannot be read.
    """
    contents = []
    for path in (credentials.ca_file, credentials.private_key_file, credentials.certificate_file):
        try:
            contents.append(Path(path).read_bytes() if path else None)
        except OSError as error:
            raise ConfigError(f"cannot read {path!r}: {error.strerror}", where="channel_creds") from None
    return grpc.ssl_channel_credentials(*contents)


def _error_of(failure: grpc.RpcError) -> StreamError:
    """A failed stream, in words."""
    code = getattr(failure, "code", lambda: None)()
    details = getattr(failure, "details", lambda: None)() or str(failure)
    text = f"ADS stream failed with {getattr(code, 'name', code)}: {details}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        text += " (raise max_message_bytes)"
    return NodeRefused(text) if code is grpc.StatusCode.INVALID_ARGUMENT else StreamError(text)
