"""Time for what stands in front of the first test of a peer: building it, once, from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD_SECONDS = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of this folder that sets no time-out of its own may be the one that builds its peer."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))
