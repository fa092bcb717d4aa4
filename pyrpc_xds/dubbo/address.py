"""Addresses as Dubbo writes them: ``user:password@host:port?token=...``, of which only host and port are read here."""

from __future__ import annotations

import re

_MORE = re.compile(r"[?#;&]")


def unread(address: str) -> str:
    """What an address has besides host and port; empty: nothing.

    It may be a password or a token, so the text quotes none of the address, and neither may whoever asks.
    """
    if "@" in address:
        return "has a user or a password, which are not read"
    return "has parameters, which are not read" if _MORE.search(address) else ""


def host_and_port(address: str) -> str:
    """An address without what :func:`unread` tells of, for what is only kept to be shown."""
    return _MORE.split(address.rpartition("@")[2], maxsplit=1)[0]
