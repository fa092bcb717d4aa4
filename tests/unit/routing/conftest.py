from __future__ import annotations

import pytest

from tests.unit.ext.variants import NAMES, Variant, variant


@pytest.fixture(params=NAMES)
def build(request: pytest.FixtureRequest) -> Variant:
    """Both builds of the hot path."""
    return variant(request.param)
