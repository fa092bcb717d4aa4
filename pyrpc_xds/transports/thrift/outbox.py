"""Messages of one connection of a loop that go out together, where many share it."""

from __future__ import annotations

import asyncio

# One in so many of those that share the connection: messages of more are not sent together. The two ends would
# otherwise work in turn, each waiting for the other's batch, and not at the same time.
_SHARE = 8


class Outbox:
    """What is to be written to a transport: at once where few share the connection, else together with what follows
    in the same turn of the loop.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._held: dict[int, bytes] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._held

    def send(self, key: int, message: bytes, sharers: int) -> None:
        """Send a message soon.

        :param key: tells it from the others that are held.
        :param sharers: calls that have the connection.
        """
        held = self._held
        together = sharers // _SHARE
        if together < 2 and not held:
            self._transport.write(message)
            return
        held[key] = message
        if len(held) >= together:
            self.flush()
        elif len(held) == 1:
            self._loop.call_soon(self.flush)

    def take_back(self, key: int) -> bool:
        """Do not send a message; the answer says whether it was held still."""
        return self._held.pop(key, None) is not None

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            messages = b"".join(self._held.values())
            self._held.clear()
            self._transport.write(messages)

    def clear(self) -> None:
        """Send nothing of what is held."""
        self._held.clear()
