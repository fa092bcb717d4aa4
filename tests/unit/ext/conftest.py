from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ext.variants import NAMES, Variant, variant


@pytest.fixture(params=NAMES)
def build(request: pytest.FixtureRequest) -> Variant:
    """Both builds of the hot path."""
    return variant(request.param)


@pytest.fixture
def matcher(build: Variant) -> Any:
    return build.matcher


@pytest.fixture
def picker(build: Variant) -> Any:
    return build.picker
