"""The shorter of the route's timeout and the caller's (gRFC A31)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pyrpc_xds.resilience import deadline


@pytest.mark.parametrize(
    ("route", "cap_only", "caller", "expected"),
    [
        (None, False, None, None),
        (None, False, 3.0, 3.0),
        (0.5, False, None, 0.5),
        (0.5, False, 3.0, 0.5),
        (5.0, False, 3.0, 3.0),
        (0.5, True, None, None),
        (0.5, True, 3.0, 0.5),
        (5.0, True, 3.0, 3.0),
    ],
)
def test_shorter(route: float | None, cap_only: bool, caller: float | None, expected: float | None) -> None:
    destination: Any = SimpleNamespace(timeout=route, cap_only=cap_only)
    assert deadline.shorter(destination, caller) == expected
