"""The same expressions are refused with and without google-re2."""

from __future__ import annotations

import sys

import pytest

from pyrpc_xds.controlplane.fields import Fields
from pyrpc_xds.controlplane.regexes import check_regex
from pyrpc_xds.errors import ConfigError

GOOD = [".*", "v[0-9]+", "^/a/(b|c)$", r"a\.b", "(?i)admin", "(?P<x>a)"]
BAD = ["(", "a**", "*", "[z-a]", "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?>a)"]


@pytest.fixture(params=["google-re2", "the standard library"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "google-re2":
        pytest.importorskip("re2")
    else:
        monkeypatch.setitem(sys.modules, "re2", None)


@pytest.mark.parametrize("pattern", GOOD)
def test_what_re2_compiles_is_taken(pattern: str) -> None:
    check_regex(Fields({}, "here"), "regex", pattern)


@pytest.mark.parametrize("pattern", BAD)
def test_what_re2_does_not_compile_is_refused_with_the_field_named(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^here: spec\.regex ") as refused:
        check_regex(Fields({}, "here", "spec"), "regex", pattern)
    assert repr(pattern) in str(refused.value)
    assert "Use RE2 syntax" in str(refused.value)
