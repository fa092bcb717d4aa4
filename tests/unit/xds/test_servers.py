"""Servers: which control plane is next (gRFC A71)."""

from __future__ import annotations

from pyrpc_xds.bootstrap import Server
from pyrpc_xds.xds.servers import Servers

A, B, C = Server("a:1"), Server("b:1"), Server("c:1")


def test_the_only_server_is_never_left() -> None:
    servers = Servers((A,))
    assert not servers.failed(needed=True)
    assert servers.current is A and not servers.fallen_back


def test_servers_are_tried_in_turn_at_once_and_then_from_the_first_after_a_pause() -> None:
    servers = Servers((A, B, C))
    tried = []
    for _ in range(4):
        at_once = servers.failed(needed=True)
        tried.append((servers.current, at_once))
    assert tried == [(B, True), (C, True), (A, False), (B, True)]


def test_nothing_is_turned_to_while_everything_watched_is_held() -> None:
    servers = Servers((A, B))
    assert not servers.failed(needed=False)
    assert servers.current is A


def test_a_fallback_that_is_lost_while_everything_is_held_leads_back_to_the_first() -> None:
    servers = Servers((A, B))
    servers.failed(needed=True)
    assert not servers.failed(needed=False)
    assert servers.current is A


def test_the_first_is_current_once_it_is_back() -> None:
    servers = Servers((A, B))
    servers.failed(needed=True)
    assert servers.fallen_back
    servers.back()
    assert servers.current is servers.first is A
