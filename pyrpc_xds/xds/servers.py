"""Which control plane of a bootstrap is spoken to (gRFC A71). Sans-IO.

The next one is turned to where one cannot be had and something is watched that is not held: what is held needs no
other server, and a control plane that went down must not send all its clients to its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..bootstrap import Server

RETURN_AFTER = 10.0
"""Seconds between attempts to have an answer of the first server again, which is then returned to."""


class Servers:
    """The servers of a bootstrap, and the one in use.

    :param servers: at least one, the preferred one first.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = tuple(servers)
        self._at = 0

    @property
    def current(self) -> Server:
        """The one to connect to."""
        return self._servers[self._at]

    @property
    def first(self) -> Server:
        """The preferred one."""
        return self._servers[0]

    @property
    def fallen_back(self) -> bool:
        """Another than the preferred one is in use."""
        return self._at > 0

    def failed(self, *, needed: bool) -> bool:
        """The current one gave no answer.

        :param needed: something is watched that is not held.
        :returns: another is current now, and to be tried at once. After the last of them it is the first again, but
            not at once.
        """
        if not needed and not self.fallen_back:
            return False
        self._at = (self._at + 1) % len(self._servers) if needed else 0
        return self.fallen_back

    def back(self) -> None:
        """The preferred one answers again."""
        self._at = 0
