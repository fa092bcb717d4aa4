"""Which form a client speaks: its arguments say it; what they leave open, the control plane may say.

An endpoint has a pool for each form that is spoken to it, so the form of a call is that of its connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...model.thrift_form import NOT_SAID, ThriftForm
from .fork import reset_in_child
from .wire import Wire, wire_from

USUAL_FRAMING = "buffered"
USUAL_PROTOCOL = "binary"


class Forms:
    """The forms of one client. Parameters and errors are those of :meth:`.transport.ThriftTransport.client`.

    :ivar usual: what it speaks where nothing is learned.
    :ivar framing_open: the framing may be learned.
    :ivar open: that or the protocol may.
    """

    def __init__(
        self,
        framing: str | None = None,
        protocol: str | None = None,
        proto_factory: Any = None,
        trans_factory: Any = None,
    ) -> None:
        self._framing = framing
        self._protocol = protocol
        self._factories = (proto_factory, trans_factory)
        self.framing_open = framing is None and trans_factory is None
        self.open = self.framing_open or (protocol is None and proto_factory is None)
        self.usual = self._wire(NOT_SAID)
        self._known = {NOT_SAID: self.usual}

    def wire(self, form: ThriftForm) -> Wire:
        """What is spoken where the control plane says ``form``."""
        wire = self._known.get(form)
        if wire is None:
            wire = self._known[form] = self._wire(form)
        return wire

    def _wire(self, form: ThriftForm) -> Wire:
        # A factory goes before a name, so it is an argument as well.
        framing = form.framing or USUAL_FRAMING if self._framing is None else self._framing
        protocol = form.protocol or USUAL_PROTOCOL if self._protocol is None else self._protocol
        if framing == "ttheader" and protocol == form.protocol == "lax-binary":
            # A server that needs no version takes one; TTHeader needs it.
            protocol = "binary"
        return wire_from(framing, protocol, *self._factories)


class OtherPools:
    """The pools of one endpoint for forms other than the usual one; they leave the mesh with it.

    :param make: the pool of the endpoint for a form.
    """

    def __init__(self, make: Callable[[Wire], Any]) -> None:
        self._make = make
        self._closed = False
        self._lock = threading.Lock()
        # Changed under _lock, read without.
        self._pools: dict[Wire, Any] = {}
        reset_in_child(self)

    def of(self, wire: Wire) -> Any:
        """The pool for a form; closed where the endpoint has left."""
        pool = self._pools.get(wire)
        if pool is None:
            with self._lock:
                pool = self._pools.get(wire)
                if pool is None:
                    pool = self._make(wire)
                    if self._closed:
                        pool.drain()
                    self._pools[wire] = pool
        return pool

    def drain(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.drain`."""
        for pool in self._gone():
            pool.drain()

    def close(self) -> None:
        """See :meth:`pyrpc_xds.transports.base.Connection.close`."""
        for pool in self._gone():
            pool.close()

    def _gone(self) -> list[Any]:
        with self._lock:
            self._closed = True
            return list(self._pools.values())

    def after_fork(self) -> None:
        """See :class:`.fork.Forkable`."""
        self._lock = threading.Lock()
