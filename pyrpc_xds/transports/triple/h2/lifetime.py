"""How long a connection of the server on nghttp2 lasts: idleness, age and keepalive (gRFC A8, A9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server_options import ServerOptions
    from .serving import ServerConnection


class Lifetime:
    """Of one connection; looked after a few times a second.

    :param since: clock time of its beginning.
    :param chance: between 0 and 1: ages differ by 10 % up and down, so that connections do not all end at once.
    """

    def __init__(self, options: ServerOptions, since: float, chance: float) -> None:
        self._options = options
        self._age = None if options.age is None else options.age * (0.9 + 0.2 * chance)
        self._since = self._busy = self._heard = since
        self._received = self._begun = 0
        # Clock time of the ping that is not answered yet.
        self._pinged: float | None = None

    def look_after(self, connection: ServerConnection, now: float) -> None:
        """Have the connection go away, or close it, if it is time.

        :param now: clock time.
        """
        options = self._options
        if connection.session.streams or connection.begun != self._begun:
            self._begun, self._busy = connection.begun, now
        if self._age is not None and now - self._since >= self._age:
            connection.go_away()
            if options.age_grace is not None and now - self._since >= self._age + options.age_grace:
                connection.lose()
        elif options.idle is not None and now - self._busy >= options.idle:
            connection.go_away()
        if not connection.closed:
            self._keep_alive(connection, now)

    def _keep_alive(self, connection: ServerConnection, now: float) -> None:
        options, session = self._options, connection.session
        if session.received != self._received:
            self._received, self._heard, self._pinged = session.received, now, None
        elif self._pinged is not None:
            if now - self._pinged >= options.keepalive_timeout:
                connection.lose()
        elif (
            options.keepalive is not None
            and now - self._heard >= options.keepalive
            and (session.streams or options.keepalive_always)
        ):
            self._pinged = now
            session.ping()
            connection.flush()
