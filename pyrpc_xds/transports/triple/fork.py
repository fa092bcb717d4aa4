"""Locks in a forked child: those that another thread of the parent held would stay held for ever."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class Forkable(Protocol):
    """What holds locks, or counts on threads, that a forked child does not have."""

    def after_fork(self) -> Any:
        """In a forked child, in its only thread: new locks, no threads. No I/O, no thread is started."""


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()


def reset_in_child(thing: Forkable) -> None:
    """Have :meth:`Forkable.after_fork` called in forked children for as long as ``thing`` lives."""
    _forkables.add(thing)


def _after_fork() -> None:
    for thing in list(_forkables):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
