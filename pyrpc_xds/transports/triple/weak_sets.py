"""Weak sets that threads share."""

from __future__ import annotations

import weakref
from typing import Any


def members(group: weakref.WeakSet[Any]) -> list[Any]:
    """What is in a weak set that other threads add to."""
    while True:
        try:
            return list(group)
        except RuntimeError:
            pass  # it grew meanwhile; what adds to it does not go on for ever
