"""What a server for threads counts of its connections."""

from __future__ import annotations

import socket
from time import monotonic

from pyrpc_xds.transports.thrift.intake import Intake
from pyrpc_xds.transports.thrift.limits import Limits
from pyrpc_xds.transports.thrift.peer import Peer
from pyrpc_xds.transports.thrift.tally import Tally
from pyrpc_xds.transports.thrift.wire import Accepted


def test_call_that_ends_beside_a_connection_closed_meanwhile_leaves_nothing_that_runs() -> None:
    tally = Tally()
    ours, theirs = socket.socketpair()
    with theirs:
        peer = Peer(ours, "test", Intake((None, None), Accepted(), Limits()), 0.0)
        tally.opened()
        tally.owned(peer)
        assert tally.begin_beside(peer, 1)
        tally.returned(peer)
        # The client reads too slowly, and the reactor closes it just after the call's thread has looked.
        outgoing = True
        peer.close()
        tally.closed()
        tally.returned(peer)
        tally.end_beside(peer, outgoing)
        tally.stop(monotonic() + 0.2)
        tally.all_read()
        assert tally.wait_until_quiet() == []
